// The token as the rest of the house sees it: named keys that encrypt and decrypt inside a hardware
// security module. No PKCS#11 type, handle or return code may appear here, so that the module can
// run in this process or in one of its own.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/secret_bytes.h"
#include "base/uuid.h"

namespace hsm {

inline constexpr std::size_t iv_bytes = 12;   // NIST SP 800-38D 5.2.1.1: 96 bits
inline constexpr std::size_t tag_bytes = 16;  // 128 bits
inline constexpr std::size_t aes_key_bytes = 32;

using Iv = std::array<std::uint8_t, iv_bytes>;

// A key's name in the token (CKA_ID): 16 random bytes chosen before the key is made.
using KeyId = base::Uuid;

// How a master key is made; see hsm/README.md for the exact templates.
enum class KeyProfile {
    sealed,      // can't leave the token in any form
    restorable,  // may be wrapped under a trusted key, for a copy in a second token
};
std::string_view to_string(KeyProfile profile) noexcept;
std::optional<KeyProfile> parse_key_profile(std::string_view text) noexcept;

// What a key is, which fixes what it may do: an AES key encrypts, an HMAC key makes MACs, each of
// the others is a pair that signs.
enum class KeyKind {
    aes_256,       // AES-256-GCM
    hmac_sha_256,  // HMAC with SHA-256, 32-byte key (RFC 2104, FIPS 198-1)
    ecdsa_p256,    // ECDSA on P-256 with SHA-256 (FIPS 186-5)
    ecdsa_p384,    // ECDSA on P-384 with SHA-384
    ed25519,       // Ed25519, pure (RFC 8032)
    rsa_pss_3072,  // RSASSA-PSS with SHA-256, MGF1 with SHA-256, 32-byte salt (RFC 8017)
    rsa_pss_4096,
};
inline constexpr std::array all_key_kinds{
    KeyKind::aes_256, KeyKind::hmac_sha_256, KeyKind::ecdsa_p256,  KeyKind::ecdsa_p384,
    KeyKind::ed25519, KeyKind::rsa_pss_3072, KeyKind::rsa_pss_4096};
// The words are those of the enumerators: "ecdsa_p256".
std::string_view to_string(KeyKind kind) noexcept;
std::optional<KeyKind> parse_key_kind(std::string_view text) noexcept;
// A public and a private half.
constexpr bool is_pair(KeyKind kind) noexcept {
    return kind != KeyKind::aes_256 && kind != KeyKind::hmac_sha_256;
}

// What was read back from the token, one attribute at a time. An attribute that the module does not
// know is empty.
struct KeyAttributes {
    std::string label;
    std::optional<bool> token, private_object, sensitive, extractable, always_sensitive,
        never_extractable, local;
    std::optional<bool> encrypt, decrypt, sign, verify, wrap, unwrap, derive;
    std::optional<bool> modifiable, copyable, destroyable, wrap_with_trusted;
    std::optional<std::uint64_t> value_bytes;
    std::string key_type;     // "AES"
    std::string mechanism;    // what generated it, "CKM_AES_KEY_GEN"; empty when unknown
    base::Bytes check_value;  // CKA_CHECK_VALUE: display only, not an identity; may be empty
};

// What is wrong with a key that should be of that profile, in words such as "extractable is true";
// empty when it is as it must be. An attribute that must be known and isn't is wrong. It is the one
// place that says what makes a key good; thread-safe.
std::vector<std::string> differences_from_profile(const KeyAttributes& attributes,
                                                  KeyProfile profile);

struct Encrypted {
    Iv iv{};
    base::Bytes ciphertext;  // as long as the plaintext, followed by the 16-byte tag
};

// One item of a batch.
struct EncryptItem {
    KeyId key;
    base::ByteView aad;
    base::ByteView plaintext;
};
struct DecryptItem {
    KeyId key;
    Iv iv{};
    base::ByteView aad;
    base::ByteView ciphertext;  // with tag
};

struct TokenInfo {
    std::string label, serial, manufacturer, model, library;
    bool is_softhsm = false;
};

// A logged-in token. Implementations are safe to share between threads and reconnect by themselves
// where the error class allows it. Every function throws base::Error:
//   unavailable          token, session or module trouble, also back-pressure; retry may help
//   failed_precondition  the token is write-protected or refuses service: the operator must act.
//                        A token that is lost, or refuses the login, while it is in use is
//                        unavailable, and the log says why
//   not_found            no key of that id in the token
//   integrity_failure    decrypt only: any ciphertext that does not open (one wording)
//   internal             the module answered against the standard
class Token {
public:
    virtual ~Token() = default;

    virtual TokenInfo info() const = 0;

    // Makes an AES-256 master key named `id`, reads every attribute back and refuses (internal) a
    // key that differs from the profile; durable when it returns. `label` is for people, at most 64
    // bytes; a longer one throws invalid_argument. Throws already_exists when a key of that id is
    // there. Never retried inside. When the proof of durability fails (unavailable), the key is
    // there and must not be used before make_durable() succeeds.
    virtual KeyAttributes generate_aes_key(const KeyId& id, std::string_view label,
                                           KeyProfile profile) = 0;

    // Proves that the key survives this process: written to the disk and read back by a second
    // process where the token needs that (SoftHSM); nothing elsewhere. For a key whose making was
    // cut short: may be repeated. Throws unavailable when the proof fails; not_found, where there
    // is a proof.
    virtual void make_durable(const KeyId& id) = 0;

    // Empty when the token has no such key. More than one object under the id throws internal.
    virtual std::optional<KeyAttributes> find_key(const KeyId& id) = 0;
    // The ids of all secret keys in the token, in no order. Objects without a 16-byte id are left
    // out and counted by `unnamed_objects`, when given.
    virtual std::vector<KeyId> list_keys(std::size_t* unnamed_objects = nullptr) = 0;
    // Destroys the key and proves its absence by a find. Throws not_found.
    virtual void destroy_key(const KeyId& id) = 0;

    // AES-256-GCM (NIST SP 800-38D) with a fresh random 96-bit IV (8.2.2); the token draws the IV
    // or, for modules that want it, makes it itself. The caller counts encryptions per key (8.3).
    virtual Encrypted encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) = 0;
    // The same for many, in one pass over one session; an item whose key is not there is empty. No
    // item is encrypted again because another failed.
    virtual std::vector<std::optional<Encrypted>> encrypt_many(
        std::span<const EncryptItem> items) = 0;
    // The plaintext; throws integrity_failure for anything that does not verify.
    virtual base::SecretBytes decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                                      base::ByteView ciphertext) = 0;
    // The same for many, in one pass over one session; an item that does not open, or whose key is
    // not there, is empty. Token trouble throws as above, for the whole call.
    virtual std::vector<std::optional<base::SecretBytes>> decrypt_many(
        std::span<const DecryptItem> items) = 0;

    // Random bytes from the token's generator.
    virtual void random(std::span<std::uint8_t> out) = 0;

    // A cheap proof that the token answers and is logged in; throws as above when
    // not.
    virtual void check() = 0;
};

}  // namespace hsm
