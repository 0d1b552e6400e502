// The JSON body of a request to the vault.
#pragma once

#include <cstddef>

#include "base/json.h"
#include "server/request.h"

namespace vault {

// How deep the vault's own fields and a secret in them may nest.
inline constexpr std::size_t max_body_depth = 16;

// Throws unsupported_media_type when a type is given and is not application/json; invalid_argument
// when it is malformed, too long or too deep.
base::JsonValue read_body(const server::Request& request, std::size_t max_bytes,
                          std::size_t max_depth = max_body_depth);

}  // namespace vault
