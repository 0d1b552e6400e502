// A token in memory, for what a real one does only when it breaks: a flipped bit, a lost or swapped
// key, an outage. For everything else a test takes a SoftHSM token (tests/support/token_fixture.h).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>

#include "hsm/token.h"

namespace Botan {  // NOLINT(readability-identifier-naming): the library's own name
class Private_Key;
}

namespace tests {

class FakeToken final : public hsm::Token {
public:
    hsm::TokenInfo info() const override;
    std::set<hsm::KeyKind> supported_kinds() override;
    hsm::KeyAttributes generate_key(const hsm::KeyId& id, std::string_view label, hsm::KeyKind kind,
                                    hsm::KeyProfile profile) override;
    void make_durable(const hsm::KeyId& id) override;
    std::optional<hsm::KeyAttributes> find_key(const hsm::KeyId& id) override;
    std::vector<hsm::KeyId> list_keys(std::size_t* unnamed_objects) override;
    void destroy_key(const hsm::KeyId& id) override;
    hsm::Encrypted encrypt(const hsm::KeyId& id, base::ByteView aad,
                           base::ByteView plaintext) override;
    std::vector<std::optional<hsm::Encrypted>> encrypt_many(
        std::span<const hsm::EncryptItem> items) override;
    base::SecretBytes decrypt(const hsm::KeyId& id, const hsm::Iv& iv, base::ByteView aad,
                              base::ByteView ciphertext) override;
    std::vector<std::optional<base::SecretBytes>> decrypt_many(
        std::span<const hsm::DecryptItem> items) override;
    base::Bytes public_key(const hsm::KeyId& id) override;
    base::Bytes sign(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message) override;
    bool verify(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message,
                base::ByteView signature) override;
    base::Bytes mac(const hsm::KeyId& id, base::ByteView message) override;
    bool verify_mac(const hsm::KeyId& id, base::ByteView message, base::ByteView mac) override;
    bool hold_to(const hsm::KeyId& id, const hsm::KeyEvidence& known) override;
    void random(std::span<std::uint8_t> out) override;
    void check() override;

    // Puts an AES key of known bytes, or another key, under `id`.
    void set_key(const hsm::KeyId& id, base::ByteView bytes);
    // Puts another key of the same kind under `id`.
    void replace_key(const hsm::KeyId& id);
    // Spoils what find_key() tells of the key.
    hsm::KeyAttributes& attributes(const hsm::KeyId& id) { return keys_.at(id).attributes; }
    // For putting an AES key back later.
    base::SecretBytes key_bytes(const hsm::KeyId& id) const;

    bool is_away = false;                   // every call throws unavailable
    bool refuses_service = false;           // … failed_precondition
    bool fails_to_generate = false;         // generate_key throws unavailable, having made nothing
    bool dies_after_generate = false;       // … having made the key
    bool keeps_the_destroyed = false;       // destroy_key says that it did, and does nothing
    bool fails_to_be_durable = false;       // nobody can say whether a key is durable
    bool flips_a_bit = false;               // in every ciphertext, signature and MAC it returns
    std::size_t flips_left = 0;             // … in as many ciphertexts and no more
    std::optional<hsm::KeyId> not_durable;  // a second process proves that it does not find it
    std::optional<hsm::KeyId> several;      // the token has more than one under the id
    std::optional<hsm::KeyId> spoilt;       // decrypt_many with it throws unavailable
    std::set<hsm::KeyKind> lacks;           // kinds that it does not support
    std::size_t decrypt_calls = 0;          // single and batched calls alike
    std::size_t encrypt_calls = 0;          // likewise

private:
    struct Entry {
        base::SecretBytes key;  // AES and HMAC
        std::shared_ptr<Botan::Private_Key> pair;
        hsm::KeyAttributes attributes;
    };
    static Entry make_entry(std::string_view label, hsm::KeyKind kind, hsm::KeyProfile profile);
    const Entry& require(const hsm::KeyId& id) const;
    const Entry& require(const hsm::KeyId& id, hsm::KeyKind kind) const;
    void require_answer() const;

    std::map<hsm::KeyId, Entry> keys_;
};

}  // namespace tests
