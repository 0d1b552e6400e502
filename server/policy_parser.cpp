// Reads a policy file. Everything about its form is here; what it means is policy_rules and policy.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "base/json.h"
#include "server/policy_rules.h"

namespace server {
namespace {

using base::JsonReader;
using base::JsonValue;

constexpr std::size_t max_bindings = 1'000'000;
constexpr std::size_t max_rules = 1000;
constexpr std::size_t max_groups = 100;
constexpr std::size_t max_items = 100;
constexpr std::size_t max_text_bytes = 2048;
constexpr std::size_t max_name_bytes = 64;
constexpr int minutes_of_a_day = 1440;

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

std::vector<std::string> strings(JsonReader& reader, std::string_view name) {
    auto items = reader.optional_string_array(name, max_items, max_text_bytes);
    if (items.empty()) reader.refuse(name, "must be an array of at least one string");
    return items;
}

std::vector<Glob> globs(JsonReader& reader, std::string_view name, bool placeholders) {
    std::vector<Glob> patterns;
    for (const auto& text : strings(reader, name)) {
        patterns.push_back(complaining(reader, name, text,
                                       [&text, placeholders] { return Glob(text, placeholders); }));
    }
    return patterns;
}

std::vector<Glob> optional_globs(JsonReader& reader, std::string_view name) {
    return reader.has(name) ? globs(reader, name, true) : std::vector<Glob>();
}

// An object whose members are arrays of patterns.
Conditions::Named named_globs(JsonReader& reader, std::string_view name, bool placeholders) {
    Conditions::Named named;
    auto object = reader.optional_object(name);
    if (!object) return named;
    if (object->members().empty() || object->members().size() > max_items) {
        reader.refuse(name, "must have 1 to 100 members");
    }
    for (const auto& member : object->members()) {
        named.emplace_back(std::string(member.name), globs(*object, member.name, placeholders));
    }
    return named;
}

std::vector<AuthenticationMethod> methods(JsonReader& reader) {
    constexpr std::string_view name = "authentication";
    std::vector<AuthenticationMethod> known;
    if (!reader.has(name)) return known;
    for (const auto& word : strings(reader, name)) {
        const auto method = parse_authentication_method(word);
        if (!method || *method == AuthenticationMethod::none) {
            reader.refuse(name, "holds an unknown method \"" + word + "\"");
        }
        known.push_back(*method);
    }
    return known;
}

// "08:30", and "24:00" for the end of a day.
std::optional<std::chrono::minutes> parse_hour(std::string_view text) {
    const auto digit = [&text](std::size_t at) { return text[at] - '0'; };
    if (text.size() != 5 || text[2] != ':') return std::nullopt;
    for (const std::size_t at : {0U, 1U, 3U, 4U}) {
        if (text[at] < '0' || text[at] > '9') return std::nullopt;
    }
    const int minutes = digit(3) * 10 + digit(4);
    const int all = (digit(0) * 10 + digit(1)) * 60 + minutes;
    if (minutes > 59 || all > minutes_of_a_day) return std::nullopt;
    return std::chrono::minutes(all);
}

std::chrono::minutes read_hour(JsonReader& reader, std::string_view name,
                               std::chrono::minutes otherwise) {
    const auto text = reader.optional_string(name, 5);
    if (!text) return otherwise;
    const auto hour = parse_hour(*text);
    if (!hour) reader.refuse(name, "must be a time of the day like 08:30, in UTC");
    return *hour;
}

TimeWindow read_window(JsonReader reader) {
    constexpr std::array<std::string_view, 7> names{"sunday",   "monday", "tuesday", "wednesday",
                                                    "thursday", "friday", "saturday"};
    TimeWindow window;
    window.days.fill(!reader.has("days"));
    if (reader.has("days")) {
        for (const auto& word : strings(reader, "days")) {
            const auto* const day = std::find(names.begin(), names.end(), word);
            if (day == names.end()) {
                reader.refuse("days", "holds \"" + word + "\", which is no day like \"monday\"");
            }
            window.days[static_cast<std::size_t>(day - names.begin())] = true;
        }
    }
    window.from = read_hour(reader, "from", window.from);
    window.to = read_hour(reader, "to", window.to);
    if (window.from >= window.to) {
        reader.refuse("to", "must be after \"from\": write two windows for a night");
    }
    reader.refuse_unknown();
    return window;
}

class Parser {
public:
    explicit Parser(const PolicyWords& words) : words_(words) {}

    PolicyFile parse(const JsonValue& document) {
        JsonReader top(document);
        top.required_integer("version", 1, 1);
        JsonReader roles = top.required_object("roles");
        for (const auto& member : roles.members()) {
            if (!is_name(member.name)) {
                roles.refuse(member.name, "is no role name: use a-z, 0-9, '-' and '_', at most 64");
            }
            role_places_.emplace(std::string(member.name), file_.roles.size());
            file_.roles.push_back({std::string(member.name), read_rules(roles, member.name)});
        }
        read_exclusive(top);
        read_bindings(top);
        top.refuse_unknown();
        return std::move(file_);
    }

private:
    std::vector<Rule> read_rules(JsonReader& roles, std::string_view name) {
        std::vector<Rule> role;
        const auto& rules = roles.required_array(name, max_rules, 0);
        role.reserve(rules.size());
        for (std::size_t i = 0; i < rules.size(); ++i)
            role.push_back(read_rule(JsonReader(rules[i], roles.item_path(name, i))));
        return role;
    }

