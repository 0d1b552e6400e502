// How a Token lives through what real modules do, by the fault module over SoftHSM.
#include <gtest/gtest.h>

#include <thread>

#include "hsm/deadline_token.h"
#include "tests/hsm/recovery_house.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyKind;
using Name = Function;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::uint64_t first_and_one_a_second(std::chrono::steady_clock::time_point since) {
    const auto passed = std::chrono::steady_clock::now() - since;
    return 1U + static_cast<std::uint64_t>(std::chrono::duration_cast<seconds>(passed).count());
}

class Recovery : public RecoveryHouse {};

TEST_F(Recovery, NothingIsInitialisedAnewAndNobodyLogsInWhileNothingFails) {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(use_all(), "");
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U);
    EXPECT_EQ(faults_.calls(Name::C_Finalize), 0U);
    EXPECT_EQ(faults_.calls(Name::C_Login), 0U);
}

TEST_F(Recovery, ATokenThatIsAwayIsNotAskedAndIsBackWithinTwoSeconds) {
    faults_.set("behave away");
    const auto begun = std::chrono::steady_clock::now();
    std::atomic<int> refused{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            while (std::chrono::steady_clock::now() - begun < milliseconds(2500)) {
                EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
                ++refused;
                std::this_thread::yield();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_GT(refused, 1000);
    EXPECT_LE(faults_.calls(Name::C_Initialize), first_and_one_a_second(begun));
    EXPECT_EQ(faults_.calls(Name::C_Login), 0U) << "no PIN is sent where no token is";
    // Before the breaker opened the threads made a call or two each; then the probes alone did.
    EXPECT_LE(faults_.calls(Name::C_DecryptInit) + faults_.calls(Name::C_OpenSession), 30U);

    faults_.clear();
    const auto back = std::chrono::steady_clock::now();
    EXPECT_EQ(in_time([&] { return use_all(); }), "");
    EXPECT_LE(std::chrono::steady_clock::now() - back, seconds(2));
}

TEST_F(Recovery, AnErrorBurstCostsOneInitialisationASecond) {
    faults_.set("C_Decrypt,C_Encrypt code=CKR_DEVICE_ERROR");
    const auto begun = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begun < milliseconds(2500)) {
        EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
        std::this_thread::yield();
    }
    EXPECT_LE(faults_.calls(Name::C_Initialize), first_and_one_a_second(begun));
    faults_.clear();
    EXPECT_EQ(in_time([&] { return use_all(); }), "");
}

// A hundred calls find it away. The lines say three things: why, that calls are refused from now
// on, and, after five attempts, that this process can't do more.
TEST_F(Recovery, AnOutageIsLoggedOnceAndNotWithEachCallThatFindsIt) {
    config_.recovery = {milliseconds(0), milliseconds(0)};
    reopen();
    testing::internal::CaptureStderr();
    for (int outage = 0; outage < 2; ++outage) {
        faults_.set("behave away");
        for (int i = 0; i < 100; ++i) EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
        faults_.clear();
        EXPECT_EQ(in_time([&] { return use_all(); }), "");
    }
    const std::string log = testing::internal::GetCapturedStderr();
    const auto lines = [&](std::string_view text) {
        int found = 0;
        for (auto at = log.find(text); at != std::string::npos; at = log.find(text, at + 1))
            ++found;
        return found;
    };
    EXPECT_EQ(lines("the token does not answer"), 2) << log;
    EXPECT_EQ(lines("until an operator acts"), 2) << log;
    EXPECT_EQ(lines("beyond repair"), 2) << log;
    EXPECT_EQ(lines("\"level\":\"error\""), 6) << log;
}

// What every caller of a session that is not to be had would see.
TEST_F(Recovery, ATokenThatOpensNoSessionsBeforeAnOperatorActsLosesNoneOfThem) {
    faults_.set(
        "C_Decrypt nth=1 code=CKR_ENCRYPTED_DATA_INVALID\n"
        "C_OpenSession times=3 code=CKR_TOKEN_WRITE_PROTECTED");
    EXPECT_EQ(seen_by([&] { open(); }), "unavailable") << "the session could not be renewed";
    EXPECT_EQ(seen_by([&] { open(); }), "unavailable") << "nor another be opened";
    EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
    EXPECT_EQ(faults_.struck(std::size_t{1}), 3U);
    EXPECT_EQ(use_all(), "");
    EXPECT_EQ(load(3, 40), std::set<std::string>{""});
}

// A module whose connection is lost may say so by no other code.
TEST_F(Recovery, AModuleThatDoesNothingButFailIsInitialisedAnew) {
    config_.recovery = {milliseconds(0), milliseconds(0)};
    reopen();
    for (const std::string& code : std::vector<std::string>{
             "CKR_GENERAL_ERROR", "CKR_SESSION_HANDLE_INVALID", "CKR_USER_NOT_LOGGED_IN"}) {
        faults_.forget_counts();
        faults_.set("C_GenerateRandom code=" + code);
        for (int i = 0; i < 7; ++i) seen_by([&] { token_->random(noise_); });
        EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U) << code;
        for (int i = 0; i < 5; ++i) seen_by([&] { token_->random(noise_); });
        EXPECT_GE(faults_.calls(Name::C_Initialize), 1U) << code;
        faults_.clear();
        EXPECT_EQ(in_time([&] { return use_all(); }), "") << code;
    }
}

