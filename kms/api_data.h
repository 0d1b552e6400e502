// What the calls on data keys and small texts read and write alike.
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "kms/envelope.h"
#include "kms/service.h"

namespace kms {

inline constexpr std::size_t max_data_body_bytes = 64UL * 1024;
// 1,000 rewraps from the largest context to the largest, with nothing in them that JSON escapes,
// are 17 MiB. Bodies over server::ordinary_body_bytes share a room over all connections.
inline constexpr std::size_t max_batch_body_bytes = 18UL * 1024 * 1024;
// Of the JSON of such a body: two contexts and some fields for each item.
inline constexpr std::size_t max_batch_values = max_batch * (2 * max_context_entries + 8);

EncryptionContext read_context(base::JsonReader& reader, std::string_view field = "context");

// {"error":{"code","message"}}, the place of one item's result.
void write_error(base::JsonWriter& out, const base::Error& error);
// "key_id" and "key_version" of what was opened or made.
void write_key(base::JsonWriter& out, const Envelope& envelope);

}  // namespace kms
