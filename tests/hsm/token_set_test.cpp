// Several tokens used as one: who is asked, what is believed of a member's keys, and what happens
// when one is lost. What every token promises is in token_contract_test.cpp.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <signal.h>  // NOLINT(modernize-deprecated-headers): POSIX names

#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>

#include "hsm/token_set.h"
#include "tests/hsm/fake_set.h"
#include "tests/hsm/processes.h"
#include "tests/hsm/raw_session.h"
#include "tests/hsm/set_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/watched_token.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;

class TokenSet : public TwoFakeTokens {};

TEST_F(TokenSet, UsesGoToEachMemberThatHasTheKey) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    EXPECT_TRUE(both_are_used(key, encrypted));
}

TEST_F(TokenSet, AMemberWithAnotherKeyUnderTheIdIsNeverUsedForItAndIsReported) {
    open();
    const KeyId good = make_shared_key();
    const KeyId bad = make_shared_key();
    b().change([&](FakeToken& fake) { fake.replace_key(bad); });
    const auto encrypted = set_->encrypt(bad, {}, as_bytes("secret"));
    EXPECT_TRUE(comes_true([&] {
        EXPECT_EQ(open_text(bad, encrypted), "secret");
        return different_keys_ == 1;
    }));
    for (int i = 0; i < 50; ++i) {
        const auto more = set_->encrypt(bad, {}, as_bytes("secret"));
        a().change([&](FakeToken& fake) {
            EXPECT_NO_THROW(static_cast<void>(fake.decrypt(bad, more.iv, {}, more.ciphertext)));
        });
        EXPECT_EQ(open_text(bad, more), "secret");
    }
    EXPECT_NO_THROW(set_->check_member(0));
    EXPECT_ERROR_SAYING(unavailable, "others than the other tokens", set_->check_member(1));
    EXPECT_TRUE(both_are_used(good, set_->encrypt(good, {}, as_bytes("secret"))));
    copy_to_b(bad);
    EXPECT_TRUE(both_are_used(bad, encrypted));
    EXPECT_NO_THROW(set_->check_member(1));
}

TEST_F(TokenSet, AMacKeyOrPairThatDiffersIsNotUsedEither) {
    open();
    const KeyId mac_key = KeyId::random();
    const KeyId pair = KeyId::random();
    set_->generate_key(mac_key, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
    set_->generate_key(pair, "", KeyKind::ecdsa_p256, KeyProfile::sealed);
    b().change([&](FakeToken& fake) {
        fake.generate_key(mac_key, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
        fake.generate_key(pair, "", KeyKind::ecdsa_p256, KeyProfile::sealed);
    });
    const auto mac = set_->mac(mac_key, as_bytes("message"));
    const auto public_key = set_->public_key(pair);
    EXPECT_TRUE(comes_true([&] {
        EXPECT_TRUE(set_->verify_mac(mac_key, as_bytes("message"), mac));
        EXPECT_EQ(set_->public_key(pair), public_key);
        return different_keys_ == 2;
    }));
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(set_->mac(mac_key, as_bytes("message")), mac);
        EXPECT_EQ(set_->public_key(pair), public_key);
    }
}

TEST_F(TokenSet, AKeyIsProvenAgainAfterAMembersLogin) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    EXPECT_TRUE(both_are_used(key, encrypted));
    b().change([&](FakeToken& fake) { fake.replace_key(key); });
    log_in_again_[1]();
    EXPECT_TRUE(comes_true([&] {
        EXPECT_EQ(open_text(key, encrypted), "secret");
        return different_keys_ == 1;
    }));
}

TEST_F(TokenSet, AKeyThatAMemberLacksIsUsedThereOnceItHasIt) {
    open();
    const KeyId key = KeyId::random();
    set_->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    for (int i = 0; i < 10; ++i) EXPECT_EQ(open_text(key, encrypted), "secret");
    EXPECT_EQ(different_keys_, 0U);
    EXPECT_NO_THROW(set_->check_member(1));
    copy_to_b(key);
    EXPECT_TRUE(both_are_used(key, encrypted));
}

TEST_F(TokenSet, AMemberThatLacksAKeyIsAskedForItLessAndLess) {
    options_.pauses = {5ms, 5ms, 1h, 1h};
    open();
    const KeyId key = KeyId::random();
    set_->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(open_text(key, encrypted), "secret");
    set_.reset();  // what was to be looked at has been, or will not be
    EXPECT_LE(fakes_[1]->decrypt_calls, 1U);
}

