// Randomness from the operating system. Keys and IVs of the token come from the token, not from
// here.
#pragma once

#include <cstdint>
#include <span>

#include "base/secret_bytes.h"

namespace base {

// Fills `out` from the system's random generator (getrandom). Throws unavailable. Thread-safe.
void random_bytes(std::span<std::uint8_t> out);

// `size` fresh secret bytes. Throws unavailable. Thread-safe.
SecretBytes random_secret(std::size_t size);

}  // namespace base
