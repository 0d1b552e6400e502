// A Token whose module runs in worker processes (hsm/worker_keeper.h): each call is one request and
// one answer on a channel of its own.
#pragma once

#include <shared_mutex>
#include <unordered_map>

#include "hsm/worker_keeper.h"

namespace hsm {

class RemoteToken final : public Token {
public:
    // As open_remote_token().
    RemoteToken(const WorkerConfig& config, const base::SecretBytes& pin, base::Log& log);

    TokenInfo info() const override { return keeper_.info(); }
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

private:
    enum class Exchange {
        answered,
        unsent,  // the worker was gone before it had the whole request
        lost,    // it went before it answered
        late,    // it did not answer in time
    };
    // What a key must fit to in each worker before it is used there. No two that a key had are of
    // the same age.
    struct Proof {
        KeyEvidence known;
        std::uint64_t age = 0;
    };
    struct Wanted {
        KeyId key;
        KeyUse use = KeyUse::encrypts;
    };

    // One operation, on a second worker when the first was lost and it may be repeated. `keys`
    // prove themselves before it.
    template <typename Request>
    typename Request::Answer call(const Request& request, std::span<const Wanted> keys = {});
    template <typename Request>
    typename Request::Answer call(const Request& request, const Wanted& key) {
        return call(request, std::span(&key, 1));
    }
    // Throws what the worker answered the request with.
    template <typename Request>
    Exchange exchange(Channel& channel, const Request& request, typename Request::Answer& answer);
    // In batches that each fit into one request.
    template <typename Request, typename Item>
    typename Request::Answer call_in_batches(std::span<const Item> items);
    template <typename Request>
    Patience patience_of(const Request& request) const;

    Exchange prove(Channel& channel, const Wanted& wanted);
    Exchange make_evidence(Channel& channel, const Wanted& wanted, KeyEvidence& known);
    bool is_proven(const Worker& worker, const KeyId& key) const;
    std::optional<Proof> find_proof(const KeyId& key) const;
    // What another thread has kept meanwhile, for another worker's key maybe; empty when it is
    // this one, `made` by the key itself, with its age in `age`.
    std::optional<Proof> keep_proof(const KeyId& key, KeyEvidence made, std::uint64_t& age);

    const WorkerConfig config_;
    WorkerKeeper keeper_;
    mutable std::shared_mutex mutex_;
    std::unordered_map<KeyId, Proof> proofs_;
    std::uint64_t last_age_ = 0;
};

}  // namespace hsm