TEST_F(TokenSet, AMemberThatDoesNotAnswerCostsNoCallThatMayBeRepeated) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    for (Watched* lost : {&a(), &b()}) {
        EXPECT_TRUE(both_are_used(key, encrypted));
        set_away(*lost, true);
        for (int i = 0; i < 20; ++i) EXPECT_EQ(open_text(key, encrypted), "secret");
        base::Bytes random(16);
        EXPECT_NO_THROW(set_->random(random));
        EXPECT_NO_THROW(set_->check());
        EXPECT_EQ(set_->state().well, 1U);
        EXPECT_ERROR(unavailable, set_->check_member(lost == &a() ? 0 : 1));
        set_away(*lost, false);
        EXPECT_TRUE(comes_true([&] { return set_->state().well == 2; }));
    }
    EXPECT_TRUE(both_are_used(key, encrypted));
}

// The caller counts them, and one that failed may have been made.
TEST_F(TokenSet, AnEncryptionIsNotRepeatedButTheNextGoesToAnother) {
    open();
    const KeyId key = make_shared_key();
    EXPECT_TRUE(both_are_used(key, set_->encrypt(key, {}, as_bytes("secret"))));
    set_away(b(), true);
    int failed = 0;
    for (int i = 0; i < 20; ++i) {
        try {
            static_cast<void>(set_->encrypt(key, {}, as_bytes("secret")));
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
            ++failed;
        }
    }
    EXPECT_EQ(failed, 1);
}

TEST_F(TokenSet, WithAllMembersAwayCallsAreUnavailableAndTheFirstThatIsBackServes) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    EXPECT_TRUE(both_are_used(key, encrypted));
    set_away(a(), true);
    set_away(b(), true);
    for (int i = 0; i < 3; ++i) {
        EXPECT_ERROR(unavailable, open_text(key, encrypted));
        EXPECT_ERROR(unavailable, set_->check());
        EXPECT_ERROR(unavailable, set_->list_keys(nullptr));
    }
    set_away(b(), false);
    EXPECT_EQ(open_text(key, encrypted), "secret");
}

TEST_F(TokenSet, KeysAreMadeInTheFirstMemberAndNowhereElse) {
    open();
    const KeyId key = KeyId::random();
    set_->generate_aes_key(key, "", KeyProfile::sealed);
    EXPECT_TRUE(a().find_key(key));
    EXPECT_FALSE(b().find_key(key));
    const KeyId other = KeyId::random();
    set_away(a(), true);
    EXPECT_ERROR(unavailable, set_->generate_aes_key(other, "", KeyProfile::sealed));
    EXPECT_FALSE(b().find_key(other));
    set_away(a(), false);
    b().change([&](FakeToken& fake) { fake.set_key(other, base::Bytes(32)); });
    EXPECT_TRUE(comes_true([&] { return set_->state().well == 2; }));
    EXPECT_ERROR(already_exists, set_->generate_aes_key(other, "", KeyProfile::sealed));
}

TEST_F(TokenSet, AKeyIsDestroyedInEachMemberThatHasIt) {
    open();
    const KeyId shared = make_shared_key();
    const KeyId only_a = KeyId::random();
    set_->generate_aes_key(only_a, "", KeyProfile::sealed);
    set_->destroy_key(shared);
    set_->destroy_key(only_a);
    EXPECT_FALSE(set_->find_key(shared));
    EXPECT_TRUE(a().list_keys(nullptr).empty());
    EXPECT_TRUE(b().list_keys(nullptr).empty());
    EXPECT_ERROR(not_found, set_->destroy_key(shared));
}

TEST_F(TokenSet, NothingIsDestroyedWhileAMemberCanNotBeAsked) {
    open();
    const KeyId key = make_shared_key();
    for (const bool is_first : {true, false}) {
        Watched& away = is_first ? a() : b();
        Watched& other = is_first ? b() : a();
        set_away(away, true);
        EXPECT_ERROR(unavailable, set_->destroy_key(key));
        EXPECT_TRUE(other.find_key(key));
        set_away(away, false);
    }
    set_->destroy_key(key);
}