// Each strikes once in a round: what a call needs to recover is not taken away again meanwhile.
TEST_F(Recovery, SessionsThatAllEndUnderLoadCostNoCallItsAnswer) {
    for (int i = 0; i < 5; ++i) {
        faults_.set("C_Decrypt nth=100 do=close_sessions");
        EXPECT_EQ(load(4, 40), std::set<std::string>{""});
        EXPECT_EQ(faults_.struck(std::size_t{0}), 1U);
    }
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U);
    EXPECT_GE(faults_.calls(Name::C_Login), 5U);
}

TEST_F(Recovery, ALoginThatIsDroppedUnderLoadIsMadeAgain) {
    for (int i = 0; i < 5; ++i) {
        faults_.set("C_DecryptInit nth=100 do=logout");
        EXPECT_EQ(load(4, 40), std::set<std::string>{""});
        EXPECT_EQ(faults_.struck(std::size_t{0}), 1U);
    }
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U);
    EXPECT_EQ(faults_.calls(Name::C_Login), 5U);
}

// As SoftHSM does where token.object can't be written.
TEST_F(Recovery, ALoginThatCanNotBeMadeAgainIsMadeBehindANewInitialisation) {
    faults_.set("C_DecryptInit nth=1 do=logout\nC_GetTokenInfo nth=1 code=CKR_GENERAL_ERROR");
    EXPECT_EQ(seen_by([&] { open(); }), "");
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 1U);
    EXPECT_EQ(use_all(), "");
}

TEST_F(Recovery, HandlesThatBecomeInvalidUnderLoadAreFoundAgain) {
    for (int i = 0; i < 5; ++i) {
        faults_.set("C_Decrypt nth=100 do=invalidate_handles");
        EXPECT_EQ(load(4, 40), std::set<std::string>{""});
        EXPECT_EQ(faults_.struck(std::size_t{0}), 1U);
    }
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U);
    EXPECT_EQ(faults_.calls(Name::C_Login), 0U);
}

// One call in a hundred fails before it reaches the module, and leaves its operation active.
TEST_F(Recovery, SessionsNeitherLeakNorStickWhenCallsFailNowAndThen) {
    faults_.set(
        "C_Encrypt,C_Decrypt,C_Sign,C_EncryptInit,C_DecryptInit,C_SignInit probability=0.01 seed=3 "
        "code=CKR_OPERATION_ACTIVE");
    const int calls = rounds("CALLS", 600);
    int failed = 0;
    for (int i = 0; i < calls; ++i) {
        if (!use_all().empty()) ++failed;
    }
    EXPECT_LE(failed, calls / 100);
    EXPECT_LE(faults_.most_sessions(), 4U);
}

TEST_F(Recovery, PermutedFindsAfterAReconnectNeverGiveAnotherKeysAnswer) {
    config_.recovery = {milliseconds(0), milliseconds(0)};
    reopen();
    const int reconnects = rounds("RECONNECTS", 15);
    for (int i = 0; i < reconnects; ++i) {
        // The first login after it finds the handles mixed up, the next one does not.
        faults_.forget_counts();
        faults_.set(
            "C_DecryptInit nth=1 code=CKR_DEVICE_REMOVED\n"
            "C_Login nth=1 after do=permute_finds");
        for (const auto& [name, use] : uses()) {
            const std::string seen = use();
            EXPECT_TRUE(seen.empty() || seen == "unavailable") << name << " gives " << seen;
        }
        EXPECT_EQ(faults_.struck(std::size_t{0}), 1U) << "the token went";
        EXPECT_EQ(faults_.struck(std::size_t{1}), 1U) << "and was mixed up when it was back";
        EXPECT_GE(faults_.calls(Name::C_Initialize), 2U)
            << "once to have it back, once more to have its objects in order";
        faults_.clear();
        ASSERT_EQ(in_time([&] { return use_all(); }), "") << "round " << i;
    }
}

