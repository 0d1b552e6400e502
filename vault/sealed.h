// A sealed secret: what a database row holds instead of it, a row of the vault's own (a credential,
// format version 3) or of an application's (a value, format version 2). It is JSON that describes
// itself; all byte fields are base64 (standard alphabet, padded, canonical):
//
//   {"__enc":3,                                      2: a value, or a credential of before
//    "kid":"<master key id>/<master key version>",   as in bytes 6 to 25 of "dek"
//    "dek":"<wrapped data key>",                     the key service's format version 1
//    "kc":"<32-byte key commitment>",
//    "iv":"<12 bytes>",
//    "attributes":"<32-byte digest>",                in format 3 only
//    "ct":"<ciphertext, then 16-byte tag>"}
//
// Each seal takes a data key of its own, 32 bytes, never used again. From it, by HKDF-SHA-512 (RFC
// 5869) with salt "strongroom sealed credential 2" (ASCII; in format 3, too, since the key service
// says this commitment of any data key; the AAD tells the formats apart):
//
//   info "record key"      → 32 bytes: AES-256-GCM key (NIST SP 800-38D), random 96-bit IV
//   info "key commitment"  → 32 bytes: "kc", compared in constant time before decryption, since GCM
//   alone
//                            would let one ciphertext open under two keys
//
//   AAD of a credential (numbers are big endian, times milliseconds since 1970 in two's complement)
//         0   4  magic "SRsc"
//         4   1  format version, 3
//         5   2  length of the owner in bytes, and the owner
//         +   2  length of the credential's name, and the name
//         +   8  version of the credential
//         +   8  created_at of the version
//         +   1  1 when the version expires, else 0
//         +   8  expires_at of the version; 0 when it does not expire
//         +   8  number of the version it was restored from; 0: of none
//         +  32  "attributes"
//   of one in format 2: format version 2, and nothing behind the version.
//
//   "attributes" is SHA-256 of what the credential as a whole had when the version was stored
//         0   4  magic "SRsa"
//         4   1  format version, 3
//         5   8  created_at of the credential
//        13   8  updated_at of the credential
//        21   8  number of the first version since it was made, or was last destroyed
//        29   4  length of the metadata in bytes, and the metadata as stored
//         +   2  number of tags, and for each, by the bytes of their names:
//         +   2  length of its name, and the name
//         +   2  length of its value, and the value
//
//   AAD of a value
//         0   4  magic "SRsv"
//         4   1  format version, 2
//         5   2  length of the owner in bytes, big endian, and the owner
//         +   2  length of the value's context, big endian, and the context
//
// So a row that is moved to another owner or name, or an older version put back under a newer
// number, does not open; nor does a value that is moved to a place with another context, or one
// that is taken for a credential. An older value put back in the same place opens: only its
// application knows which one is the newest. Neither JSON says to whom it belongs: who opens it has
// to know. What stands readable beside a version is bound by that version's seal, and what stands
// beside all versions by the seal of the current one: who shows the secret of an older version
// opens both (vault/opening.h). That has the number of the first version, too: what was destroyed,
// and is put back beside what was stored since, does not open. An older version of format 2 has no
// bond of its dates, whatever the current one is of. The digest stands in the JSON so that an older
// version opens although the credential has other metadata and tags by now.
// "kid" and "dek" stay outside the AAD: a data key can be wrapped anew under the next master key
// version without touching the ciphertext. Both are authenticated all the same: "dek" by the key
// service, "kid" by its match with "dek".
//
// This file knows cryptography and the format; it knows no store and no service.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/key_commitment.h"
#include "base/secret_bytes.h"
#include "base/uuid.h"
#include "vault/data_keys.h"
#include "vault/record.h"

