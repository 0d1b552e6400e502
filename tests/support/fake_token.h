// A token in memory, for what a real one does only when it breaks: a flipped bit, a lost or swapped
// key, an outage. For everything else a test takes a SoftHSM token (tests/support/token_fixture.h).
#pragma once

#include <map>

#include "hsm/token.h"

namespace tests {

class FakeToken final : public hsm::Token {
public:
    hsm::TokenInfo info() const override;
    hsm::KeyAttributes generate_aes_key(const hsm::KeyId& id, std::string_view label,
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
    void random(std::span<std::uint8_t> out) override;
    void check() override;

    // Puts a key of known bytes, or another key, under `id`.
    void set_key(const hsm::KeyId& id, base::ByteView bytes);
    // Spoils what find_key() tells of the key.
    hsm::KeyAttributes& attributes(const hsm::KeyId& id) { return keys_.at(id).attributes; }
    // For putting a key back later.
    base::SecretBytes key_bytes(const hsm::KeyId& id) const;

    bool is_away = false;              // every call throws unavailable
    bool fails_to_generate = false;    // generate_aes_key throws unavailable, having made nothing
    bool dies_after_generate = false;  // … having made the key
    bool fails_to_be_durable = false;  // no proof of durability succeeds
    bool flips_a_bit = false;          // in every ciphertext that encrypt returns
    std::size_t decrypt_calls = 0;     // single and batched calls alike
    std::size_t encrypt_calls = 0;     // likewise

private:
    struct Entry {
        base::SecretBytes key;
        hsm::KeyAttributes attributes;
    };
    const Entry& require(const hsm::KeyId& id) const;
    void require_answer() const;

    std::map<hsm::KeyId, Entry> keys_;
};

}  // namespace tests