TEST_F(Recovery, AKeyThatIsFirstLookedUpAmongPermutedHandlesIsNotUsed) {
    token_.reset();
    faults_.set("C_Login after do=permute_finds");
    reopen();
    EXPECT_EQ(seen_by([&] { token_->encrypt(key_, {}, as_bytes("x")); }), "unavailable");
    EXPECT_EQ(seen_by([&] { token_->mac(mac_key_, as_bytes("x")); }), "")
        << "it is the only one of its type, so that it is found as itself";
    EXPECT_EQ(seen_by([&] { token_->destroy_key(key_); }), "unavailable");
    faults_.clear();
    reopen();
    EXPECT_EQ(use_all(), "");
}

TEST_F(Recovery, HandlesPermutedWhileInUseAreNoticedWithTheNextDecryptionAndSignature) {
    config_.recovery = {milliseconds(0), milliseconds(0)};
    reopen();
    ASSERT_EQ(use_all(), "");
    faults_.set("C_DecryptInit nth=1 do=permute_handles");
    EXPECT_EQ(in_time([&] { return seen_by([&] { open(); }); }), "");
    faults_.set("C_SignInit nth=1 do=permute_handles");
    EXPECT_EQ(in_time([&] { return seen_by([&] { sign(); }); }), "");
    faults_.clear();
    EXPECT_EQ(in_time([&] { return use_all(); }), "");
}

// As beside a process that just then writes token.object in place.
TEST_F(Recovery, ATokenThatIsNotSeenForAMomentAtTheStartIsLookedForAgain) {
    token_.reset();
    faults_.set("C_GetTokenInfo nth=1 code=CKR_TOKEN_NOT_PRESENT");
    reopen();
    EXPECT_EQ(use_all(), "");
}

// Whoever opens it again in the same process does so with the same wrong handle, and sees nothing.
TEST_F(Recovery, WhatIsMadeAmongPermutedHandlesIsTheKeysOwn) {
    config_.recovery = {milliseconds(0), milliseconds(0)};
    const hsm::KeyId other_mac_key = hsm::KeyId::random();
    token_->generate_key(other_mac_key, "", hsm::KeyKind::hmac_sha_256, hsm::KeyProfile::sealed);
    for (const bool is_first_use : {false, true}) {
        reopen();
        if (!is_first_use) {
            open();
            EXPECT_EQ(token_->mac(mac_key_, as_bytes("message")), answer_);
        }
        faults_.set("C_EncryptInit nth=1 do=permute_handles");
        const auto one = token_->encrypt(key_, {}, as_bytes("one"));
        faults_.set("C_EncryptInit nth=1 do=permute_handles");
        const std::vector<hsm::EncryptItem> items(3, {key_, {}, as_bytes("many")});
        const auto many = token_->encrypt_many(items);
        faults_.set("C_SignInit nth=1 do=permute_handles");
        EXPECT_EQ(token_->mac(mac_key_, as_bytes("message")), answer_);
        faults_.clear();
        reopen();
        EXPECT_TRUE(token_->decrypt(key_, one.iv, {}, one.ciphertext).equals(as_bytes("one")));
        for (const auto& each : many) {
            ASSERT_TRUE(each.has_value());
            EXPECT_TRUE(
                token_->decrypt(key_, each->iv, {}, each->ciphertext).equals(as_bytes("many")));
        }
    }
}

// What was made before the failure is made again when nobody can ask by which key it was.
TEST_F(Recovery, WhatIsMadeAmongPermutedHandlesBeforeAFailureIsTheKeysOwn) {
    config_.recovery = {milliseconds(0), milliseconds(0)};
    reopen();
    open();
    faults_.set(
        "C_EncryptInit nth=2 do=permute_handles\n"
        "C_Encrypt nth=3 code=CKR_SESSION_CLOSED\n"
        "C_OpenSession nth=1 code=CKR_DEVICE_ERROR");
    const std::vector<hsm::EncryptItem> items(4, {key_, {}, as_bytes("many")});
    const auto many = token_->encrypt_many(items);
    faults_.clear();
    reopen();
    for (const auto& each : many) {
        ASSERT_TRUE(each.has_value());
        EXPECT_TRUE(token_->decrypt(key_, each->iv, {}, each->ciphertext).equals(as_bytes("many")));
    }
}

