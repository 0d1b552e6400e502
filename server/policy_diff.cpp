#include "server/policy_diff.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "base/error.h"
#include "server/policy_rules.h"

namespace server {
namespace {

// Effect, action, resource, condition.
using Permission = std::tuple<std::string, std::string, std::string, std::string>;
using Permissions = std::set<Permission>;

// A policy as what it permits, by names.
struct Permitted {
    std::map<std::string, Permissions> roles;
    std::map<std::string, std::set<std::string>> bindings;  // the names of roles, by who is bound
    Permissions exclusive;

    Permissions of_binding(const std::string& who) const {
        Permissions all;
        const auto bound = bindings.find(who);
        if (bound == bindings.end()) return all;
        for (const std::string& role : bound->second) {
            const Permissions& some = roles.at(role);
            all.insert(some.begin(), some.end());
        }
        return all;
    }
};

std::string condition_of(const Rule& rule) {
    std::string text;
    if (!rule.when.empty()) text = "when " + rule.when.text;
    if (!rule.unless.empty()) text += (text.empty() ? "unless " : " unless ") + rule.unless.text;
    return text;
}

void add_rule(Permissions& permissions, const Rule& rule, const PolicyWords& words) {
    std::vector<std::string> actions = rule.actions;
    if (rule.any_action) {
        actions.clear();
        for (const auto& known : words.actions()) actions.emplace_back(known.first);
    }
    for (const std::string& action : actions) {
        for (const ResourcePattern& resource : rule.resources) {
            permissions.emplace(to_string(rule.effect), action, resource.text(),
                                condition_of(rule));
        }
    }
}

Permitted permitted(std::string_view text, const PolicyWords& words, const char* which) {
    Permitted all;
    PolicyFile file;
    try {
        file = parse_policy_file(text, words);
    } catch (const base::Error& error) {
        throw base::Error(error.code(), std::string(which) + ": " + error.message());
    }
    for (const Role& role : file.roles) {
        Permissions& permissions = all.roles[role.name];
        for (const Rule& rule : role.rules) add_rule(permissions, rule, words);
    }
    for (const Binding& binding : file.bindings) {
        auto& roles = all.bindings[binding.describe()];
        for (const std::size_t role : binding.roles) roles.insert(file.roles[role].name);
    }
    for (const auto& group : file.exclusive) {
        std::set<std::string> names;
        for (const std::size_t role : group) names.insert(file.roles[role].name);
        std::string joined;
        for (const std::string& name : names) joined += (joined.empty() ? "" : " + ") + name;
        all.exclusive.emplace("exclusive", "", joined, "");
    }
    return all;
}

void add_changes(std::vector<PermissionChange>& changes, const std::string& who,
                 const Permissions& before, const Permissions& after) {
    const auto add = [&](bool added, const Permissions& some, const Permissions& others) {
        for (const Permission& one : some) {
            if (others.contains(one)) continue;
            const auto& [effect, action, resource, condition] = one;
            changes.push_back({added, who, effect, action, resource, condition});
        }
    };
    add(false, before, after);
    add(true, after, before);
}

template <typename Map>
std::set<std::string> names_of(const Map& before, const Map& after) {
    std::set<std::string> names;
    for (const auto& entry : before) names.insert(entry.first);
    for (const auto& entry : after) names.insert(entry.first);
    return names;
}

template <typename Map>
typename Map::mapped_type value_of(const Map& map, const std::string& name) {
    const auto found = map.find(name);
    return found == map.end() ? typename Map::mapped_type() : found->second;
}

}  // namespace

std::vector<PermissionChange> diff_policies(std::string_view before_text,
                                            std::string_view after_text, const PolicyWords& words) {
    const Permitted before = permitted(before_text, words, "the first policy");
    const Permitted after = permitted(after_text, words, "the second policy");
    std::vector<PermissionChange> changes;
    for (const std::string& role : names_of(before.roles, after.roles)) {
        add_changes(changes, "role " + role, value_of(before.roles, role),
                    value_of(after.roles, role));
    }
    for (const std::string& who : names_of(before.bindings, after.bindings)) {
        if (value_of(before.bindings, who) == value_of(after.bindings, who)) continue;
        add_changes(changes, who, before.of_binding(who), after.of_binding(who));
    }
    add_changes(changes, "roles", before.exclusive, after.exclusive);
    return changes;
}

}  // namespace server
