// A Token over another whose calls may hang: each has a deadline, and what hangs hangs apart. For a
// module in this process; one in a process of its own is ended instead.
#pragma once

#include <memory>

#include "hsm/call_runner.h"
#include "hsm/token.h"

namespace hsm {

struct Deadlines {
    std::chrono::milliseconds use{1000};       // of encrypting, signing and the like
    std::chrono::milliseconds per_item{10};    // more for each item of a batch
    std::chrono::milliseconds manage{60'000};  // of what makes, destroys or lists keys
    std::size_t max_hung_calls = 4;            // with more, every call is refused at once
};

// Throws what the other token does, and unavailable when a deadline passes: whether the call was
// made is not known then. Copies what it is given, since a hung call outlives its caller.
class DeadlineToken final : public Token {
public:
    // `log` must outlive hung calls too.
    DeadlineToken(std::shared_ptr<Token> token, const Deadlines& deadlines, base::Log& log)
        : token_(std::move(token)), deadlines_(deadlines), runner_(deadlines.max_hung_calls, log) {}

    TokenInfo info() const override { return token_->info(); }
    std::set<KeyKind> supported_kinds() override;
    KeyAttributes generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                               KeyProfile profile) override;
    void make_durable(const KeyId& id) override;
    std::optional<KeyAttributes> find_key(const KeyId& id) override;
    std::vector<KeyId> list_keys(std::size_t* unnamed_objects) override;
    void destroy_key(const KeyId& id) override;
    Encrypted encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) override;
    std::vector<std::optional<Encrypted>> encrypt_many(std::span<const EncryptItem> items) override;
    base::SecretBytes decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                              base::ByteView ciphertext) override;
    std::vector<std::optional<base::SecretBytes>> decrypt_many(
        std::span<const DecryptItem> items) override;
    base::Bytes public_key(const KeyId& id) override;
    base::Bytes sign(const KeyId& id, KeyKind kind, base::ByteView message) override;
    bool verify(const KeyId& id, KeyKind kind, base::ByteView message,
                base::ByteView signature) override;
    base::Bytes mac(const KeyId& id, base::ByteView message) override;
    bool verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) override;
    bool hold_to(const KeyId& id, const KeyEvidence& known) override;
    void random(std::span<std::uint8_t> out) override;
    void check() override;

    std::size_t hung_calls() const { return runner_.overdue(); }

private:
    std::chrono::milliseconds of_batch(std::size_t items) const {
        return deadlines_.use + deadlines_.per_item * static_cast<std::int64_t>(items);
    }

    std::shared_ptr<Token> token_;
    Deadlines deadlines_;
    CallRunner runner_;
};

}  // namespace hsm
