// What a Token does when the module fails: every class of error, through a broken function table
// over SoftHSM.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/hsm/fault_table.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyId;
using hsm::KeyProfile;
using Faults = FaultTable;

class TokenFault : public testing::Test {
protected:
    ~TokenFault() override { Faults::reset(); }
    TokenFault() {
        key_ = KeyId::random();
        token_->generate_aes_key(key_, "", KeyProfile::sealed);
        sealed_ = token_->encrypt(key_, {}, as_bytes("secret"));
    }
    std::string open() {
        return std::string(token_->decrypt(key_, sealed_.iv, {}, sealed_.ciphertext).expose_text());
    }

    // Until a reconnect is permitted again.
    std::string open_in_time() {
        const auto bound = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (std::chrono::steady_clock::now() < bound) {
            try {
                return open();
            } catch (const base::Error&) {
                std::this_thread::yield();
            }
        }
        return "never opened";
    }
    void close_all_sessions() {
        CK_SLOT_ID slots[8];
        CK_ULONG count = 8;
        Faults::real.C_GetSlotList(CK_TRUE, slots, &count);
        for (CK_ULONG i = 0; i < count; ++i) Faults::real.C_CloseAllSessions(slots[i]);
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken fixture_;
    std::unique_ptr<hsm::Token> token_ =
        hsm::open_token(Faults::module(), fixture_.config(), fixture_.pin(), log_);
    KeyId key_;
    hsm::Encrypted sealed_;
};

TEST_F(TokenFault, ADeadSessionIsReplacedWithoutTheCallerSeeingIt) {
    for (const CK_RV code : {CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_OPERATION_ACTIVE,
                             CKR_OPERATION_NOT_INITIALIZED}) {
        Faults::decrypt.strike(code);
        EXPECT_EQ(open(), "secret");
        Faults::encrypt_init.strike(code);
        EXPECT_NO_THROW(token_->encrypt(key_, {}, as_bytes("x")));
    }
}

TEST_F(TokenFault, ABatchOfEncryptionsGoesOnBehindTheLastThatWasMade) {
    const std::vector<hsm::EncryptItem> items(5, {key_, {}, as_bytes("x")});
    Faults::encrypt.strike(CKR_SESSION_CLOSED, 1, 3);
    Faults::encrypt.calls = 0;
    const auto made = token_->encrypt_many(items);
    EXPECT_EQ(Faults::encrypt.calls, 6);
    ASSERT_EQ(made.size(), 5U);
    for (const auto& one : made) {
        EXPECT_EQ(token_->decrypt(key_, one->iv, {}, one->ciphertext).expose_text(), "x");
    }
    Faults::encrypt.strike(CKR_SESSION_CLOSED, 1000, 3);
    EXPECT_ERROR(unavailable, token_->encrypt_many(items));
}

TEST_F(TokenFault, ASessionThatStaysDeadIsUnavailableAfterOneRetry) {
    Faults::decrypt.strike(CKR_SESSION_CLOSED, 1000);
    Faults::decrypt.calls = 0;
    EXPECT_ERROR(unavailable, open());
    EXPECT_EQ(Faults::decrypt.calls, 2);
}

TEST_F(TokenFault, AllSessionsClosedMeansANewAnchorAndOneLogin) {
    CK_SLOT_ID slots[8];
    CK_ULONG count = 8;
    ASSERT_EQ(Faults::real.C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; ++i) Faults::real.C_CloseAllSessions(slots[i]);
    Faults::login.calls = 0;
    EXPECT_EQ(open(), "secret");
    EXPECT_EQ(Faults::login.calls, 1);
    token_->check();
}

TEST_F(TokenFault, ALostLoginIsMadeOnceMoreByOneThread) {
    {
        const RawSession raw(fixture_);
        CK_SESSION_HANDLE session = 0;
        CK_SLOT_ID slots[8];
        CK_ULONG count = 8;
        Faults::real.C_GetSlotList(CK_TRUE, slots, &count);
        ASSERT_EQ(Faults::real.C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                             nullptr, &session),
                  CKR_OK);
        ASSERT_EQ(Faults::real.C_Logout(session), CKR_OK);
    }
    Faults::login.calls = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_EQ(open(), "secret"); });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(Faults::login.calls, 1);
}

