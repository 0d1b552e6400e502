// Every way in which a token can't be opened, each with a message that says what to do.
#include <gtest/gtest.h>

#include "tests/hsm/fault_table.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using Faults = FaultTable;

class TokenStart : public testing::Test {
protected:
    ~TokenStart() override { Faults::reset(); }
    std::unique_ptr<hsm::Token> open(const hsm::TokenConfig& config) {
        return hsm::open_token(config, token_.pin(), log_);
    }
    std::unique_ptr<hsm::Token> open_with_uri(const std::string& uri) {
        auto config = token_.config();
        config.uri = uri;
        return open(config);
    }
    std::unique_ptr<hsm::Token> open_faulty() {
        return hsm::open_token(Faults::module(), token_.config(), token_.pin(), log_);
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken token_;
};

TEST_F(TokenStart, AWrongPinIsTriedExactlyOnce) {
    const base::SecretBytes wrong(base::as_bytes("not the PIN"));
    EXPECT_ERROR_SAYING(failed_precondition, "refused the user PIN",
                        hsm::open_token(Faults::module(), token_.config(), wrong, log_));
    EXPECT_EQ(Faults::login.calls, 1);
}

TEST_F(TokenStart, MoreSlotsThanAnyModuleHasAreNotLookedAt) {
    for (const CK_ULONG claimed :
         {CK_ULONG{5000}, CK_ULONG{1} << 58U, hsm::unavailable_information}) {
        Faults::claimed_slots = claimed;
        EXPECT_ERROR(unavailable, open_faulty());
    }
    Faults::claimed_slots = 0;
    EXPECT_NO_THROW(open_faulty());
}

TEST_F(TokenStart, ALockedPinIsNamed) {
    Faults::login.strike(CKR_PIN_LOCKED);
    EXPECT_ERROR_SAYING(failed_precondition, "locked", open_faulty());
    EXPECT_EQ(Faults::login.calls, 1);
}

TEST_F(TokenStart, NoLoginIsTriedWhenTheTokenSaysLockedOrLastTry) {
    Faults::token_flags = CKF_USER_PIN_LOCKED;
    EXPECT_ERROR_SAYING(failed_precondition, "is locked", open_faulty());
    Faults::token_flags = CKF_USER_PIN_FINAL_TRY;
    EXPECT_ERROR_SAYING(failed_precondition, "one login attempt is left", open_faulty());
    EXPECT_EQ(Faults::login.calls, 0);
}

TEST_F(TokenStart, AnExpiredOrMissingPinIsNamed) {
    Faults::login.strike(CKR_PIN_EXPIRED);
    EXPECT_ERROR_SAYING(failed_precondition, "expired", open_faulty());
    Faults::login.strike(CKR_USER_PIN_NOT_INITIALIZED);
    EXPECT_ERROR_SAYING(failed_precondition, "no user PIN", open_faulty());
}

TEST_F(TokenStart, AnotherLoginOfThisProcessCountsAsSuccess) {
    Faults::login.strike(CKR_OK, 0);
    auto module = Faults::module();
    Faults::table.C_Login = [](CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin,
                               CK_ULONG size) {
        const CK_RV code = Faults::real.C_Login(session, user, pin, size);
        return code == CKR_OK ? CK_RV{CKR_USER_ALREADY_LOGGED_IN} : code;
    };
    EXPECT_NO_THROW(hsm::open_token(module, token_.config(), token_.pin(), log_)->check());
}

TEST_F(TokenStart, AMissingModuleIsNamed) {
    auto config = token_.config();
    config.module = "/nowhere/module.so";
    EXPECT_ERROR_SAYING(failed_precondition, "/nowhere/module.so", open(config));
}

TEST_F(TokenStart, ALibraryThatIsNoModuleIsNamed) {
    auto config = token_.config();
    config.module = token_.folder() / "text.so";
    token_.folder();
    std::filesystem::copy_file(token_.config().softhsm_config, config.module);
    EXPECT_ERROR_SAYING(failed_precondition, "can't be loaded", open(config));
    config.module = "libm.so.6";
    EXPECT_ERROR_SAYING(failed_precondition, "libm.so.6", open(config));
}

TEST_F(TokenStart, AModuleInUseByAnotherPartOfTheProcessIsRefused) {
    const auto first = open(token_.config());
    EXPECT_ERROR_SAYING(failed_precondition, "in use", open(token_.config()));
    first->check();
}

TEST_F(TokenStart, AMissingTokenListsWhatIsThereAndInitialisesNothing) {
    EXPECT_ERROR_SAYING(failed_precondition,
                        "token=strongroom;serial=", open_with_uri("pkcs11:token=another"));
    EXPECT_ERROR_SAYING(failed_precondition, "never initialised",
                        open_with_uri("pkcs11:serial=0123"));
    std::size_t folders = 0;
    for (const auto& entry : std::filesystem::directory_iterator(token_.folder() / "tokens")) {
        folders += entry.is_directory() ? 1U : 0U;
    }
    EXPECT_EQ(folders, 1U);
}

TEST_F(TokenStart, TwoTokensOfOneLabelNeedASerial) {
    token_.add_token("strongroom");
    EXPECT_ERROR_SAYING(failed_precondition, "more than one token", open(token_.config()));
}

TEST_F(TokenStart, ASerialChoosesTheToken) {
    std::string serial;
    serial = open(token_.config())->info().serial;
    token_.add_token("strongroom");
    EXPECT_EQ(open_with_uri("pkcs11:token=strongroom;serial=" + serial)->info().serial, serial);
}

TEST_F(TokenStart, AUriWithAPinIsRefusedAndNotRepeated) {
    for (const std::string uri : {"pkcs11:token=strongroom?pin-value=1234secret",
                                  "pkcs11:token=strongroom?pin-source=file:1234secret"}) {
        try {
            open_with_uri(uri);
            ADD_FAILURE() << "accepted " << uri;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition);
            EXPECT_EQ(std::string(error.what()).find("1234secret"), std::string::npos);
        }
    }
}

