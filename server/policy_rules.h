// A policy file as parsed: what stands in it, without the index that answers questions.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/policy_pattern.h"

namespace server {

// The largest policy file that is read.
inline constexpr std::size_t max_policy_bytes = 32UL * 1024 * 1024;

enum class Effect { allow, deny };

struct Rule {
    std::string id;
    Effect effect = Effect::allow;
    bool any_action = false;
    std::vector<std::string> actions;
    std::vector<ResourcePattern> resources;
};

using Role = std::vector<Rule>;

struct Binding {
    std::string caller;  // a caller's id, or a pattern with '*'
    std::vector<const Role*> roles;
};

struct PolicyFile {
    std::map<std::string, Role, std::less<>> roles;
    std::vector<Binding> bindings;  // point into `roles`
};

// Throws invalid_argument naming the field. See policies/README.md for the format.
PolicyFile parse_policy_file(std::string_view text,
                             const std::vector<std::string_view>& known_actions);

}  // namespace server
