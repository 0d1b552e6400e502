#include "hsm/pkcs11_error.h"

#include <gtest/gtest.h>

namespace hsm {
namespace {

struct Row {
    CK_RV code;
    ErrorClass error_class;
    base::ErrorCode seen;
    std::string name;
};

#define ROW(code, error_class, seen) \
    Row { code, ErrorClass::error_class, base::ErrorCode::seen, #code }
const std::vector<Row> rows{
    ROW(CKR_ENCRYPTED_DATA_INVALID, caller_fault, internal),
    ROW(CKR_ENCRYPTED_DATA_LEN_RANGE, caller_fault, internal),
    ROW(CKR_DATA_INVALID, caller_fault, internal),
    ROW(CKR_DATA_LEN_RANGE, caller_fault, internal),
    ROW(CKR_MECHANISM_PARAM_INVALID, caller_fault, internal),
    ROW(CKR_SIGNATURE_INVALID, caller_fault, internal),
    ROW(CKR_SIGNATURE_LEN_RANGE, caller_fault, internal),
    ROW(CKR_GENERAL_ERROR, ambiguous, unavailable),
    ROW(CKR_FUNCTION_FAILED, ambiguous, unavailable),
    ROW(CKR_SESSION_HANDLE_INVALID, session_dead, unavailable),
    ROW(CKR_SESSION_CLOSED, session_dead, unavailable),
    ROW(CKR_OPERATION_ACTIVE, session_dead, unavailable),
    ROW(CKR_OPERATION_NOT_INITIALIZED, session_dead, unavailable),
    ROW(CKR_USER_NOT_LOGGED_IN, login_lost, unavailable),
    ROW(CKR_KEY_HANDLE_INVALID, handles_stale, unavailable),
    ROW(CKR_OBJECT_HANDLE_INVALID, handles_stale, unavailable),
    ROW(CKR_DEVICE_ERROR, token_gone, unavailable),
    ROW(CKR_DEVICE_REMOVED, token_gone, unavailable),
    ROW(CKR_TOKEN_NOT_PRESENT, token_gone, unavailable),
    ROW(CKR_TOKEN_NOT_RECOGNIZED, token_gone, unavailable),
    ROW(CKR_SLOT_ID_INVALID, token_gone, unavailable),
    ROW(CKR_CRYPTOKI_NOT_INITIALIZED, token_gone, unavailable),
    ROW(CKR_SESSION_COUNT, back_pressure, unavailable),
    ROW(CKR_DEVICE_MEMORY, back_pressure, unavailable),
    ROW(CKR_HOST_MEMORY, back_pressure, unavailable),
    ROW(CKR_PIN_INCORRECT, operator_latch, failed_precondition),
    ROW(CKR_PIN_INVALID, operator_latch, failed_precondition),
    ROW(CKR_PIN_LEN_RANGE, operator_latch, failed_precondition),
    ROW(CKR_PIN_LOCKED, operator_latch, failed_precondition),
    ROW(CKR_PIN_EXPIRED, operator_latch, failed_precondition),
    ROW(CKR_USER_PIN_NOT_INITIALIZED, operator_latch, failed_precondition),
    ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, operator_latch, failed_precondition),
    ROW(CKR_TOKEN_WRITE_PROTECTED, operator_latch, failed_precondition),
    ROW(CKR_FIPS_SELF_TEST_FAILED, operator_latch, failed_precondition),
    ROW(CKR_ARGUMENTS_BAD, against_contract, internal),
    ROW(CKR_MECHANISM_INVALID, against_contract, internal),
    ROW(CKR_TEMPLATE_INCONSISTENT, against_contract, internal),
    ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, against_contract, internal),
    ROW(CKR_CRYPTOKI_ALREADY_INITIALIZED, against_contract, internal),
};
#undef ROW

TEST(Pkcs11Error, EachCodeHasItsClassAndAnswer) {
    for (const Row& row : rows) {
        const Pkcs11Error error = to_error(row.code, "C_Call");
        EXPECT_EQ(classify(row.code), row.error_class) << row.name;
        EXPECT_EQ(error.code(), row.seen) << row.name;
        EXPECT_EQ(error.detail(), "C_Call: " + row.name);
    }
}

TEST(Pkcs11Error, AnUnknownCodeIsTokenTroubleAndNeverBadInput) {
    for (const CK_RV code : {CK_RV{0x80000001}, CK_RV{0x4242}, CK_RV{CKR_FUNCTION_CANCELED}}) {
        EXPECT_EQ(classify(code), ErrorClass::ambiguous);
        EXPECT_EQ(to_error(code, "C_Call").code(), base::ErrorCode::unavailable);
    }
    EXPECT_EQ(name_of(0x80000001), "CKR 0x80000001");
}

TEST(Pkcs11Error, TheMessageForCallersNamesNoPkcs11Code) {
    for (const Row& row : rows)
        EXPECT_EQ(to_error(row.code, "C_Call").message().find("CKR"), std::string::npos);
}

}  // namespace
}  // namespace hsm
