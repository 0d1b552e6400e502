// A token in which much happens between the order to make a key and the making.
#pragma once

#include <functional>

#include "hsm/token.h"

namespace tests {

// `inner` must outlive it.
class SlowToken final : public hsm::Token {
public:
    explicit SlowToken(hsm::Token& inner) : inner_(inner) {}

    std::function<void(const hsm::KeyId&)> before_generating;  // may be empty

    hsm::TokenInfo info() const override { return inner_.info(); }
    std::set<hsm::KeyKind> supported_kinds() override { return inner_.supported_kinds(); }
    hsm::KeyAttributes generate_key(const hsm::KeyId& id, std::string_view label, hsm::KeyKind kind,
                                    hsm::KeyProfile profile) override {
        if (before_generating) before_generating(id);
        return inner_.generate_key(id, label, kind, profile);
    }
    void make_durable(const hsm::KeyId& id) override { inner_.make_durable(id); }
    std::optional<hsm::KeyAttributes> find_key(const hsm::KeyId& id) override {
        return inner_.find_key(id);
    }
    std::vector<hsm::KeyId> list_keys(std::size_t* unnamed_objects) override {
        return inner_.list_keys(unnamed_objects);
    }
    void destroy_key(const hsm::KeyId& id) override { inner_.destroy_key(id); }
    hsm::Encrypted encrypt(const hsm::KeyId& id, base::ByteView aad,
                           base::ByteView plaintext) override {
        return inner_.encrypt(id, aad, plaintext);
    }
    std::vector<std::optional<hsm::Encrypted>> encrypt_many(
        std::span<const hsm::EncryptItem> items) override {
        return inner_.encrypt_many(items);
    }
    base::SecretBytes decrypt(const hsm::KeyId& id, const hsm::Iv& iv, base::ByteView aad,
                              base::ByteView ciphertext) override {
        return inner_.decrypt(id, iv, aad, ciphertext);
    }
    std::vector<std::optional<base::SecretBytes>> decrypt_many(
        std::span<const hsm::DecryptItem> items) override {
        return inner_.decrypt_many(items);
    }
    base::Bytes public_key(const hsm::KeyId& id) override { return inner_.public_key(id); }
    base::Bytes sign(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message) override {
        return inner_.sign(id, kind, message);
    }
    bool verify(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message,
                base::ByteView signature) override {
        return inner_.verify(id, kind, message, signature);
    }
    base::Bytes mac(const hsm::KeyId& id, base::ByteView message) override {
        return inner_.mac(id, message);
    }
    bool verify_mac(const hsm::KeyId& id, base::ByteView message, base::ByteView mac) override {
        return inner_.verify_mac(id, message, mac);
    }
    bool hold_to(const hsm::KeyId& id, const hsm::KeyEvidence& known) override {
        return inner_.hold_to(id, known);
    }
    void random(std::span<std::uint8_t> out) override { inner_.random(out); }
    void check() override { inner_.check(); }

private:
    hsm::Token& inner_;
};

}  // namespace tests
