// What another policy would change, permission by permission: who, which action, on what, under
// which condition. It compares what the two files say, rule names aside; a permission that moved to
// another role of the same caller is no change for that caller.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/policy_words.h"

namespace server {

struct PermissionChange {
    bool added = false;  // else taken away
    std::string who;     // "role operator" for everybody who has it; "caller …" or "claim …"
    std::string effect;  // "allow", "deny"; "exclusive" for roles that may not come together
    std::string action;
    std::string resource;
    std::string condition;  // as in the file, compact; empty: none

    auto operator<=>(const PermissionChange&) const = default;
};

// Roles first, then those bindings whose roles are others. Throws invalid_argument as parse_policy,
// saying which of the two it is.
std::vector<PermissionChange> diff_policies(std::string_view before, std::string_view after,
                                            const PolicyWords& words);

}  // namespace server