// TAMPERED=1000000 is the long form.
TEST_F(Recovery, AFloodOfTamperedCiphertextsNeitherReconnectsNorLogsIn) {
    ASSERT_EQ(use_all(), "");
    const auto initialised = faults_.calls(Name::C_Initialize);
    const auto logins = faults_.calls(Name::C_Login);
    const int blobs = rounds("TAMPERED", 2000);
    for (int i = 0; i < blobs; ++i) {
        hsm::Encrypted bad = sealed_;
        const auto draw = mixed(25, static_cast<std::uint64_t>(i));
        switch (i % 5) {
            case 0:
                bad.ciphertext[draw % bad.ciphertext.size()] ^= 1U;
                break;
            case 1:
                bad.iv[draw % bad.iv.size()] ^= 0x80U;
                break;
            case 2:
                bad.ciphertext.resize(draw % bad.ciphertext.size());
                break;
            case 3:
                bad.ciphertext.push_back(0);
                break;
            default:
                bad.ciphertext.assign(16 + draw % 100, static_cast<std::uint8_t>(draw >> 32U));
        }
        const auto key = i % 7 == 0 ? other_key_ : key_;
        ASSERT_EQ(seen_by([&] { token_->decrypt(key, bad.iv, {}, bad.ciphertext); }),
                  "integrity_failure")
            << i;
    }
    EXPECT_EQ(faults_.calls(Name::C_Initialize), initialised);
    EXPECT_EQ(faults_.calls(Name::C_Finalize), 0U);
    EXPECT_EQ(faults_.calls(Name::C_Login), logins);
    EXPECT_LE(faults_.most_sessions(), 4U);
    EXPECT_EQ(use_all(), "");
}

TEST_F(Recovery, ASignatureWithAFlippedBitIsMadeAgain) {
    faults_.set("C_Sign nth=1 flip=random");
    EXPECT_EQ(seen_by([&] { sign(); }), "");
    EXPECT_EQ(faults_.calls(Name::C_Sign), 2U);
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U);
}

// --- vendors ---

TEST_F(Recovery, AModuleThatIsStrictAboutItsParametersIsServed) {
    token_.reset();
    faults_.set("behave strict_iv_bits unique_ids no_derive max_data=16384 pin_attempts=5");
    reopen();
    EXPECT_EQ(use_all(), "");
    const auto key = hsm::KeyId::random();
    token_->generate_aes_key(key, "new", hsm::KeyProfile::sealed);
    token_->generate_key(hsm::KeyId::random(), "", KeyKind::ecdsa_p256, hsm::KeyProfile::sealed);
    EXPECT_ERROR(already_exists, token_->generate_aes_key(key, "", hsm::KeyProfile::sealed));
}

TEST_F(Recovery, AModuleThatMakesTheIvItselfIsRefusedWithTheReason) {
    token_.reset();
    for (const std::string& maker : std::vector<std::string>{"zeroed", "appended"}) {
        faults_.set("behave iv=" + maker);
        EXPECT_ERROR_SAYING(failed_precondition, "CKM_AES_GCM", reopen());
    }
}

TEST_F(Recovery, ATokenWithFewSessionsMakesCallersWaitForOne) {
    faults_.set("behave max_sessions=3\nC_Decrypt delay=1");
    EXPECT_EQ(load(8, 40), std::set<std::string>{""});
    EXPECT_LE(faults_.most_sessions(), 3U);
    EXPECT_GT(faults_.failed(Name::C_OpenSession), 0U);
}

TEST_F(Recovery, SessionsThatDieIdleAreOpenedAgainWithTheirLogin) {
    // The delays are of calls without a session: those in the pool grow old meanwhile.
    faults_.set("behave session_idle=100\nC_GetMechanismInfo delay=20");
    for (int i = 0; i < 3; ++i) {
        token_->supported_kinds();
        EXPECT_EQ(in_time([&] { return use_all(); }), "");
    }
    EXPECT_EQ(faults_.calls(Name::C_Initialize), 0U);
    EXPECT_GE(faults_.calls(Name::C_Login), 3U);
}

TEST_F(Recovery, AWrongPinIsSentOnceAndNeverLocksTheToken) {
    token_.reset();
    faults_.set("behave pin_attempts=5");
    const auto before = faults_.calls(Name::C_Login);
    const base::SecretBytes wrong(as_bytes("not the PIN"));
    EXPECT_ERROR_SAYING(failed_precondition, "tried once", hsm::open_token(config_, wrong, log_));
    EXPECT_EQ(faults_.calls(Name::C_Login) - before, 1U);
    reopen();
    EXPECT_EQ(use_all(), "");
}

