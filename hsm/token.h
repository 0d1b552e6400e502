// The token as the rest of the house sees it: named keys that encrypt and decrypt inside a hardware
// security module, sign, or make MACs. No PKCS#11 type, handle or return code may appear here, so
// that the module can run in this process or in one of its own.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/secret_bytes.h"
#include "base/uuid.h"

namespace hsm {

inline constexpr std::size_t iv_bytes = 12;   // NIST SP 800-38D 5.2.1.1: 96 bits
inline constexpr std::size_t tag_bytes = 16;  // 128 bits
inline constexpr std::size_t aes_key_bytes = 32;
inline constexpr std::size_t hmac_key_bytes = 32;  // as long as the hash (NIST SP 800-107 5.3.4)
inline constexpr std::size_t hmac_bytes = 32;      // never truncated

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

// The public half of a pair, as read back.
struct PublicHalf {
    std::optional<bool> token, private_object, local;
    std::optional<bool> verify, verify_recover, encrypt, wrap, derive;
    std::optional<bool> modifiable, copyable, destroyable;
};

// What was read back from the token, one attribute at a time. An attribute that the module does not
// know is empty. Of a pair it is the private half that is described.
struct KeyAttributes {
    std::string label;
    std::optional<KeyKind> kind;  // by key type, curve and size; empty when it is none of ours
    std::optional<bool> token, private_object, sensitive, extractable, always_sensitive,
        never_extractable, local;
    std::optional<bool> encrypt, decrypt, sign, sign_recover, verify, wrap, unwrap, derive;
    std::optional<bool> modifiable, copyable, destroyable, wrap_with_trusted;
    std::optional<std::uint64_t> value_bytes;  // of a secret key
    std::string key_type;                      // "AES", "GENERIC_SECRET", "EC", "EC_EDWARDS", "RSA"
    std::string mechanism;    // what generated it, "CKM_AES_KEY_GEN"; empty when unknown
    base::Bytes check_value;  // CKA_CHECK_VALUE: display only, not an identity; may be empty
    std::optional<PublicHalf> public_half;  // of a pair; empty when it is not in the token
};

// What is wrong with a key that should be of that kind and profile, in words such as "extractable
// is true"; empty when it is as it must be. An attribute that must be known and isn't is wrong. It
// is the one place that says what makes a key good; thread-safe.
std::vector<std::string> differences_from_profile(const KeyAttributes& attributes,
                                                  KeyProfile profile, KeyKind kind);

struct Encrypted {
    Iv iv{};
    base::Bytes ciphertext;  // as long as the plaintext, followed by the 16-byte tag
    bool operator==(const Encrypted&) const = default;
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

// What a key does, whatever its kind.
enum class KeyUse { encrypts, makes_macs, is_pair };

// What a key left behind that only it fits to: its known answer, by which it is known again.
inline constexpr std::string_view key_evidence_text = "strongroom key proof";
struct KeyEvidence {
    KeyUse use = KeyUse::encrypts;
    // `text`, encrypted with `aad`. Of an HMAC key the MAC of `text`, of a pair the public key, in
    // `ciphertext`.
    Encrypted answer;
    base::Bytes text{key_evidence_text.begin(), key_evidence_text.end()};
    base::Bytes aad{};
    bool operator==(const KeyEvidence&) const = default;
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
//   integrity_failure    decrypt: any ciphertext that does not open (one wording); make_durable
//   internal             the module answered against the standard; also a key used as what it is
//                        not, which is a mistake of ours
class Token {
public:
    virtual ~Token() = default;

    virtual TokenInfo info() const = 0;

    // The kinds of key that this token can make and use: it has the mechanisms. aes_256 always.
    virtual std::set<KeyKind> supported_kinds() = 0;

    // Makes a key of that kind named `id`, reads every attribute back, of both halves of a pair,
    // and refuses (internal) a key that differs from the profile; durable when it returns. `label`
    // is for people, at most 64 bytes; a longer one throws invalid_argument, as does any kind but
    // aes_256 in another profile than sealed. Throws already_exists when anything of that id is
    // there, failed_precondition when the token does not support the kind. Never retried inside.
    // When the proof of durability fails (unavailable), the key is there and must not be used
    // before make_durable() succeeds.
    virtual KeyAttributes generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                                       KeyProfile profile) = 0;
    // The same for an AES-256 master key.
    KeyAttributes generate_aes_key(const KeyId& id, std::string_view label, KeyProfile profile) {
        return generate_key(id, label, KeyKind::aes_256, profile);
    }

    // Proves that the key survives this process: written to the disk and read back by a second
    // process where the token needs that (SoftHSM); nothing elsewhere. For a key whose making was
    // cut short: may be repeated. Where there is a proof, it throws not_found when there is no such
    // key, or the second process finds none, and integrity_failure when it has another one under
    // the id: such a key is no key. unavailable: nobody can say now, the second process did not
    // answer for instance.
    virtual void make_durable(const KeyId& id) = 0;

    // Read from the token now. Empty when it has no such key; half a pair, which a crash leaves, is
    // none. More than one key under the id throws internal when the key is looked for: at its first
    // use, and after a reconnection.
    virtual std::optional<KeyAttributes> find_key(const KeyId& id) = 0;
    // The ids of all keys in the token, each once, in no order; also of half a pair. Objects
    // without a 16-byte id are left out and counted by `unnamed_objects`, when given.
    virtual std::vector<KeyId> list_keys(std::size_t* unnamed_objects = nullptr) = 0;
    // Destroys the key, both halves of a pair, or the half that is left of one, and proves the
    // absence by a find. Throws not_found.
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

    // SubjectPublicKeyInfo (RFC 5280) of a pair, DER; the two halves have proven to belong
    // together.
    virtual base::Bytes public_key(const KeyId& id) = 0;
    // A signature of `message` by the private key of a pair of that kind:
    //   ECDSA    DER Ecdsa-Sig-Value (RFC 3279 2.2.3) over SHA-256 (P-256) or SHA-384 (P-384)
    //   Ed25519  64 bytes (RFC 8032)
    //   RSA-PSS  SHA-256, MGF1 with SHA-256, 32-byte salt (RFC 8017 8.1)
    // Each is verified in this process before it is returned: one faulty signature can tell an RSA
    // key. One that does not verify throws internal.
    virtual base::Bytes sign(const KeyId& id, KeyKind kind, base::ByteView message) = 0;
    // Whether sign() of that key could have made `signature`; false for anything malformed.
    // Computed in this process from the public half, which holds no secret: that spares the token,
    // and does not believe it.
    virtual bool verify(const KeyId& id, KeyKind kind, base::ByteView message,
                        base::ByteView signature) = 0;
    // HMAC-SHA-256 (FIPS 198-1) of `message`, 32 bytes, made in the token.
    virtual base::Bytes mac(const KeyId& id, base::ByteView message) = 0;
    // Whether `mac` is that of `message`, compared in constant time; one of another length is not.
    virtual bool verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) = 0;

    // Whether the key under `id` is the one that left `known` behind. From now on, whatever came of
    // it, no other key is used under this id, also after a reconnection: what the token had for its
    // known answer before, of a key that has been put right since, is replaced. Where nothing is
    // remembered of keys it only answers. No encryption is made. A key of another kind is another
    // key. Throws not_found; unavailable and internal as above.
    virtual bool hold_to(const KeyId& id, const KeyEvidence& known) = 0;

    // Random bytes from the token's generator.
    virtual void random(std::span<std::uint8_t> out) = 0;

    // A cheap proof that the token answers and is logged in; throws as above when
    // not.
    virtual void check() = 0;
};

}  // namespace hsm
