// A key that is made of another one, HKDF-SHA-512 (RFC 5869), for outputs of one block: extract,
// then expand once.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/secret_bytes.h"

namespace base {

inline constexpr std::size_t max_derived_bytes = 64;

// The first `bytes` (1 to max_derived_bytes) of what `key` gives under `salt` and `info`; an empty
// salt is one of zeros. Thread-safe. Throws internal when Botan can't, or for another length.
SecretBytes hkdf_sha_512(const SecretBytes& key, std::string_view salt, std::string_view info,
                         std::size_t bytes);

}  // namespace base
