// What callers may do: roles, rules and bindings from one JSON file, deny by default. Policy knows
// words (actions, kinds of resource), not keys or credentials.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/operation.h"
#include "server/policy_words.h"

namespace server {

// What a policy is asked. Owns nothing.
struct PolicyQuestion {
    const Caller& caller;
    Action action;
    const Resource& resource;
    const std::map<std::string, std::string>& context;  // the encryption context; may be empty
    base::Time now;
};

// The rules that stand in no file: nothing allowed it, or the caller would hold roles that exclude
// each other.
inline constexpr std::string_view default_deny = "default-deny";
inline constexpr std::string_view exclusive_roles = "exclusive-roles";

// Immutable once loaded, so safe to share between threads.
class Policy {
public:
    virtual ~Policy() = default;

    // Never throws for a well-formed question; the default is deny. Of the rules that apply, a deny
    // decides before an allow, and of several the one that stands first in the file.
    virtual Decision decide(const PolicyQuestion& question) const = 0;
    // Whether any rule could allow `caller` that action on some resource at `now`, of the kinds
    // that the action is done on, and none denies it on everything of that kind: for answers that
    // must not tell a forbidden resource from one that does not exist. A deny that hangs on more
    // than the resource's kind is not looked at.
    virtual bool may_ever(const Caller& caller, Action action, base::Time now) const = 0;
    // Whether any rule is about tags: else a resource's tags need not be looked up.
    virtual bool asks_for_tags() const = 0;
    // SHA-256 of the file's bytes, hex.
    virtual const std::string& hash() const = 0;
};

// Where a daemon's policies are.
struct PolicyFiles {
    std::filesystem::path file;
    std::filesystem::path shadow;  // asked beside the one in force, without effect; empty: none
};

// Reads a policy whole or not at all. Of `words` are what rules may name: an unknown
// action is an error, as is every unknown field. Throws invalid_argument naming file and field.
std::shared_ptr<const Policy> load_policy(const std::filesystem::path& file,
                                          const PolicyWords& words);
std::shared_ptr<const Policy> parse_policy(std::string_view text, const PolicyWords& words);

// The shadow policy of `files`; null when there is none. Throws as load_policy.
std::shared_ptr<const Policy> load_shadow(const PolicyFiles& files, const PolicyWords& words);

}  // namespace server