TEST_F(TokenFault, APinThatIsRefusedLaterIsTriedOnceAndThenLatched) {
    Faults::login.strike(CKR_PIN_INCORRECT, 1000);
    Faults::login.calls = 0;
    for (int i = 0; i < 5; ++i) {
        Faults::decrypt.strike(CKR_USER_NOT_LOGGED_IN);
        CK_SLOT_ID slots[8];
        CK_ULONG count = 8;
        Faults::real.C_GetSlotList(CK_TRUE, slots, &count);
        Faults::real.C_CloseAllSessions(slots[0]);
        EXPECT_ERROR(unavailable, open());
        EXPECT_ERROR(unavailable, token_->check());
    }
    EXPECT_EQ(Faults::login.calls, 1);
}

TEST_F(TokenFault, AKeyThatWasListedIsFoundWithoutASearch) {
    std::vector<hsm::KeyId> more;
    for (int i = 0; i < 3; ++i) {
        more.push_back(hsm::KeyId::random());
        token_->generate_aes_key(more.back(), "listed", hsm::KeyProfile::sealed);
    }
    token_.reset();
    token_ = hsm::open_token(Faults::module(), fixture_.config(), fixture_.pin(), log_);
    token_->list_keys();
    Faults::find_init.calls = 0;
    for (const auto& id : more) token_->encrypt(id, {}, base::as_bytes("text"));
    EXPECT_EQ(Faults::find_init.calls, 0);
}

TEST_F(TokenFault, AStaleHandleIsLookedUpAgain) {
    for (const CK_RV code : {CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID}) {
        Faults::decrypt_init.strike(code);
        Faults::find_init.calls = 0;
        EXPECT_EQ(open(), "secret");
        EXPECT_EQ(Faults::find_init.calls, 1);
    }
}

TEST_F(TokenFault, ATokenThatWentAwayIsTakenBack) {
    for (const CK_RV code : {CKR_DEVICE_REMOVED, CKR_DEVICE_ERROR, CKR_TOKEN_NOT_PRESENT,
                             CKR_CRYPTOKI_NOT_INITIALIZED}) {
        Faults::initialize.calls = 0;
        Faults::decrypt.strike(code);
        const auto bound = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        std::string opened;
        while (opened.empty() && std::chrono::steady_clock::now() < bound) {
            try {
                opened = open();
            } catch (const base::Error& error) {
                ASSERT_EQ(error.code(), base::ErrorCode::unavailable);
                Faults::decrypt.strike(code);  // still away until the next reconnect is permitted
            }
        }
        EXPECT_EQ(opened, "secret");
        EXPECT_EQ(Faults::initialize.calls, 1);
    }
}

TEST_F(TokenFault, ATokenThatStaysAwayIsUnavailableAndIsNotHammered) {
    Faults::decrypt.strike(CKR_DEVICE_REMOVED, 1'000'000);
    Faults::initialize.strike(CKR_DEVICE_ERROR, 1'000'000);
    Faults::initialize.calls = 0;
    for (int i = 0; i < 1000; ++i) EXPECT_ERROR(unavailable, open());
    EXPECT_LE(Faults::initialize.calls, 10);
    Faults::decrypt.strike(CKR_OK, 0);
    Faults::initialize.strike(CKR_OK, 0);
    const auto bound = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    std::string opened;
    while (opened.empty() && std::chrono::steady_clock::now() < bound) {
        try {
            opened = open();
        } catch (const base::Error&) {
            std::this_thread::yield();
        }
    }
    EXPECT_EQ(opened, "secret");
}

TEST_F(TokenFault, ATokenThatIsNotFoundAgainIsUnavailableAndCallersLearnNoNames) {
    Faults::decrypt.strike(CKR_DEVICE_REMOVED);
    Faults::token_info.strike(CKR_TOKEN_NOT_PRESENT, 1'000'000);
    try {
        open();
        ADD_FAILURE() << "opened without a token";
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
        EXPECT_EQ(error.message(), "the token is not available");
        EXPECT_NE(error.detail().find("pkcs11:token=strongroom"), std::string::npos);
    }
    EXPECT_ERROR(unavailable, token_->check());
    Faults::token_info.strike(CKR_OK, 0);
    EXPECT_EQ(open_in_time(), "secret");
}

