// A master key as answers show it. Never key material: what is public of it, and what the token
// said of its attributes.
#pragma once

#include <optional>
#include <span>

#include "base/json.h"
#include "kms/lifecycle.h"

namespace kms {

// The key and its versions, as lists show them.
void write_key(base::JsonWriter& out, const Key& key);

// With the attributes read from the token, public keys and, of a destroyed key, the tombstone.
void write_description(base::JsonWriter& out, const KeyDescription& description);

}  // namespace kms
