// A context rule as JSON: on the wire and in the store alike.
#pragma once

#include "base/json.h"
#include "kms/key.h"

namespace kms {

inline constexpr std::size_t max_rule_entries = max_context_entries;

void write_context_rule(base::JsonWriter& out, const ContextRule& rule);

// Reads the rule's fields; all are optional: a rule that does not say "allow_others" refuses the
// keys that it does not name. Throws invalid_argument naming the field: more than
// max_rule_entries, an empty or repeated name, max_bytes not from 0 to max_context_bytes, unknown
// fields.
ContextRule read_context_rule(base::JsonReader& reader);

// The same from the store, where a rule of before says "only_known", the opposite of
// "allow_others".
ContextRule read_stored_context_rule(base::JsonReader& reader);

}  // namespace kms
