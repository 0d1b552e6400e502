// What leaves the key service encrypted under a master key, format version 1: the wrapped data key
// and the ciphertext of a small text. And the bytes that bind both to their context. Layout only:
// no key, no token and no cipher in here.
//
//                    wrapped data key            ciphertext of a small text
//   0   4  magic     "SRdk"                      "SRct"
//   4   1  format version, 1
//   5   1  suite, 1 = AES-256-GCM in the token, 96-bit IV, 128-bit tag
//   6  16  key id (UUID)
//  22   4  key version, big endian
//  26  12  IV
//  38   n  ciphertext, n = 16..64                n = 1..4096
//   +  16  tag       32-byte data key: 86 bytes  "a": 55 bytes
//
//  AAD = bytes 0..25 followed by the canonical encryption context. The magic is part of it, so the
//  one never opens as the other: who may decrypt texts can't unwrap data keys with that right.
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
inline constexpr std::size_t min_text_bytes = 1;
inline constexpr std::size_t max_text_bytes = 4096;

inline constexpr std::size_t wrapped_head_bytes = 26;  // the part that the AAD repeats
inline constexpr std::size_t wrapped_overhead_bytes =
    wrapped_head_bytes + hsm::iv_bytes + hsm::tag_bytes;
inline constexpr std::size_t max_wrapped_bytes = wrapped_overhead_bytes + max_data_key_bytes;
inline constexpr std::size_t max_ciphertext_bytes = wrapped_overhead_bytes + max_text_bytes;

enum class EnvelopeKind {
    data_key,    // "SRdk"
    small_text,  // "SRct"
};

// A well-formed envelope, taken apart. Whether it opens is for the token to say.
struct Envelope {
    base::Uuid key_id;
    std::uint32_t key_version = 0;
    hsm::Iv iv{};
    base::Bytes ciphertext;  // with tag
    EnvelopeKind kind = EnvelopeKind::data_key;
};

// The bytes as drawn above. `envelope.ciphertext` must have a length that the format allows.
base::Bytes to_bytes(const Envelope& envelope);

// Empty for anything that is not of that kind, version 1, suite 1, key version 1 or more, and of a
// length that the format allows.
std::optional<Envelope> parse_envelope(EnvelopeKind kind, base::ByteView bytes);

// The canonical form. Throws invalid_argument, saying which limit is passed or that the text is no
// UTF-8.
base::Bytes canonical_context(const EncryptionContext& context);

// A context in both its forms, made once for everything that is bound to it. Throws as
// canonical_context().
struct Context {
    explicit Context(EncryptionContext the_entries = {})
        : entries(std::move(the_entries)), canonical(canonical_context(entries)) {}

    EncryptionContext entries;
    base::Bytes canonical;
};

// What AES-256-GCM authenticates beside the plaintext; `canonical` comes from canonical_context().
base::Bytes envelope_aad(EnvelopeKind kind, const base::Uuid& key_id, std::uint32_t key_version,
                         base::ByteView canonical);

}  // namespace kms