// --- calls that hang ---

class Hanging : public RecoveryHouse {
protected:
    Hanging() {
        config_.call_deadline = milliseconds(200);
        config_.max_sessions = 8;
        config_.recovery = {milliseconds(0), milliseconds(0)};
        reopen();
        use_all();  // every key has proven itself
    }
    std::size_t hung() { return dynamic_cast<hsm::DeadlineToken&>(*token_).hung_calls(); }
    // Until what hung has ended.
    void let_go() {
        faults_.clear();
        while (hung() != 0) std::this_thread::yield();
    }
};

TEST_F(Hanging, ACallThatHangsIsUnavailableAtItsDeadlineAndOthersGoOn) {
    faults_.set("C_Encrypt nth=1 hang");
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_EQ(seen_by([&] { token_->encrypt(key_, {}, as_bytes("x")); }), "unavailable");
    EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(200));
    EXPECT_LE(std::chrono::steady_clock::now() - begun, seconds(1));
    EXPECT_EQ(hung(), 1U);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(in_time([&] { return use_all(); }), "");
    EXPECT_EQ(faults_.hanging(), 1U);
    let_go();
    EXPECT_EQ(use_all(), "");
}

TEST_F(Hanging, WithTooManyHungCallsEveryCallIsRefusedAtOnce) {
    faults_.set("C_Encrypt hang");
    for (std::size_t i = 0; i < config_.max_hung_calls; ++i)
        EXPECT_EQ(seen_by([&] { token_->encrypt(key_, {}, as_bytes("x")); }), "unavailable");
    const auto begun = std::chrono::steady_clock::now();
    const auto calls = faults_.calls(Name::C_DecryptInit);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
    EXPECT_LE(std::chrono::steady_clock::now() - begun, milliseconds(200));
    EXPECT_EQ(faults_.calls(Name::C_DecryptInit), calls) << "none is begun";
    let_go();
    EXPECT_EQ(in_time([&] { return use_all(); }), "");
}

TEST_F(Hanging, AnInitialisationThatHangsKeepsNobodyWaiting) {
    for (const std::string& function :
         std::vector<std::string>{"C_Finalize", "C_Initialize", "C_Login", "C_OpenSession"}) {
        faults_.set("C_DecryptInit nth=1 code=CKR_DEVICE_REMOVED\n" + function + " nth=1 hang");
        for (int i = 0; i < 3; ++i) {
            const auto begun = std::chrono::steady_clock::now();
            EXPECT_EQ(seen_by([&] { open(); }), "unavailable") << function;
            EXPECT_LE(std::chrono::steady_clock::now() - begun, seconds(1)) << function;
        }
        let_go();
        EXPECT_EQ(in_time([&] { return use_all(); }), "") << function;
    }
}

// Where nothing but the module is in the process, it is for the process to end.
TEST_F(Recovery, AHungCallThatBarsTheWayBackIsBeyondRepair) {
    std::atomic<int> told{0};
    config_.beyond_repair = [&](std::string_view why) {
        EXPECT_NE(why.find("hangs"), std::string_view::npos);
        ++told;
    };
    reopen();
    ASSERT_EQ(use_all(), "");
    faults_.set("C_Encrypt nth=1 hang\nC_DecryptInit nth=1 code=CKR_DEVICE_REMOVED");
    std::thread hanging([&] { seen_by([&] { token_->encrypt(key_, {}, as_bytes("x")); }); });
    while (faults_.hanging() == 0) std::this_thread::yield();
    EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
    EXPECT_EQ(told, 1);
    faults_.clear();
    hanging.join();
    EXPECT_EQ(in_time([&] { return use_all(); }), "");
}

TEST_F(Recovery, AModuleThatWillNotBeInitialisedIsBeyondRepairAfterSomeAttempts) {
    int told = 0;
    config_.recovery = {milliseconds(0), milliseconds(0)};
    config_.beyond_repair = [&](std::string_view) { ++told; };
    reopen();
    faults_.set("C_DecryptInit nth=1 code=CKR_DEVICE_REMOVED\nC_Initialize code=CKR_DEVICE_ERROR");
    for (int i = 0; i < 5; ++i) EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
    EXPECT_EQ(told, 0);
    EXPECT_EQ(seen_by([&] { open(); }), "unavailable");
    EXPECT_EQ(told, 1);
    faults_.clear();
    EXPECT_EQ(in_time([&] { return use_all(); }), "");
}

}  // namespace
}  // namespace tests