TEST_F(TokenSet, AnotherKeyUnderTheIdIsNotDestroyed) {
    open();
    const KeyId key = make_shared_key();
    static_cast<void>(set_->encrypt(key, {}, as_bytes("x")));
    b().change([&](FakeToken& fake) { fake.replace_key(key); });
    EXPECT_ERROR_SAYING(failed_precondition, "another key", set_->destroy_key(key));
    EXPECT_TRUE(a().find_key(key));
    EXPECT_TRUE(b().find_key(key));
}

TEST_F(TokenSet, ThereIsNoSuchKeyOnlyWhenEachMemberSaysSo) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    const KeyId nobody = KeyId::random();
    EXPECT_ERROR(not_found, set_->encrypt(nobody, {}, as_bytes("x")));
    EXPECT_FALSE(set_->find_key(nobody));
    set_away(b(), true);
    EXPECT_ERROR(unavailable, set_->encrypt(nobody, {}, as_bytes("x")));
    EXPECT_ERROR(unavailable, set_->find_key(nobody));
    EXPECT_TRUE(set_->find_key(key));
    const std::vector<hsm::DecryptItem> items{{nobody, encrypted.iv, {}, encrypted.ciphertext}};
    EXPECT_ERROR(unavailable, static_cast<void>(set_->decrypt_many(items)));
}

TEST_F(TokenSet, ABatchIsSharedOutByWhoHasTheKeys) {
    open();
    const KeyId shared = make_shared_key();
    const KeyId only_a = KeyId::random();
    const KeyId only_b = KeyId::random();
    set_->generate_aes_key(only_a, "", KeyProfile::sealed);
    b().change([&](FakeToken& fake) { fake.set_key(only_b, base::Bytes(32, 7)); });
    const KeyId nobody = KeyId::random();
    std::vector<hsm::EncryptItem> texts;
    for (const KeyId& key : {shared, only_a, only_b, nobody, shared})
        texts.push_back({key, {}, as_bytes("secret")});
    for (int round = 0; round < 4; ++round) {
        const auto made = set_->encrypt_many(texts);
        ASSERT_EQ(made.size(), texts.size());
        EXPECT_FALSE(made[3].has_value());
        std::vector<hsm::DecryptItem> items;
        for (const std::size_t i : {0U, 1U, 2U, 4U})
            items.push_back({texts[i].key, made[i]->iv, {}, made[i]->ciphertext});
        items.push_back({shared, made[1]->iv, {}, made[1]->ciphertext});
        const auto opened = set_->decrypt_many(items);
        for (std::size_t i = 0; i < 4; ++i) {
            ASSERT_TRUE(opened[i].has_value()) << i;
            EXPECT_EQ(opened[i]->expose_text(), "secret");
        }
        EXPECT_FALSE(opened[4].has_value());
    }
    EXPECT_TRUE(set_->decrypt_many({}).empty());
}

TEST_F(TokenSet, ABatchIsAskedAgainOfAnotherMemberWhenOneIsLost) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    EXPECT_TRUE(both_are_used(key, encrypted));
    set_away(b(), true);
    const std::vector<hsm::DecryptItem> items(3, {key, encrypted.iv, {}, encrypted.ciphertext});
    for (int round = 0; round < 4; ++round) {
        for (const auto& opened : set_->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
    }
}

// The answer of a batch does not tell a key that is gone from a text that does not open.
TEST_F(TokenSet, AKeyThatVanishedFromAMemberFailsNoItemOfABatch) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    EXPECT_TRUE(both_are_used(key, encrypted));
    b().change([&](FakeToken& fake) { fake.destroy_key(key); });
    const std::vector<hsm::DecryptItem> items(3, {key, encrypted.iv, {}, encrypted.ciphertext});
    const std::vector<hsm::EncryptItem> texts(3, {key, {}, as_bytes("secret")});
    for (int round = 0; round < 4; ++round) {
        for (const auto& opened : set_->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
        for (const auto& made : set_->encrypt_many(texts)) EXPECT_TRUE(made.has_value());
        EXPECT_EQ(open_text(key, encrypted), "secret");
    }
}

TEST_F(TokenSet, AMemberThatCanNotBeOpenedIsOpenedLater) {
    refusals_[1] = base::Error(base::ErrorCode::failed_precondition, "no such token");
    open();
    const KeyId key = KeyId::random();
    set_->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    EXPECT_EQ(open_text(key, encrypted), "secret");
    EXPECT_ERROR(unavailable, set_->check_member(1));
    EXPECT_ERROR(unavailable, set_->destroy_key(key));
    EXPECT_TRUE(comes_true([&] { return openings_[1] > 3; }));
    opens_now_ = true;
    EXPECT_TRUE(comes_true([&] { return set_->state().well == 2; }));
    copy_to_b(key);
    EXPECT_TRUE(both_are_used(key, encrypted));
}