TEST_F(TokenStart, AUriMustNameATokenAndNothingElse) {
    for (const std::string uri : {"", "token=strongroom", "pkcs11:", "pkcs11:manufacturer=x",
                                  "pkcs11:slot-id=3;token=strongroom", "pkcs11:token=%zz",
                                  "pkcs11:token=strongroom;colour=red"}) {
        EXPECT_ERROR_SAYING(failed_precondition, "token URI", open_with_uri(uri));
    }
}

TEST_F(TokenStart, AMissingMechanismIsNamed) {
    Faults::mechanism_info.strike(CKR_MECHANISM_INVALID);
    EXPECT_ERROR_SAYING(failed_precondition, "CKM_AES_KEY_GEN", open_faulty());
}

TEST_F(TokenStart, AMechanismThatOpensTamperedDataIsRefused) {
    auto module = Faults::module();
    Faults::table.C_Decrypt = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size,
                                 CK_BYTE* out, CK_ULONG* room) {
        const CK_RV code = Faults::real.C_Decrypt(session, in, size, out, room);
        if (code != CKR_OK) *room = size - hsm::tag_bytes;
        return CK_RV{CKR_OK};
    };
    EXPECT_ERROR_SAYING(failed_precondition, "tampered",
                        hsm::open_token(module, token_.config(), token_.pin(), log_));
}

TEST_F(TokenStart, AMechanismThatEncryptsWronglyIsRefused) {
    auto module = Faults::module();
    Faults::table.C_Encrypt = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size,
                                 CK_BYTE* out, CK_ULONG* room) {
        const CK_RV code = Faults::real.C_Encrypt(session, in, size, out, room);
        if (code == CKR_OK) out[0] ^= 1U;
        return code;
    };
    EXPECT_ERROR_SAYING(failed_precondition, "wrong answer",
                        hsm::open_token(module, token_.config(), token_.pin(), log_));
}

TEST_F(TokenStart, AMechanismThatMakesWrongMacsIsRefused) {
    Faults::sign_flips_a_bit = true;
    EXPECT_ERROR_SAYING(failed_precondition, "CKM_SHA256_HMAC", open_faulty());
}

TEST_F(TokenStart, ATokenWithoutMacsOpensAndHasNoKeysThatMakeThem) {
    Faults::missing_mechanism = CKM_SHA256_HMAC;
    const auto token = open_faulty();
    EXPECT_EQ(token->supported_kinds().count(hsm::KeyKind::hmac_sha_256), 0U);
}

TEST_F(TokenStart, AModuleThatTakesNoKeysIsTestedWithAKeyOfItsOwn) {
    auto module = Faults::module();
    Faults::table.C_CreateObject = [](CK_SESSION_HANDLE, CK_ATTRIBUTE*, CK_ULONG,
                                      CK_OBJECT_HANDLE*) {
        return CK_RV{CKR_FUNCTION_NOT_SUPPORTED};
    };
    EXPECT_NO_THROW(hsm::open_token(module, token_.config(), token_.pin(), log_)->check());
}

TEST_F(TokenStart, NoSessionAtAllIsRefused) {
    auto config = token_.config();
    config.max_sessions = 0;
    EXPECT_ERROR(failed_precondition, open(config));
}

}  // namespace
}  // namespace tests
