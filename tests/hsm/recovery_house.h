// A Token over the fault module over SoftHSM, with keys of several kinds and known answers of each,
// so that every answer can be judged: good, an error by its word, or wrong.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "hsm/public_key.h"
#include "hsm/token_config.h"
#include "tests/support/faulty_pkcs11/fault_control.h"
#include "tests/support/token_fixture.h"

namespace tests {

// As many as the environment says in the long form, else few.
inline int rounds(const char* variable, int few) {
    const char* many = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): no other thread yet
    return many == nullptr ? few : std::stoi(many);
}

class RecoveryHouse : public testing::Test {
protected:
    RecoveryHouse() {
        config_ = fixture_.config();
        config_.module = faults_.library();
        config_.max_sessions = 3;
        reopen();
        for (const auto id : {key_, other_key_})
            token_->generate_aes_key(id, "", hsm::KeyProfile::sealed);
        token_->generate_key(mac_key_, "", hsm::KeyKind::hmac_sha_256, hsm::KeyProfile::sealed);
        for (const auto id : {pair_, other_pair_})
            token_->generate_key(id, "", hsm::KeyKind::ecdsa_p256, hsm::KeyProfile::sealed);
        sealed_ = token_->encrypt(key_, {}, base::as_bytes("secret"));
        other_sealed_ = token_->encrypt(other_key_, {}, base::as_bytes("other"));
        answer_ = token_->mac(mac_key_, base::as_bytes("message"));
        public_key_ = token_->public_key(pair_);
        faults_.forget_counts();
    }
    ~RecoveryHouse() override { faults_.clear(); }

    void reopen() {
        token_.reset();
        token_ = hsm::open_token(config_, fixture_.pin(), log_);
    }
    // Keys that were doubted a moment ago may be so again.
    void forget_doubts() {
        if (token_ && is_doubted()) reopen();
    }
    bool is_doubted() {
        return seen_by([&] { open(); }) == "unavailable";
    }

    void open() {
        if (!token_->decrypt(key_, sealed_.iv, {}, sealed_.ciphertext)
                 .equals(base::as_bytes("secret")))
            throw std::logic_error("a wrong plaintext");
        if (!token_->decrypt(other_key_, other_sealed_.iv, {}, other_sealed_.ciphertext)
                 .equals(base::as_bytes("other")))
            throw std::logic_error("a wrong plaintext");
    }
    void sign() {
        const auto text = base::as_bytes("message");
        const auto signature = token_->sign(pair_, hsm::KeyKind::ecdsa_p256, text);
        if (!hsm::verify_signature(hsm::KeyKind::ecdsa_p256, public_key_, text, signature))
            throw std::logic_error("another key's signature");
    }
    // What is encrypted now must open when all is well again: it is kept till then.
    void encrypt() {
        auto made = token_->encrypt(key_, {}, base::as_bytes("kept"));
        const std::lock_guard lock(mutex_);
        kept_.push_back(std::move(made));
    }

    // "", the word of a base::Error's code, or "WRONG ..." for an answer that is none.
    static std::string seen_by(const std::function<void()>& work) {
        try {
            work();
            return "";
        } catch (const base::Error& error) {
            return std::string(base::to_string(error.code()));
        } catch (const std::logic_error& error) {
            return std::string("WRONG: ") + error.what();
        }
    }

    // Every way of using the token, by name; each gives what seen_by() does.
    std::vector<std::pair<std::string, std::function<std::string()>>> uses() {
        const auto of = [](auto work) { return [work] { return seen_by(work); }; };
        return {{"decrypt", of([this] { open(); })},
                {"encrypt", of([this] { encrypt(); })},
                {"sign", of([this] { sign(); })},
                {"mac", of([this] {
                     if (token_->mac(mac_key_, base::as_bytes("message")) != answer_)
                         throw std::logic_error("another key's MAC");
                 })},
                {"find", of([this] {
                     if (!token_->find_key(key_)) throw std::logic_error("no key");
                 })},
                {"list", of([this] {
                     if (token_->list_keys(nullptr).size() != 5) throw std::logic_error("not all");
                 })},
                {"random", of([this] { token_->random(noise_); })},
                {"check", of([this] { token_->check(); })}};
    }
    // Empty when every use gives a good answer and all that was encrypted so far opens; else the
    // first that does not.
    std::string use_all() {
        for (const auto& [name, use] : uses()) {
            if (const auto seen = use(); !seen.empty()) return name + ": " + seen;
        }
        std::vector<hsm::Encrypted> kept;
        {
            const std::lock_guard lock(mutex_);
            kept.swap(kept_);
        }
        for (const auto& each : kept) {
            const auto seen = seen_by([&] {
                if (!token_->decrypt(key_, each.iv, {}, each.ciphertext)
                         .equals(base::as_bytes("kept")))
                    throw std::logic_error("a wrong plaintext");
            });
            if (!seen.empty()) return "what was encrypted before: " + seen;
        }
        return "";
    }
    // The last answer, "" when it came within five seconds.
    static std::string in_time(const std::function<std::string()>& use) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        std::string seen;
        do {
            seen = use();
            if (seen.empty() || seen.find("WRONG") != std::string::npos) return seen;
            std::this_thread::yield();
        } while (std::chrono::steady_clock::now() < end);
        return seen;
    }
    // Every answer that `threads` see, each `times` times.
    std::set<std::string> load(int threads, int times) {
        std::set<std::string> seen;
        std::vector<std::thread> running;
        for (int i = 0; i < threads; ++i) {
            running.emplace_back([&] {
                for (int n = 0; n < times; ++n) {
                    const auto answer = seen_by([&] { open(); });
                    const std::lock_guard lock(mutex_);
                    seen.insert(answer);
                }
            });
        }
        for (auto& thread : running) thread.join();
        return seen;
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken fixture_;
    FaultControl faults_{fixture_.folder(), softhsm_library};
    hsm::TokenConfig config_;
    const hsm::KeyId key_ = hsm::KeyId::random(), other_key_ = hsm::KeyId::random(),
                     mac_key_ = hsm::KeyId::random(), pair_ = hsm::KeyId::random(),
                     other_pair_ = hsm::KeyId::random();
    std::unique_ptr<hsm::Token> token_;
    hsm::Encrypted sealed_, other_sealed_;
    base::Bytes answer_, public_key_;
    std::array<std::uint8_t, 16> noise_{};
    std::mutex mutex_;
    std::vector<hsm::Encrypted> kept_;
};

}  // namespace tests
