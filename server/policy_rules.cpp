#include "server/policy_rules.h"

#include <algorithm>
#include <set>

#include "base/json.h"

namespace server {
namespace {

using base::JsonReader;
using base::JsonValue;

constexpr std::size_t max_bindings = 1'000'000;
constexpr std::size_t max_rules = 1000;
constexpr std::size_t max_items = 100;
constexpr std::size_t max_text_bytes = 2048;
constexpr std::size_t max_name_bytes = 64;

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= max_name_bytes &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
           });
}

// Refuses field `name` of `reader` with the complaint of what `make` throws.
template <typename Make>
auto complaining(const JsonReader& reader, std::string_view name, std::string_view item,
                 Make make) {
    try {
        return make();
    } catch (const base::Error& error) {
        reader.refuse(name, "holds \"" + std::string(item) + "\", which " + error.message());
    }
}

class Parser {
public:
    explicit Parser(const std::vector<std::string_view>& known_actions)
        : known_actions_(known_actions) {}

    PolicyFile parse(const JsonValue& document) {
        JsonReader top(document);
        top.required_integer("version", 1, 1);
        JsonReader roles = top.required_object("roles");
        for (const auto& member : roles.members()) {
            if (!is_name(member.name)) {
                roles.refuse(member.name, "is no role name: use a-z, 0-9, '-' and '_', at most 64");
            }
            file_.roles.emplace(std::string(member.name), read_role(roles, member.name));
        }
        read_bindings(top);
        top.refuse_unknown();
        return std::move(file_);
    }

private:
    Role read_role(JsonReader& roles, std::string_view name) {
        Role role;
        const auto& rules = roles.required_array(name, max_rules, 0);
        for (std::size_t i = 0; i < rules.size(); ++i)
            role.push_back(read_rule(JsonReader(rules[i], roles.item_path(name, i))));
        return role;
    }

    Rule read_rule(JsonReader reader) {
        Rule rule;
        rule.id = reader.required_string("id", max_name_bytes);
        if (!is_name(rule.id)) reader.refuse("id", "must be of a-z, 0-9, '-' and '_'");
        if (rule.id == "default-deny" || !rule_ids_.insert(rule.id).second) {
            reader.refuse("id", "stands twice: \"" + rule.id + "\"");
        }
        const auto effect = reader.required_string("effect", max_name_bytes);
        if (effect != "allow" && effect != "deny")
            reader.refuse("effect", "must be \"allow\" or \"deny\"");
        rule.effect = effect == "allow" ? Effect::allow : Effect::deny;
        read_actions(reader, rule);
        for (const auto& text : strings(reader, "resources")) {
            rule.resources.push_back(
                complaining(reader, "resources", text, [&text] { return ResourcePattern(text); }));
        }
        reader.refuse_unknown();
        return rule;
    }

    void read_actions(JsonReader& reader, Rule& rule) const {
        for (auto& word : strings(reader, "actions")) {
            if (word == "*") {
                rule.any_action = true;
            } else if (std::find(known_actions_.begin(), known_actions_.end(), word) ==
                       known_actions_.end()) {
                reader.refuse("actions", "holds an unknown action \"" + word + "\"");
            }
            rule.actions.push_back(std::move(word));
        }
    }

    static std::vector<std::string> strings(JsonReader& reader, std::string_view name) {
        auto items = reader.optional_string_array(name, max_items, max_text_bytes);
        if (items.empty()) reader.refuse(name, "must be an array of at least one string");
        return items;
    }

    void read_bindings(JsonReader& top) {
        const auto& items = top.required_array("bindings", max_bindings, 0);
        std::set<std::string, std::less<>> callers;
        file_.bindings.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            JsonReader reader(items[i], top.item_path("bindings", i));
            Binding binding;
            binding.caller = reader.required_string("caller", max_text_bytes);
            complaining(reader, "caller", binding.caller,
                        [&binding] { return Glob(binding.caller, false); });
            if (!callers.insert(binding.caller).second) reader.refuse("caller", "is bound twice");
            for (const auto& name : strings(reader, "roles")) {
                const auto role = file_.roles.find(name);
                if (role == file_.roles.end())
                    reader.refuse("roles", "names an unknown role \"" + name + "\"");
                binding.roles.push_back(&role->second);
            }
            reader.refuse_unknown();
            file_.bindings.push_back(std::move(binding));
        }
    }

    const std::vector<std::string_view>& known_actions_;
    PolicyFile file_;
    std::set<std::string, std::less<>> rule_ids_;
};

}  // namespace

PolicyFile parse_policy_file(std::string_view text,
                             const std::vector<std::string_view>& known_actions) {
    base::JsonLimits limits;
    limits.bytes = max_policy_bytes;
    limits.comments = true;
    return Parser(known_actions).parse(base::parse_json(text, limits));
}

}  // namespace server
