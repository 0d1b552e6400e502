// The wrapped data key, format version 1, and the bytes that bind it to its context. Layout only:
// no key, no token and no cipher in here.
//
//   0   4  magic "SRdk"
//   4   1  format version, 1
//   5   1  suite, 1 = AES-256-GCM in the token, 96-bit IV, 128-bit tag
//   6  16  key id (UUID)
//  22   4  key version, big endian
//  26  12  IV
//  38   n  ciphertext (n = data key length, 16..64)
//   +  16  tag                       32-byte data key: 86 bytes
//
//  AAD = bytes 0..25 followed by the canonical encryption context
//
// Canonical encryption context: count (16 bit), then for each entry, sorted by key bytes: length
// (16 bit), key, length (16 bit), value; lengths big endian. Two different maps never give the same
// bytes, since every length stands before what it measures. Nothing is normalised.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/uuid.h"
#include "hsm/token.h"

namespace kms {

// std::string orders by unsigned bytes, so the map is in canonical order already.
using EncryptionContext = std::map<std::string, std::string>;

inline constexpr std::size_t max_context_entries = 64;
inline constexpr std::size_t max_context_bytes = 8192;  // all keys and values together

inline constexpr std::size_t min_data_key_bytes = 16;
inline constexpr std::size_t max_data_key_bytes = 64;

inline constexpr std::size_t wrapped_head_bytes = 26;  // the part that the AAD repeats
inline constexpr std::size_t wrapped_overhead_bytes =
    wrapped_head_bytes + hsm::iv_bytes + hsm::tag_bytes;
inline constexpr std::size_t max_wrapped_bytes = wrapped_overhead_bytes + max_data_key_bytes;

// A well-formed wrapped data key, taken apart. Whether it opens is for the token to say.
struct WrappedDataKey {
    base::Uuid key_id;
    std::uint32_t key_version = 0;
    hsm::Iv iv{};
    base::Bytes ciphertext;  // with tag
};

// The bytes as drawn above. `wrapped.ciphertext` must have a length that the format allows.
base::Bytes to_bytes(const WrappedDataKey& wrapped);

// Empty for anything that is not version 1, suite 1, key version 1 or more, and of a length that
// the format allows.
std::optional<WrappedDataKey> parse_wrapped(base::ByteView bytes);

// The canonical form. Throws invalid_argument, saying which limit is passed or that the text is no
// UTF-8.
base::Bytes canonical_context(const EncryptionContext& context);

// What AES-256-GCM authenticates beside the data key; `canonical` comes from canonical_context().
base::Bytes wrapping_aad(const base::Uuid& key_id, std::uint32_t key_version,
                         base::ByteView canonical);

}  // namespace kms
