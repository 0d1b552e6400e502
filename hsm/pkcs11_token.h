// A Token over a PKCS#11 module in this process.
#pragma once

#include <memory>

#include "hsm/batch_turns.h"
#include "hsm/pkcs11_keys.h"
#include "hsm/pkcs11_traits.h"
#include "hsm/softhsm_guard.h"
#include "hsm/token_config.h"

namespace hsm {

class Pkcs11Token final : public Token {
public:
    enum class Purpose { serve, read_back };

    // As open_token(), over a module that is initialised already. `guard` is null unless the module
    // is SoftHSM. To read back, nothing is tested at start.
    Pkcs11Token(std::shared_ptr<Module> module, const TokenConfig& config,
                const base::SecretBytes& pin, std::unique_ptr<SoftHsmGuard> guard, Purpose purpose,
                base::Log& log);

    TokenInfo info() const override { return info_; }
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
    void check() override { connection_->check(); }

private:
    FoundToken find_at_start(const TokenUri& uri);
    void make_objects(const KeyId& id, std::string_view label, KeyKind kind, KeyProfile profile);
    KeyAttributes read_new_key(const KeyId& id);
    void refuse_unless_as_ordered(const KeyId& id, const KeyAttributes& attributes, KeyKind kind,
                                  KeyProfile profile);
    bool holds_any(const KeyId& id);
    // What a second process is to be asked about the key.
    ReadbackQuestion readback_question(const KeyId& id);
    // Throw not_found. The second also internal when the key is of another kind.
    KnownKey require_key(const Operation& operation, const KeyId& id);
    KnownKey require_key(const Operation& operation, const KeyId& id, KeyKind kind);
    void encrypt_rest(const Operation& operation, std::span<const EncryptItem> items,
                      std::vector<std::optional<Encrypted>>& made,
                      std::unordered_map<KeyId, CK_OBJECT_HANDLE>& used);
    // Empty when the ciphertext does not open; throws for any other failure.
    std::optional<base::SecretBytes> open(const Operation& operation, const KeyId& id,
                                          CK_OBJECT_HANDLE key, const DecryptItem& item);
    // Lasts as long as the batch. Owns nothing when nobody has to wait, or waited long enough.
    BatchTurns::Turn turn_of_batch(std::size_t items);

    // In the order of their building: what is below uses what is above.
    KeptPin pin_;
    base::Log& log_;
    std::shared_ptr<Module> module_;
    ModuleTraits traits_;
    std::unique_ptr<SoftHsmGuard> guard_;
    const std::chrono::milliseconds turn_patience_;
    TokenInfo info_;
    IvSource ivs_;
    KeyHandles keys_;
    std::mutex generation_;  // SoftHSM only: one new key at a time, from its making to its proof
    BatchTurns batches_;     // SoftHSM only
    std::unique_ptr<Connection> connection_;
};

// The same as open_token() over `module`, which may have faults built in: the seam for tests.
std::unique_ptr<Token> open_token(std::shared_ptr<Module> module, const TokenConfig& config,
                                  const base::SecretBytes& pin, base::Log& log);

// For the read-back program: without guards, which belong to the process that serves, and without
// self-test.
std::unique_ptr<Token> open_for_readback(const TokenConfig& config, const base::SecretBytes& pin,
                                         base::Log& log);

}  // namespace hsm
