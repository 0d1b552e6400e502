// A token that counts its uses, and can be changed from outside between two of them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "hsm/token.h"

namespace tests {

// Safe to share between threads: one call at a time when `inner` is not.
template <typename Inner = hsm::Token>
class WatchedToken final : public hsm::Token {
public:
    enum class Calls { at_once, one_by_one };

    WatchedToken(std::shared_ptr<Inner> inner, Calls calls)
        : inner_(std::move(inner)), calls_(calls) {}

    // Of a key, whatever came of them.
    std::size_t uses() const { return uses_; }
    // What happens between the next use and its caller's next step; on his thread.
    void after_next_use(std::function<void()> happens) { after_next_use_ = std::move(happens); }
    // Changes the inner token while nobody calls it.
    template <typename Change>
    auto change(Change&& with) {
        const std::lock_guard lock(mutex_);
        return with(*inner_);
    }

    hsm::TokenInfo info() const override { return inner_->info(); }
    std::set<hsm::KeyKind> supported_kinds() override {
        return call([&] { return inner_->supported_kinds(); });
    }
    hsm::KeyAttributes generate_key(const hsm::KeyId& id, std::string_view label, hsm::KeyKind kind,
                                    hsm::KeyProfile profile) override {
        return call([&] { return inner_->generate_key(id, label, kind, profile); });
    }
    void make_durable(const hsm::KeyId& id) override {
        call([&] { inner_->make_durable(id); });
    }
    std::optional<hsm::KeyAttributes> find_key(const hsm::KeyId& id) override {
        return call([&] { return inner_->find_key(id); });
    }
    std::vector<hsm::KeyId> list_keys(std::size_t* unnamed_objects) override {
        return call([&] { return inner_->list_keys(unnamed_objects); });
    }
    void destroy_key(const hsm::KeyId& id) override {
        call([&] { inner_->destroy_key(id); });
    }
    hsm::Encrypted encrypt(const hsm::KeyId& id, base::ByteView aad,
                           base::ByteView plaintext) override {
        return use([&] { return inner_->encrypt(id, aad, plaintext); });
    }
    std::vector<std::optional<hsm::Encrypted>> encrypt_many(
        std::span<const hsm::EncryptItem> items) override {
        return use([&] { return inner_->encrypt_many(items); });
    }
    base::SecretBytes decrypt(const hsm::KeyId& id, const hsm::Iv& iv, base::ByteView aad,
                              base::ByteView ciphertext) override {
        return use([&] { return inner_->decrypt(id, iv, aad, ciphertext); });
    }
    std::vector<std::optional<base::SecretBytes>> decrypt_many(
        std::span<const hsm::DecryptItem> items) override {
        return use([&] { return inner_->decrypt_many(items); });
    }
    base::Bytes public_key(const hsm::KeyId& id) override {
        return use([&] { return inner_->public_key(id); });
    }
    base::Bytes sign(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message) override {
        return use([&] { return inner_->sign(id, kind, message); });
    }
    bool verify(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message,
                base::ByteView signature) override {
        return use([&] { return inner_->verify(id, kind, message, signature); });
    }
    base::Bytes mac(const hsm::KeyId& id, base::ByteView message) override {
        return use([&] { return inner_->mac(id, message); });
    }
    bool verify_mac(const hsm::KeyId& id, base::ByteView message, base::ByteView mac) override {
        return use([&] { return inner_->verify_mac(id, message, mac); });
    }
    bool hold_to(const hsm::KeyId& id, const hsm::KeyEvidence& known) override {
        return use([&] { return inner_->hold_to(id, known); });
    }
    void random(std::span<std::uint8_t> out) override {
        call([&] { inner_->random(out); });
    }
    void check() override {
        call([&] { inner_->check(); });
    }

private:
    template <typename Work>
    auto call(Work&& work) {
        std::unique_lock lock(mutex_, std::defer_lock);
        if (calls_ == Calls::one_by_one) lock.lock();
        return work();
    }
    template <typename Work>
    auto use(Work&& work) {
        ++uses_;
        auto answer = call(work);
        if (after_next_use_) std::exchange(after_next_use_, {})();
        return answer;
    }

    std::shared_ptr<Inner> inner_;
    Calls calls_;
    std::mutex mutex_;
    std::atomic<std::size_t> uses_{0};
    std::function<void()> after_next_use_;  // not changed while other threads use it
};

}  // namespace tests
