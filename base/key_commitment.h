// What tells which data key it was and nothing else of it: it stands beside what the key sealed, so
// that who wraps the key anew can show that it is still the same one without giving it away. No
// other derivation may be made to order here: it could be the one that a seal's own key comes from.
#pragma once

#include <array>
#include <cstdint>

#include "base/secret_bytes.h"

namespace base {

using KeyCommitment = std::array<std::uint8_t, 32>;

// HKDF-SHA-512 (RFC 5869) of the data key, salt "strongroom sealed credential 2", info "key
// commitment": the `kc` of sealed credentials and values. Thread-safe. Throws internal when Botan
// can't.
KeyCommitment commitment_of(const SecretBytes& data_key);

}  // namespace base