TEST_F(TokenSet, WhenNoneCanBeOpenedTheFirstOnesReasonIsTold) {
    refusals_[0] = base::Error(base::ErrorCode::failed_precondition, "the first");
    refusals_[1] = base::Error(base::ErrorCode::unavailable, "the second");
    EXPECT_ERROR_SAYING(failed_precondition, "the first", open());
}

TEST_F(TokenSet, ARefusedPinIsShownOnce) {
    options_.pauses.opening = 0ms;
    refusals_[1] = base::Error(base::ErrorCode::failed_precondition, "no", "CKR_PIN_INCORRECT");
    open();
    set_away(a(), true);  // its probes show that the members are looked after
    EXPECT_ERROR(unavailable, set_->check());
    set_away(a(), false);
    EXPECT_TRUE(comes_true([&] { return set_->state().well == 1; }));
    EXPECT_EQ(openings_[1], 1);
}

// Two copies of a SoftHSM token with keys in them, each with workers of its own; those of the
// second have another name.
class TokenSetUnderFire : public testing::Test {
protected:
    using Counted = WatchedToken<hsm::Token>;

    TokenSetUnderFire() {
        fixture_.open(log_)->generate_aes_key(key_, "", KeyProfile::sealed);
        std::filesystem::copy(fixture_.folder() / "tokens", second_tokens_,
                              std::filesystem::copy_options::recursive);
        configs_[1].token.softhsm_config = fixture_.folder() / "second.conf";
        std::ofstream(configs_[1].token.softhsm_config)
            << "directories.tokendir = " << second_tokens_.string()
            << "\nobjectstore.backend = file\nlog.level = ERROR\n";
        configs_[1].program = fixture_.folder() / "second-worker";
        std::filesystem::create_symlink(configs_[0].program, configs_[1].program);
    }
    void open() {
        std::vector<hsm::TokenMember> members;
        for (const std::size_t i : {0U, 1U}) {
            members.push_back({i == 0 ? "first" : "second", [this, i](auto logged_in_again) {
                                   hsm::WorkerConfig config = configs_[i];
                                   config.token.logged_in_again = std::move(logged_in_again);
                                   auto counted = std::make_unique<Counted>(
                                       hsm::open_remote_token(config, {}, log_),
                                       Counted::Calls::at_once);
                                   counted_[i] = counted.get();
                                   return counted;
                               }});
        }
        hsm::TokenSet::Options options;
        options.pauses.probe = 50ms;
        set_ = std::make_unique<hsm::TokenSet>(std::move(members), options, log_);
    }
    // Another key under the id, in the second token only.
    void replace_key_of_second() {
        // Raw calls take the folder that the environment names.
        ::setenv("SOFTHSM2_CONF", configs_[1].token.softhsm_config.c_str(), 1);
        const RawSession raw(fixture_);
        raw.destroy(raw.find(key_));
        raw.generate_key(base::as_text(key_.bytes()));
    }
    bool both_are_used() {
        const std::array<std::size_t, 2> before{counted_[0]->uses(), counted_[1]->uses()};
        return comes_true([&] {
            return counted_[0]->uses() > before[0] + 200 && counted_[1]->uses() > before[1] + 200;
        });
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    Remote<SoftHsmToken> fixture_;
    const std::filesystem::path second_tokens_ = fixture_.folder() / "second-tokens";
    std::array<hsm::WorkerConfig, 2> configs_{fixture_.worker_config(), fixture_.worker_config()};
    const KeyId key_ = KeyId::random();
    std::array<Counted*, 2> counted_{};
    std::unique_ptr<hsm::TokenSet> set_;
};

TEST_F(TokenSetUnderFire, ATokenThatIsLostFailsNoCallButThoseInFlightAndIsUsedAgainWhenItIsBack) {
    open();
    constexpr int encrypting = 2;
    const auto encrypted = set_->encrypt(key_, {}, as_bytes("secret"));
    std::atomic<bool> stop{false};
    std::atomic<int> made{0};
    std::atomic<int> not_made{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 2; ++i) {
        callers.emplace_back([&] {
            while (!stop) {
                EXPECT_NO_THROW(
                    EXPECT_TRUE(set_->decrypt(key_, encrypted.iv, {}, encrypted.ciphertext)
                                    .equals(as_bytes("secret"))));
            }
        });
    }
    for (int i = 0; i < encrypting; ++i) {
        callers.emplace_back([&] {
            while (!stop) {
                try {
                    static_cast<void>(set_->encrypt(key_, {}, as_bytes("secret")));
                    ++made;
                } catch (const base::Error& error) {
                    EXPECT_EQ(error.code(), base::ErrorCode::unavailable) << error.what();
                    ++not_made;
                }
            }
        });
    }
    EXPECT_TRUE(both_are_used());
    EXPECT_EQ(not_made, 0);
    const auto aside = fixture_.folder() / "aside";
    std::filesystem::rename(second_tokens_, aside);
    for (const pid_t worker : children_of(::getpid(), "second-worker")) ::kill(worker, SIGKILL);
    EXPECT_TRUE(comes_true([&] { return set_->state().well == 1; }));
    const int before = made;
    EXPECT_TRUE(comes_true([&] { return made > before + 500; }));
    EXPECT_LE(not_made, encrypting);
    std::filesystem::rename(aside, second_tokens_);
    EXPECT_TRUE(comes_true([&] { return set_->state().well == 2; }));
    EXPECT_TRUE(both_are_used());
    EXPECT_LE(not_made, encrypting);
    stop = true;
    for (auto& caller : callers) caller.join();
}

TEST_F(TokenSetUnderFire, ACopyWithAnotherKeyUnderTheIdIsNotUsedForItAndIsReported) {
    replace_key_of_second();
    open();
    const auto encrypted = set_->encrypt(key_, {}, as_bytes("secret"));
    const std::vector<hsm::DecryptItem> items(3, {key_, encrypted.iv, {}, encrypted.ciphertext});
    EXPECT_TRUE(comes_true([&] {
        for (const auto& opened : set_->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
        return set_->state().different_keys == 1;
    }));
    for (int i = 0; i < 20; ++i)
        EXPECT_NO_THROW(set_->decrypt(key_, encrypted.iv, {}, encrypted.ciphertext));
    EXPECT_NO_THROW(set_->check_member(0));
    EXPECT_ERROR_SAYING(unavailable, "others than the other tokens", set_->check_member(1));
    EXPECT_ERROR_SAYING(failed_precondition, "another key", set_->destroy_key(key_));
}

// The workers know the token's objects from before: a copy that is put right from outside is seen,
// proven and used by those that run, and not before.
TEST_F(TokenSetUnderFire, ACopyThatIsPutRightIsUsedForTheKeyAgainWithoutARestart) {
    // Before anybody writes to the one that it is a copy of.
    const std::filesystem::path put_right = fixture_.folder() / "put-right";
    std::filesystem::copy(fixture_.folder() / "tokens", put_right,
                          std::filesystem::copy_options::recursive);
    replace_key_of_second();
    open();
    const auto encrypted = set_->encrypt(key_, {}, as_bytes("secret"));
    const auto use = [&] {
        for (int i = 0; i < 8; ++i) {
            EXPECT_TRUE(set_->decrypt(key_, encrypted.iv, {}, encrypted.ciphertext)
                            .equals(as_bytes("secret")));
            const auto more = set_->encrypt(key_, {}, as_bytes("more"));
            EXPECT_NO_THROW(set_->decrypt(key_, more.iv, {}, more.ciphertext));
        }
    };
    EXPECT_TRUE(comes_true([&] { return use(), set_->state().different_keys == 1; }));
    use();
    const auto workers_of_second = [] { return children_of(::getpid(), "second-worker"); };
    ASSERT_TRUE(comes_true([&] { return workers_of_second().size() == 2; }));
    const auto workers = workers_of_second();
    // In one step: a worker that looked while there was no folder would end.
    ASSERT_EQ(
        ::renameat2(AT_FDCWD, put_right.c_str(), AT_FDCWD, second_tokens_.c_str(), RENAME_EXCHANGE),
        0);
    EXPECT_TRUE(comes_true([&] { return use(), set_->state().different_keys == 0; }));
    EXPECT_NO_THROW(set_->check_member(1));
    EXPECT_TRUE(comes_true([&] {
        const auto before = counted_[1]->uses();
        use();
        return counted_[1]->uses() >= before + 8;
    }));
    EXPECT_EQ(workers_of_second(), workers);
}

}  // namespace
}  // namespace tests
