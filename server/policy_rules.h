// A policy file as parsed: what stands in it, without the index that answers questions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/policy_conditions.h"
#include "server/policy_pattern.h"

namespace base {
class JsonReader;
}

namespace server {

// The largest policy file that is read.
inline constexpr std::size_t max_policy_bytes = 32UL * 1024 * 1024;

enum class Effect { allow, deny };
std::string_view to_string(Effect effect) noexcept;

struct Rule {
    std::string id;
    Effect effect = Effect::allow;
    bool any_action = false;
    std::vector<std::string> actions;  // "*" among them when any_action
    std::vector<ResourcePattern> resources;
    Conditions when;    // empty: always
    Conditions unless;  // empty: never

    bool names(Action action) const;
    // Whether the rule applies to the question, action included: an allow applies when everything
    // fits for certain, a deny when everything may fit. `failed`, when given, becomes what does
    // not.
    bool applies(const PolicyQuestion& question, std::string* failed = nullptr) const;
    // Whether it is a deny that may apply to any resource of the kind and owner that are asked
    // about, whatever its id and tags. The question is about many of them.
    bool may_deny_one(const PolicyQuestion& question) const;
    // Whether a rule that applies to the question is for this owner: the owner stands in it as it
    // is, or by way of the caller, in a resource or in "when". A wildcard is for any owner.
    bool names_owner(const PolicyQuestion& question) const;
    // Whether it is about tags, in its resources or conditions.
    bool asks_for_tags() const;
    // Whether it could apply to some resource.
    bool may_apply(const Caller& caller, Action action, base::Time now) const;
    // Whether a deny is certain to apply to what its resources fit, whatever its owner, tags and
    // context.
    bool surely_denies(const Caller& caller, Action action, base::Time now) const;
};

struct Role {
    std::string name;
    std::vector<Rule> rules;
};

// Gives roles to whom all that it names fits.
struct Binding {
    std::vector<Glob> caller;  // none or one
    std::vector<std::pair<std::string, std::vector<Glob>>>
        claims;  // each has a value that fits one
    std::vector<AuthenticationMethod> authentication;
    std::vector<std::size_t> roles;  // places in PolicyFile::roles

    bool fits(const Caller& who) const;
    // What it is about, for people: "caller spiffe://…", "claim role=editor".
    std::string describe() const;
};

struct PolicyFile {
    std::vector<Role> roles;  // in the order of the file
    std::vector<Binding> bindings;
    std::vector<std::vector<std::size_t>> exclusive;  // groups of roles: nobody holds two of one

    // A name of two roles of one group that are both in `held`; empty when there are none.
    std::string conflict(const std::vector<std::size_t>& held) const;
};

// "caller", "claims" and "authentication" of a binding, at least one of the first two. Throws
// invalid_argument naming the field.
void read_bound(base::JsonReader& reader, Binding& binding);

// Throws invalid_argument naming the field. See policies/README.md for the format.
PolicyFile parse_policy_file(std::string_view text, const PolicyWords& words);

}  // namespace server