TEST_F(TokenFault, NoLoginIsTriedWhileThePinIsLockedOrAtItsLastTry) {
    for (const CK_FLAGS flag : {CKF_USER_PIN_LOCKED, CKF_USER_PIN_FINAL_TRY}) {
        Faults::token_flags = flag;
        Faults::login.calls = 0;
        close_all_sessions();
        EXPECT_ERROR(unavailable, open());
        Faults::decrypt.strike(CKR_DEVICE_REMOVED);
        EXPECT_ERROR(unavailable, open());
        EXPECT_EQ(Faults::login.calls, 0);
        Faults::decrypt.strike(CKR_OK, 0);
        Faults::token_flags = 0;
        EXPECT_EQ(open_in_time(), "secret") << "it heals when a person has settled it";
        EXPECT_EQ(Faults::login.calls, 1);
    }
}

TEST_F(TokenFault, TroubleWhileAKeyProvesItselfIsNotAnotherKey) {
    for (const CK_RV code : {CKR_SESSION_CLOSED, CKR_USER_NOT_LOGGED_IN}) {
        Faults::decrypt_init.strike(CKR_KEY_HANDLE_INVALID);
        Faults::decrypt.strike(code);  // the known answer: the first decryption never gets so far
        EXPECT_EQ(open(), "secret");
    }
    Faults::decrypt_init.strike(CKR_KEY_HANDLE_INVALID);
    Faults::decrypt.strike(CKR_DEVICE_MEMORY);
    EXPECT_ERROR_SAYING(unavailable, "busy", open());
}

TEST_F(TokenFault, AKeyThatIsAnotherOneAfterAReconnectIsNotUsed) {
    {
        // The same id, another value: what a permuted handle or a swapped token looks like.
        const RawSession raw(fixture_);
        raw.destroy(raw.find(key_));
        raw.generate_key(base::as_text(key_.bytes()));
    }
    Faults::encrypt_init.strike(CKR_DEVICE_REMOVED);
    EXPECT_ERROR(unavailable, token_->encrypt(key_, {}, as_bytes("x")));
    EXPECT_ERROR(unavailable, token_->encrypt(key_, {}, as_bytes("x")));
    EXPECT_ERROR(unavailable, open());
}

TEST_F(TokenFault, ABadCiphertextNeverReconnectsOrLogsIn) {
    Faults::initialize.calls = 0;
    Faults::login.calls = 0;
    auto bad = sealed_.ciphertext;
    bad.back() ^= 1U;
    for (int i = 0; i < 300; ++i)
        EXPECT_ERROR(integrity_failure, token_->decrypt(key_, sealed_.iv, {}, bad));
    EXPECT_EQ(Faults::initialize.calls, 0);
    EXPECT_EQ(Faults::login.calls, 0);
}

TEST_F(TokenFault, ACatchAllCodeIsBadDataWhenAKnownAnswerStillWorks) {
    for (const CK_RV code : {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED}) {
        Faults::decrypt.strike(code);
        EXPECT_ERROR(integrity_failure, open());
    }
    for (const CK_RV code :
         {CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_DATA_INVALID}) {
        Faults::decrypt.strike(code);
        EXPECT_ERROR(integrity_failure, open());
    }
}

TEST_F(TokenFault, ACatchAllCodeIsTokenTroubleWhenAKnownAnswerFailsToo) {
    Faults::decrypt.strike(CKR_GENERAL_ERROR, 1000);
    EXPECT_ERROR(unavailable, open());
    const hsm::DecryptItem item{key_, sealed_.iv, {}, sealed_.ciphertext};
    EXPECT_ERROR(unavailable, token_->decrypt_many({&item, 1}));
}

TEST_F(TokenFault, ACatchAllCodeWithAFailingKnownAnswerBringsTheTokenBack) {
    Faults::initialize.calls = 0;
    Faults::decrypt.strike(CKR_GENERAL_ERROR, 2);  // the ciphertext and the known answer
    EXPECT_EQ(open(), "secret");
    EXPECT_EQ(Faults::initialize.calls, 1);
}

