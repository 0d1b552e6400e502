// A set of two tokens in memory, each of which can be made to fail.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>

#include "hsm/token_set.h"
#include "tests/hsm/processes.h"
#include "tests/support/fake_token.h"
#include "tests/support/watched_token.h"

namespace tests {

// Two fake tokens, "a" and "b", and the set of both.
class TwoFakeTokens : public testing::Test {
protected:
    using Watched = WatchedToken<FakeToken>;

    TwoFakeTokens() {
        using std::chrono::milliseconds;
        options_.pauses = {milliseconds(5), milliseconds(5), milliseconds(5), milliseconds(20)};
        options_.changed = [this](const hsm::TokenSetState& state) {
            different_keys_ = state.different_keys;
        };
    }

    hsm::TokenMember member(std::size_t number) {
        return {number == 0 ? "a" : "b", [this, number](std::function<void()> logged_in_again) {
                    ++openings_[number];
                    if (refusals_[number] && !opens_now_) throw base::Error(*refusals_[number]);
                    auto opened =
                        std::make_unique<Watched>(fakes_[number], Watched::Calls::one_by_one);
                    log_in_again_[number] = std::move(logged_in_again);
                    tokens_[number] = opened.get();
                    return opened;
                }};
    }
    void open() {
        set_ = std::make_unique<hsm::TokenSet>(std::vector{member(0), member(1)}, options_, log_);
    }
    Watched& a() { return *tokens_[0]; }
    Watched& b() { return *tokens_[1]; }

    // A key of the same bytes in each.
    hsm::KeyId make_shared_key() {
        const hsm::KeyId key = hsm::KeyId::random();
        set_->generate_aes_key(key, "", hsm::KeyProfile::sealed);
        copy_to_b(key);
        return key;
    }
    void copy_to_b(const hsm::KeyId& key) {
        const auto bytes = a().change([&](FakeToken& fake) { return fake.key_bytes(key); });
        b().change([&](FakeToken& fake) { fake.set_key(key, bytes.expose()); });
    }
    void set_away(Watched& token, bool is_away) {
        token.change([&](FakeToken& fake) { fake.is_away = is_away; });
    }
    // Uses the key until both members have been used for it.
    bool both_are_used(const hsm::KeyId& key, const hsm::Encrypted& encrypted) {
        return comes_true([&] {
            const std::size_t before_a = a().uses();
            const std::size_t before_b = b().uses();
            for (int i = 0; i < 8; ++i) EXPECT_EQ(open_text(key, encrypted), "secret");
            return a().uses() >= before_a + 4 && b().uses() >= before_b + 4;
        });
    }
    std::string open_text(const hsm::KeyId& key, const hsm::Encrypted& encrypted) {
        return std::string(
            set_->decrypt(key, encrypted.iv, {}, encrypted.ciphertext).expose_text());
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    hsm::TokenSet::Options options_;
    std::array<std::shared_ptr<FakeToken>, 2> fakes_{std::make_shared<FakeToken>(),
                                                     std::make_shared<FakeToken>()};
    std::array<Watched*, 2> tokens_{};
    std::array<std::function<void()>, 2> log_in_again_;
    std::array<std::atomic<int>, 2> openings_{};
    std::array<std::optional<base::Error>, 2> refusals_;
    std::atomic<bool> opens_now_{false};
    std::atomic<std::size_t> different_keys_{0};
    std::unique_ptr<hsm::TokenSet> set_;
};

}  // namespace tests
