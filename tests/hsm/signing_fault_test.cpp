// What a Token does with keys that sign or make MACs when the module fails, through a broken
// function table over SoftHSM.
#include <gtest/gtest.h>

#include "hsm/public_key.h"
#include "tests/hsm/fault_table.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;
using Faults = FaultTable;

class SigningFault : public testing::Test {
protected:
    ~SigningFault() override { Faults::reset(); }
    KeyId make_key(KeyKind kind) {
        const KeyId id = KeyId::random();
        token_->generate_key(id, "", kind, KeyProfile::sealed);
        return id;
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken fixture_;
    std::unique_ptr<hsm::Token> token_ =
        hsm::open_token(Faults::module(), fixture_.config(), fixture_.pin(), log_);
};

TEST_F(SigningFault, ASignatureThatDoesNotVerifyIsNeverGivenOut) {
    for (const KeyKind kind : {KeyKind::ecdsa_p256, KeyKind::ed25519, KeyKind::rsa_pss_3072}) {
        const KeyId key = make_key(kind);
        static_cast<void>(token_->sign(key, kind, as_bytes("message")));
        Faults::sign_flips_a_bit = true;
        EXPECT_ERROR_SAYING(internal, "does not verify",
                            token_->sign(key, kind, as_bytes("message")));
        Faults::sign_flips_a_bit = false;
        EXPECT_NO_THROW(static_cast<void>(token_->sign(key, kind, as_bytes("message"))));
    }
}

TEST_F(SigningFault, ADeadSessionOrAStaleHandleIsReplacedWithoutTheCallerSeeingIt) {
    const KeyId pair = make_key(KeyKind::ecdsa_p256);
    const KeyId mac = make_key(KeyKind::hmac_sha_256);
    const base::Bytes expected = token_->mac(mac, as_bytes("message"));
    for (const CK_RV code : {CKR_SESSION_HANDLE_INVALID, CKR_OPERATION_ACTIVE,
                             CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID}) {
        for (Fault* fault : {&Faults::sign_init, &Faults::sign}) {
            fault->strike(code);
            EXPECT_NO_THROW(
                static_cast<void>(token_->sign(pair, KeyKind::ecdsa_p256, as_bytes("message"))));
            fault->strike(code);
            EXPECT_EQ(token_->mac(mac, as_bytes("message")), expected);
        }
    }
}

TEST_F(SigningFault, AnOperationLeftActiveNeverSticks) {
    const KeyId pair = make_key(KeyKind::ecdsa_p256);
    for (int i = 0; i < 20; ++i) {
        Faults::sign.strike(CKR_FUNCTION_FAILED);
        EXPECT_ERROR(unavailable, token_->sign(pair, KeyKind::ecdsa_p256, as_bytes("x")));
        EXPECT_NO_THROW(static_cast<void>(token_->sign(pair, KeyKind::ecdsa_p256, as_bytes("x"))));
    }
}

TEST_F(SigningFault, APairIsNeverMadeTwice) {
    for (const CK_RV code :
         {CKR_SESSION_CLOSED, CKR_USER_NOT_LOGGED_IN, CKR_GENERAL_ERROR, CKR_DEVICE_REMOVED}) {
        Faults::generate_pair.strike(code);
        Faults::generate_pair.calls = 0;
        EXPECT_ERROR(unavailable, make_key(KeyKind::ecdsa_p256));
        EXPECT_EQ(Faults::generate_pair.calls, 1);
    }
}

TEST_F(SigningFault, APairThatIsNotAsOrderedIsRefusedAndBothHalvesAreDestroyed) {
    const KeyId id = KeyId::random();
    Faults::attribute.strike(CKR_CANCEL, 1);
    EXPECT_ERROR_SAYING(internal, "not as ordered",
                        token_->generate_key(id, "", KeyKind::ecdsa_p256, KeyProfile::sealed));
    const RawSession raw(fixture_);
    EXPECT_EQ(raw.count(id), 0U);
}

TEST_F(SigningFault, AMissingMechanismTakesItsKindsAwayAndNoOthers) {
    Faults::missing_mechanism = CKM_ECDSA;
    const auto kinds = token_->supported_kinds();
    EXPECT_EQ(kinds.count(KeyKind::ecdsa_p256) + kinds.count(KeyKind::ecdsa_p384), 0U);
    EXPECT_EQ(kinds.size(), hsm::all_key_kinds.size() - 2);
    EXPECT_ERROR_SAYING(failed_precondition, "ecdsa_p256", make_key(KeyKind::ecdsa_p256));
    EXPECT_TRUE(token_->list_keys().empty());
}

// The same id, another key: what a swapped token looks like after it came back.
TEST_F(SigningFault, APairThatIsAnotherOneAfterAReconnectIsNotUsed) {
    const KeyId key = make_key(KeyKind::ecdsa_p256);
    static_cast<void>(token_->sign(key, KeyKind::ecdsa_p256, as_bytes("x")));
    {
        const RawSession raw(fixture_);
        for (const CK_OBJECT_CLASS half : {CKO_PUBLIC_KEY, CKO_PRIVATE_KEY})
            raw.destroy(raw.find(key, half));
        raw.generate_p256_pair(key);
    }
    Faults::sign_init.strike(CKR_DEVICE_REMOVED);
    EXPECT_ERROR(unavailable, token_->sign(key, KeyKind::ecdsa_p256, as_bytes("x")));
    EXPECT_ERROR_SAYING(unavailable, "another key",
                        token_->sign(key, KeyKind::ecdsa_p256, as_bytes("x")));
    EXPECT_ERROR(unavailable, token_->public_key(key));
}

TEST_F(SigningFault, AMacKeyThatIsAnotherOneAfterAReconnectIsNotUsed) {
    const KeyId key = make_key(KeyKind::hmac_sha_256);
    static_cast<void>(token_->mac(key, as_bytes("x")));
    {
        const RawSession raw(fixture_);
        raw.destroy(raw.find(key));
        raw.import_hmac_key(key, base::Bytes(32, 0x0b));
    }
    Faults::sign_init.strike(CKR_DEVICE_REMOVED);
    EXPECT_ERROR(unavailable, token_->mac(key, as_bytes("x")));
    EXPECT_ERROR_SAYING(unavailable, "another key", token_->mac(key, as_bytes("x")));
}

TEST_F(SigningFault, AnAnswerOfAWrongLengthIsInternal) {
    const KeyId key = make_key(KeyKind::hmac_sha_256);
    static_cast<void>(token_->mac(key, as_bytes("x")));
    Faults::table.C_Sign = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size, CK_BYTE* out,
                              CK_ULONG* room) {
        const CK_RV answer = Faults::real.C_Sign(session, in, size, out, room);
        *room -= 1;
        return answer;
    };
    EXPECT_ERROR_SAYING(internal, "wrong length", token_->mac(key, as_bytes("x")));
}

}  // namespace
}  // namespace tests
