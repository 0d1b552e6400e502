// Why a policy decides as it does, for people who write policies: offline, on the text of a file.
// Slow and plain; daemons ask server/policy.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/policy.h"

namespace server {

// A question that owns what it asks about.
struct StoredQuestion {
    Caller caller;
    std::string action;
    Resource resource;
    std::map<std::string, std::string> context;
    base::Time now{};

    PolicyQuestion view() const { return {caller, {action}, resource, context, now}; }
};

struct HeldRole {
    std::string role;
    std::string binding;  // what it is bound to: "caller spiffe://…", "claim role=editor"
};

struct RuleVerdict {
    std::string rule;
    std::string role;
    std::string effect;
    bool decides = false;
    std::string why;  // "decides", or why it does not
};

struct Explanation {
    Decision decision;
    std::vector<HeldRole> held;
    std::vector<RuleVerdict> rules;  // all of the file, in its order
};

// Throws invalid_argument as parse_policy.
Explanation explain_policy(std::string_view text, const PolicyWords& words,
                           const PolicyQuestion& question);

// What a policy holds, and what its author should look at.
struct PolicySummary {
    std::string hash;
    std::size_t roles = 0;
    std::size_t rules = 0;
    std::size_t bindings = 0;
    std::vector<std::string> unbound;  // roles that nobody has
};
PolicySummary summarize_policy(std::string_view text, const PolicyWords& words);

}  // namespace server
