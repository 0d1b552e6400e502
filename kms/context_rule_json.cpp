#include "kms/context_rule_json.h"

#include <algorithm>

namespace kms {

void write_context_rule(base::JsonWriter& out, const ContextRule& rule) {
    out.begin_object().name("required").begin_array();
    for (const auto& name : rule.required) out.string(name);
    out.end_array().field("patterns", rule.patterns).field("allow_others", rule.allow_others);
    out.field("max_bytes", static_cast<std::uint64_t>(rule.max_bytes)).end_object();
}

ContextRule read_context_rule(base::JsonReader& reader) {
    ContextRule rule;
    rule.required = reader.optional_string_array("required", max_rule_entries, max_context_bytes);
    std::size_t required_bytes = 0;
    for (const auto& name : rule.required) required_bytes += name.size();
    if (required_bytes > max_context_bytes) {
        reader.refuse("required",
                      "must have at most " + std::to_string(max_context_bytes) + " bytes in all");
    }
    std::sort(rule.required.begin(), rule.required.end());
    if (std::adjacent_find(rule.required.begin(), rule.required.end()) != rule.required.end()) {
        reader.refuse("required", "must not name a context key twice");
    }
    rule.patterns = reader.optional_string_map("patterns", max_rule_entries, max_context_bytes);
    rule.allow_others = reader.optional_boolean("allow_others").value_or(false);
    rule.max_bytes = static_cast<std::size_t>(
        reader.optional_integer("max_bytes", 0, max_context_bytes).value_or(max_context_bytes));
    reader.refuse_unknown();
    return rule;
}

ContextRule read_stored_context_rule(base::JsonReader& reader) {
    const auto only_known = reader.optional_boolean("only_known");
    ContextRule rule = read_context_rule(reader);
    if (only_known) rule.allow_others = !*only_known;
    return rule;
}

}  // namespace kms