namespace vault {

inline constexpr std::size_t data_key_bytes = 32;
inline constexpr std::size_t commitment_bytes = std::tuple_size_v<base::KeyCommitment>;
inline constexpr std::size_t sealed_iv_bytes = 12;
inline constexpr std::size_t sealed_tag_bytes = 16;
inline constexpr std::size_t max_plaintext_bytes = 64UL * 1024;
inline constexpr std::size_t max_sealed_bytes = 96UL * 1024;  // of the JSON text

// What a sealed credential belongs to. Owner and name have 1 to 65,535 bytes. The rest is bound by
// format 3 only.
struct SealBinding {
    std::string owner;
    std::string name;
    std::uint64_t version = 0;
    base::Time created_at{};  // of the version, as those below
    std::optional<base::Time> expires_at{};
    std::optional<std::uint64_t> restored_from{};  // from 1
};

// "attributes": of created_at, updated_at, first_version, metadata and tags, as drawn above.
// Thread-safe. Throws internal.
using AttributesDigest = std::array<std::uint8_t, 32>;
AttributesDigest attributes_of(const CredentialInfo& info);

// What a sealed value belongs to: an owner, and the place that the application keeps it in. Each
// has 1 to 65,535 bytes.
struct ValueBinding {
    std::string owner;
    std::string context;
};

struct SealedCredential {
    base::Uuid key_id;
    std::uint32_t key_version = 0;
    base::Bytes wrapped_data_key;
    base::KeyCommitment commitment{};
    std::array<std::uint8_t, sealed_iv_bytes> iv{};
    std::optional<AttributesDigest> attributes{};  // empty: it is of format 2
    base::Bytes ciphertext;                        // followed by the tag
};

// Seals at most max_plaintext_bytes under `key`, which must be fresh: the caller's duty. A
// credential in format 3, with what the whole of it has from then on; a value in format 2. Throws
// internal when the key has another length or its wrapped form names another master key;
// invalid_argument for a plaintext that is too long; unavailable without randomness.
SealedCredential seal(const SealBinding& binding, const AttributesDigest& attributes,
                      const DataKey& key, base::ByteView plaintext);
SealedCredential seal(const ValueBinding& binding, const DataKey& key, base::ByteView plaintext);

// What the key service binds the data key of a credential to, beside what the seal binds.
KeyContext key_context(const SealBinding& binding);
// What the contexts of all versions of a credential have in common, and no other has.
KeyContext context_of_all_versions(const CredentialId& id);

// Whether `data_key` is the one that was sealed under, by the key commitment: nothing is opened.
bool commits_to(const SealedCredential& sealed, const base::SecretBytes& data_key);

// The plaintext. Throws integrity_failure when anything at all does not match: data key, binding,
// any byte. Whether its `attributes` are the credential's, the caller compares.
base::SecretBytes open(const SealedCredential& sealed, const SealBinding& binding,
                       const base::SecretBytes& data_key);
base::SecretBytes open(const SealedCredential& sealed, const ValueBinding& binding,
                       const base::SecretBytes& data_key);

// The compact JSON text, fields in the order drawn above.
std::string to_text(const SealedCredential& sealed);

// Reads either format. Throws invalid_argument naming the field that is unknown, missing, mistyped
// or malformed.
SealedCredential parse_sealed(const base::JsonValue& value);

// Reads a value that is_sealed(), as a caller sent it to have it opened. Throws invalid_argument
// naming "__enc" when it is of a format that is none of the vault's; a credential, or whatever else
// is wrong, is an integrity_failure, as if it had been opened.
SealedCredential parse_given(const base::JsonValue& value);

// Reads what a store held. Whatever is wrong with it is an integrity_failure: nobody but this vault
// writes there.
SealedCredential parse_stored(std::string_view text);

// The master key version that a wrapped data key names in its head; empty when it has none. Only
// the key service can tell whether it is true.
std::optional<MasterKeyVersion> master_key_of(base::ByteView wrapped);

// How much of a stored text named_master_key() needs.
inline constexpr std::size_t sealed_head_bytes = 128;
// The master key version that a stored text names, read from its beginning as to_text() writes it
// and no further: "kid", and the head of "dek" if it says the same. Empty when they differ, or when
// it begins in another way.
std::optional<MasterKeyVersion> named_master_key(std::string_view head);

// True for a value that is marked as sealed, of whatever format version and however malformed the
// rest is. Such a value is never sealed again: sealing is idempotent.
bool is_sealed(const base::JsonValue& value);

// The sealed JSON that a value is or, as a text, holds, since some databases keep JSON as text;
// empty when it is something else. Throws integrity_failure for a text that begins as sealed JSON
// does and is none, as one that was cut: it is never taken for a plaintext.
std::optional<base::JsonValue> sealed_in(const base::JsonValue& value);

}  // namespace vault