TEST_F(TokenFault, AnOperationLeftActiveNeverSticks) {
    // Each failure leaves C_Encrypt's operation active in its session; a session that came back
    // would fail for ever.
    for (int i = 0; i < 50; ++i) {
        Faults::encrypt.strike(CKR_FUNCTION_FAILED);
        EXPECT_ERROR(unavailable, token_->encrypt(key_, {}, as_bytes("x")));
        EXPECT_NO_THROW(token_->encrypt(key_, {}, as_bytes("x")));
        Faults::decrypt.strike(CKR_GENERAL_ERROR);
        EXPECT_ERROR(integrity_failure, open());
        EXPECT_EQ(open(), "secret");
    }
}

TEST_F(TokenFault, AFullTokenIsUnavailable) {
    Faults::decrypt.strike(CKR_DEVICE_MEMORY);
    EXPECT_ERROR(unavailable, open());
    Faults::open_session.strike(CKR_SESSION_COUNT, 1000);
    EXPECT_ERROR(unavailable, open());  // its session went with the failure before
    Faults::open_session.strike(CKR_OK, 0);
    EXPECT_EQ(open(), "secret");
}

TEST_F(TokenFault, AWriteProtectedTokenNeedsAnOperator) {
    Faults::generate_key.strike(CKR_TOKEN_WRITE_PROTECTED);
    EXPECT_ERROR(unavailable, token_->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
}

TEST_F(TokenFault, EachTimeThatAnOperatorIsNeededIsLoggedOnce) {
    const auto make = [&](int times) {
        Faults::generate_key.strike(CKR_TOKEN_WRITE_PROTECTED, times);
        testing::internal::CaptureStderr();
        for (int i = 0; i < times; ++i) {
            EXPECT_ERROR(unavailable,
                         token_->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
        }
        const std::string lines = testing::internal::GetCapturedStderr();
        std::size_t count = 0;
        for (std::size_t at = 0; (at = lines.find("until an operator acts", at)) != lines.npos;
             ++at) {
            ++count;
        }
        return count;
    };
    EXPECT_EQ(make(2), 1U);
    // Settled: a key is made. Then it happens again.
    EXPECT_NO_THROW(token_->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
    EXPECT_EQ(make(1), 1U);
}

TEST_F(TokenFault, AKeyIsNeverMadeTwice) {
    for (const CK_RV code :
         {CKR_SESSION_CLOSED, CKR_USER_NOT_LOGGED_IN, CKR_GENERAL_ERROR, CKR_DEVICE_REMOVED}) {
        Faults::generate_key.strike(code);
        Faults::generate_key.calls = 0;
        EXPECT_ERROR(unavailable,
                     token_->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
        EXPECT_EQ(Faults::generate_key.calls, 1);
    }
}

// A SoftHSM that lost sight of its token makes no more keys until then, and says no more than this.
TEST_F(TokenFault, AfterAMakingThatFailedForNoKnownReasonTheModuleIsInitialisedAnew) {
    const auto make = [&] {
        token_->generate_aes_key(KeyId::random(), "", KeyProfile::sealed);
        return Faults::initialize.calls.load();
    };
    Faults::initialize.calls = 0;
    Faults::generate_key.strike(CKR_DEVICE_MEMORY);
    EXPECT_ERROR(unavailable, make());
    EXPECT_EQ(make(), 0);
    Faults::generate_key.strike(CKR_GENERAL_ERROR);
    EXPECT_ERROR(unavailable, make());
    EXPECT_EQ(make(), 1);
    EXPECT_EQ(make(), 1);
}

TEST_F(TokenFault, AKeyThatIsNotAsOrderedIsRefusedAndDestroyed) {
    const KeyId id = KeyId::random();
    Faults::attribute.strike(CKR_CANCEL, 1);
    EXPECT_ERROR(internal, token_->generate_aes_key(id, "", KeyProfile::sealed));
    EXPECT_FALSE(token_->find_key(id).has_value());
}

// A flood of bad input costs its sender, not the connection: no reconnect, no login, and what is
// good in the same batch opens.
TEST_F(TokenFault, ABatchOfTamperedItemsNeitherReconnectsNorLogsIn) {
    auto bad = sealed_;
    bad.ciphertext.back() ^= 1U;
    std::vector<hsm::DecryptItem> items(1000, {key_, bad.iv, {}, bad.ciphertext});
    items[500].ciphertext = sealed_.ciphertext;
    Faults::initialize.calls = 0;
    Faults::finalize.calls = 0;
    Faults::login.calls = 0;
    for (int round = 0; round < 3; ++round) {
        const auto opened = token_->decrypt_many(items);
        for (std::size_t i = 0; i < opened.size(); ++i) EXPECT_EQ(opened[i].has_value(), i == 500);
    }
    EXPECT_EQ(Faults::initialize.calls, 0);
    EXPECT_EQ(Faults::finalize.calls, 0);
    EXPECT_EQ(Faults::login.calls, 0);
}

TEST_F(TokenFault, ABrokenGeneratorStopsEncryption) {
    Faults::random_gives_zeros = true;
    EXPECT_ERROR(internal, token_->encrypt(key_, {}, as_bytes("x")));
    Faults::random_gives_zeros = false;
    Faults::random_repeats = true;
    const std::vector<hsm::EncryptItem> two(2, {key_, {}, as_bytes("x")});
    EXPECT_ERROR(internal, token_->encrypt_many(two));
    Faults::random_repeats = false;
    EXPECT_NO_THROW(token_->encrypt(key_, {}, as_bytes("x")));
    Faults::random_repeats = true;
    EXPECT_NO_THROW(token_->encrypt(key_, {}, as_bytes("x")));
    EXPECT_ERROR(internal, token_->encrypt(key_, {}, as_bytes("x")));
    Faults::random_repeats = false;
    EXPECT_NO_THROW(token_->encrypt(key_, {}, as_bytes("x")));
}

// Taken at its word it would be a std::bad_alloc or a std::length_error, if not all memory.
TEST_F(TokenFault, ALengthThatNoAttributeHasIsDeviceTrouble) {
    const int initialised = Faults::initialize.calls;
    for (const CK_RV code : {CKR_BUFFER_TOO_SMALL, CKR_OK}) {
        Faults::claim_code = code;
        for (const CK_ULONG claimed :
             {CK_ULONG{20'000}, CK_ULONG{1} << 62U, hsm::unavailable_information - 1}) {
            Faults::claimed_bytes = claimed;
            EXPECT_ERROR(unavailable, token_->find_key(key_));
        }
    }
    Faults::claimed_bytes = 0;
    EXPECT_TRUE(token_->find_key(key_).has_value());
    EXPECT_EQ(Faults::initialize.calls, initialised);
}

TEST_F(TokenFault, AnAnswerAgainstTheStandardIsInternal) {
    Faults::decrypt.strike(CKR_KEY_FUNCTION_NOT_PERMITTED);
    EXPECT_ERROR(internal, open());
}

// Two threads at once: one finds the key for the first time, the other holds it to an answer.
TEST_F(TokenFault, AKeyThatIsJustBeingFoundIsHeldToAnAnswerToo) {
    const KeyId other = KeyId::random();
    token_->generate_aes_key(other, "", KeyProfile::sealed);
    const hsm::KeyEvidence anothers{hsm::KeyUse::encrypts,
                                    token_->encrypt(other, {}, as_bytes(hsm::key_evidence_text))};
    token_.reset();
    token_ = hsm::open_token(Faults::module(), fixture_.config(), fixture_.pin(), log_);
    static std::atomic<bool> is_found{false};
    static std::atomic<bool> may_go_on{false};
    Faults::table.C_Encrypt = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size,
                                 CK_BYTE* out, CK_ULONG* room) {
        is_found = true;
        while (!may_go_on) std::this_thread::yield();
        return Faults::real.C_Encrypt(session, in, size, out, room);
    };
    Faults::decrypt.calls = 0;
    std::thread finding(
        [&] { EXPECT_ERROR(unavailable, token_->encrypt(key_, {}, as_bytes("x"))); });
    while (!is_found) std::this_thread::yield();
    std::thread holding([&] { EXPECT_FALSE(token_->hold_to(key_, anothers)); });
    while (Faults::decrypt.calls == 0) std::this_thread::yield();
    may_go_on = true;
    finding.join();
    holding.join();
    EXPECT_ERROR(unavailable, token_->encrypt(key_, {}, as_bytes("x")));
}

}  // namespace
}  // namespace tests
