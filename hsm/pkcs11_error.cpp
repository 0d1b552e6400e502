#include "hsm/pkcs11_error.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace hsm {
namespace {

struct Row {
    CK_RV code;
    ErrorClass error_class;
    std::string_view name;
};

// p11-kit's header stops at 2.40.
constexpr CK_RV ckr_aead_decrypt_failed = 0x42;       // PKCS#11 3.0
constexpr CK_RV ckr_operation_cancel_failed = 0x202;  // PKCS#11 3.0

// NOLINTNEXTLINE(bugprone-macro-parentheses): the name is made of the argument's own spelling
#define ROW(code, error_class) \
    Row { code, ErrorClass::error_class, #code }
constexpr std::array rows{
    ROW(CKR_ENCRYPTED_DATA_INVALID, caller_fault),
    ROW(CKR_ENCRYPTED_DATA_LEN_RANGE, caller_fault),
    ROW(CKR_DATA_INVALID, caller_fault),
    ROW(CKR_DATA_LEN_RANGE, caller_fault),
    ROW(CKR_MECHANISM_PARAM_INVALID, caller_fault),
    ROW(CKR_SIGNATURE_INVALID, caller_fault),
    ROW(CKR_SIGNATURE_LEN_RANGE, caller_fault),
    Row{ckr_aead_decrypt_failed, ErrorClass::caller_fault, "CKR_AEAD_DECRYPT_FAILED"},

    ROW(CKR_GENERAL_ERROR, ambiguous),
    ROW(CKR_FUNCTION_FAILED, ambiguous),

    ROW(CKR_SESSION_HANDLE_INVALID, session_dead),
    ROW(CKR_SESSION_CLOSED, session_dead),
    ROW(CKR_OPERATION_ACTIVE, session_dead),
    ROW(CKR_OPERATION_NOT_INITIALIZED, session_dead),
    Row{ckr_operation_cancel_failed, ErrorClass::session_dead, "CKR_OPERATION_CANCEL_FAILED"},

    ROW(CKR_USER_NOT_LOGGED_IN, login_lost),

    ROW(CKR_KEY_HANDLE_INVALID, handles_stale),
    ROW(CKR_OBJECT_HANDLE_INVALID, handles_stale),

    ROW(CKR_DEVICE_ERROR, token_gone),
    ROW(CKR_DEVICE_REMOVED, token_gone),
    ROW(CKR_TOKEN_NOT_PRESENT, token_gone),
    ROW(CKR_TOKEN_NOT_RECOGNIZED, token_gone),
    ROW(CKR_SLOT_ID_INVALID, token_gone),
    ROW(CKR_CRYPTOKI_NOT_INITIALIZED, token_gone),

    ROW(CKR_SESSION_COUNT, back_pressure),
    ROW(CKR_DEVICE_MEMORY, back_pressure),
    ROW(CKR_HOST_MEMORY, back_pressure),

    ROW(CKR_PIN_INCORRECT, operator_latch),
    ROW(CKR_PIN_INVALID, operator_latch),
    ROW(CKR_PIN_LEN_RANGE, operator_latch),
    ROW(CKR_PIN_LOCKED, operator_latch),
    ROW(CKR_PIN_EXPIRED, operator_latch),
    ROW(CKR_USER_PIN_NOT_INITIALIZED, operator_latch),
    ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, operator_latch),
    ROW(CKR_TOKEN_WRITE_PROTECTED, operator_latch),
    ROW(CKR_FIPS_SELF_TEST_FAILED, operator_latch),

    ROW(CKR_ARGUMENTS_BAD, against_contract),
    ROW(CKR_ATTRIBUTE_READ_ONLY, against_contract),
    ROW(CKR_ATTRIBUTE_SENSITIVE, against_contract),
    ROW(CKR_ATTRIBUTE_TYPE_INVALID, against_contract),
    ROW(CKR_ATTRIBUTE_VALUE_INVALID, against_contract),
    ROW(CKR_ACTION_PROHIBITED, against_contract),
    ROW(CKR_BUFFER_TOO_SMALL, against_contract),
    ROW(CKR_FUNCTION_NOT_SUPPORTED, against_contract),
    ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, against_contract),
    ROW(CKR_KEY_SIZE_RANGE, against_contract),
    ROW(CKR_KEY_TYPE_INCONSISTENT, against_contract),
    ROW(CKR_MECHANISM_INVALID, against_contract),
    ROW(CKR_SESSION_READ_ONLY, against_contract),
    ROW(CKR_TEMPLATE_INCOMPLETE, against_contract),
    ROW(CKR_TEMPLATE_INCONSISTENT, against_contract),
    ROW(CKR_CRYPTOKI_ALREADY_INITIALIZED, against_contract),
    ROW(CKR_USER_ALREADY_LOGGED_IN, against_contract),
};
#undef ROW

const Row* find_row(CK_RV code) noexcept {
    const auto* row =
        std::find_if(rows.begin(), rows.end(), [&](const Row& each) { return each.code == code; });
    return row == rows.end() ? nullptr : row;
}

struct Meaning {
    base::ErrorCode code;
    std::string_view message;
};

Meaning meaning_of(ErrorClass error_class) noexcept {
    using base::ErrorCode;
    switch (error_class) {
        case ErrorClass::caller_fault:
            return {ErrorCode::internal, "the token refused the data it was given"};
        case ErrorClass::ambiguous:
            return {ErrorCode::unavailable, "the token could not do it"};
        case ErrorClass::session_dead:
            return {ErrorCode::unavailable, "the session with the token ended"};
        case ErrorClass::login_lost:
            return {ErrorCode::unavailable, "the login at the token was lost"};
        case ErrorClass::handles_stale:
            return {ErrorCode::unavailable, "the token forgot the key for a moment"};
        case ErrorClass::token_gone:
            return {ErrorCode::unavailable, "the token does not answer"};
        case ErrorClass::objects_doubtful:
            return {ErrorCode::unavailable, "the token's objects have to be read anew"};
        case ErrorClass::back_pressure:
            return {ErrorCode::unavailable, "the token is busy"};
        case ErrorClass::operator_latch:
            return {ErrorCode::failed_precondition,
                    "the token needs an operator: its PIN, lock or write protection"};
        case ErrorClass::against_contract:
            return {ErrorCode::internal, "the token and this program disagree about PKCS#11"};
    }
    return {ErrorCode::internal, "unknown token error"};
}

}  // namespace

ErrorClass classify(CK_RV code) noexcept {
    const Row* row = find_row(code);
    return row == nullptr ? ErrorClass::ambiguous : row->error_class;
}

std::string name_of(CK_RV code) {
    if (code == CKR_OK) return "CKR_OK";
    if (const Row* row = find_row(code); row != nullptr) return std::string(row->name);
    std::array<char, 2 * sizeof(CK_RV)> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), code, 16).ptr;
    return "CKR 0x" + std::string(digits.data(), end);
}

Pkcs11Error::Pkcs11Error(CK_RV code, std::string_view call)
    : Pkcs11Error(code, call, classify(code)) {}

Pkcs11Error::Pkcs11Error(CK_RV code, std::string_view call, ErrorClass error_class)
    : base::Error(meaning_of(error_class).code, std::string(meaning_of(error_class).message),
                  std::string(call) + ": " + name_of(code)),
      rv_(code),
      class_(error_class) {}

Pkcs11Error to_error(CK_RV code, std::string_view call) { return {code, call}; }

}  // namespace hsm