    Rule read_rule(JsonReader reader) {
        Rule rule;
        rule.id = reader.required_string("id", max_name_bytes);
        if (!is_name(rule.id)) reader.refuse("id", "must be of a-z, 0-9, '-' and '_'");
        if (rule.id == default_deny || rule.id == exclusive_roles) {
            reader.refuse("id", "is a word that decisions use for themselves");
        }
        if (!rule_ids_.insert(rule.id).second) {
            reader.refuse("id", "stands twice: \"" + rule.id + "\"");
        }
        const auto effect = reader.required_string("effect", max_name_bytes);
        if (effect != "allow" && effect != "deny")
            reader.refuse("effect", "must be \"allow\" or \"deny\"");
        rule.effect = effect == "allow" ? Effect::allow : Effect::deny;
        read_actions(reader, rule);
        for (const auto& text : strings(reader, "resources")) {
            rule.resources.push_back(complaining(reader, "resources", text, [this, &text] {
                return ResourcePattern(text, words_);
            }));
        }
        rule.when = read_conditions(reader, "when");
        rule.unless = read_conditions(reader, "unless");
        reader.refuse_unknown();
        return rule;
    }

    void read_actions(JsonReader& reader, Rule& rule) const {
        for (auto& word : strings(reader, "actions")) {
            if (word == "*") {
                rule.any_action = true;
            } else if (!words_.knows(word)) {
                reader.refuse("actions", "holds an unknown action \"" + word + "\"");
            }
            rule.actions.push_back(std::move(word));
        }
    }

    static Conditions read_conditions(JsonReader& rule, std::string_view name) {
        Conditions conditions;
        auto reader = rule.optional_object(name);
        if (!reader) return conditions;
        if (reader->members().empty()) rule.refuse(name, "must hold a condition");
        conditions.text = base::to_json(rule.required_value(name));
        conditions.context = named_globs(*reader, "context", true);
        if (reader->has("context_required")) {
            conditions.context_required = strings(*reader, "context_required");
        }
        conditions.context_only = optional_globs(*reader, "context_only");
        conditions.owner = optional_globs(*reader, "owner");
        conditions.tags = named_globs(*reader, "tags", true);
        if (reader->has("network")) {
            for (const auto& text : strings(*reader, "network")) {
                conditions.network.push_back(
                    complaining(*reader, "network", text, [&text] { return Network(text); }));
            }
        }
        if (const auto* windows = reader->optional_array("time", max_items, 1)) {
            for (std::size_t i = 0; i < windows->size(); ++i) {
                conditions.time.push_back(
                    read_window(JsonReader((*windows)[i], reader->item_path("time", i))));
            }
        }
        conditions.authentication = methods(*reader);
        reader->refuse_unknown();
        return conditions;
    }

    std::size_t place_of_role(const JsonReader& reader, std::string_view field,
                              const std::string& name) const {
        const auto place = role_places_.find(name);
        if (place == role_places_.end())
            reader.refuse(field, "names an unknown role \"" + name + "\"");
        return place->second;
    }

    void read_exclusive(JsonReader& top) {
        const auto* groups = top.optional_array("exclusive", max_groups);
        if (groups == nullptr) return;
        for (std::size_t i = 0; i < groups->size(); ++i) {
            const auto* names = (*groups)[i].array();
            const std::string path = "exclusive[" + std::to_string(i) + "]";
            if (names == nullptr || names->size() < 2 || names->size() > max_items) {
                top.refuse("exclusive", "must hold arrays of at least two roles");
            }
            std::vector<std::size_t> group;
            for (const auto& name : *names) {
                if (name.string() == nullptr)
                    top.refuse("exclusive", "must hold arrays of at least two roles");
                group.push_back(place_of_role(top, "exclusive", std::string(*name.string())));
            }
            file_.exclusive.push_back(std::move(group));
        }
    }

    void read_bindings(JsonReader& top) {
        const auto& items = top.required_array("bindings", max_bindings, 0);
        std::set<std::string, std::less<>> known;
        file_.bindings.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            JsonReader reader(items[i], top.item_path("bindings", i));
            Binding binding;
            read_bound(reader, binding);
            for (const auto& name : strings(reader, "roles")) {
                binding.roles.push_back(place_of_role(reader, "roles", name));
            }
            reader.refuse_unknown();
            if (!known.insert(binding.describe()).second) {
                reader.refuse(binding.caller.empty() ? "claims" : "caller", "is bound twice");
            }
            file_.bindings.push_back(std::move(binding));
        }
    }

    const PolicyWords& words_;
    PolicyFile file_;
    std::map<std::string, std::size_t, std::less<>> role_places_;
    std::set<std::string, std::less<>> rule_ids_;
};

}  // namespace

void read_bound(JsonReader& reader, Binding& binding) {
    if (const auto caller = reader.optional_string("caller", max_text_bytes)) {
        binding.caller.push_back(
            complaining(reader, "caller", *caller, [&caller] { return Glob(*caller, false); }));
    }
    binding.claims = named_globs(reader, "claims", false);
    if (binding.caller.empty() && binding.claims.empty()) {
        reader.refuse("caller", "or \"claims\" must say who is bound");
    }
    binding.authentication = methods(reader);
}

PolicyFile parse_policy_file(std::string_view text, const PolicyWords& words) {
    base::JsonLimits limits;
    limits.bytes = max_policy_bytes;
    limits.comments = true;
    return Parser(words).parse(base::parse_json(text, limits));
}

}  // namespace server
