// What the calls on data keys and small texts read and write alike.
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "kms/envelope.h"

namespace kms {

inline constexpr std::size_t max_data_body_bytes = 64UL * 1024;
// 1,000 items whose contexts have up to 1,900 bytes as JSON, or 239 with the largest contexts there
// may be. A body of 1,000 such would be 17 MiB (a rewrap has two contexts), and one of the largest
// of any route is taken on each connection before its caller is known.
inline constexpr std::size_t max_batch_body_bytes = 2UL * 1024 * 1024;

EncryptionContext read_context(base::JsonReader& reader, std::string_view field = "context");

// {"error":{"code","message"}}, the place of one item's result.
void write_error(base::JsonWriter& out, const base::Error& error);
// "key_id" and "key_version" of what was opened or made.
void write_key(base::JsonWriter& out, const Envelope& envelope);

}  // namespace kms
