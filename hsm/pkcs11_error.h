// What a PKCS#11 return code means to us: its class decides both the recovery and the base::Error
// that a caller sees. The table is in pkcs11_error.cpp; it is tested row by row.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "hsm/pkcs11_api.h"

namespace hsm {

enum class ErrorClass {
    caller_fault,   // the data was bad: nothing is wrong with session or token
    ambiguous,      // a catch-all code; on a decrypt it is bad data unless a known answer fails too
    session_dead,   // a new session helps
    login_lost,     // one login on the anchor session helps
    handles_stale,  // looking keys up again helps
    token_gone,     // only a re-initialised module helps
    objects_doubtful,  // nothing is wrong with the token, but what the module says of its objects
                       // can't be believed before it is initialised anew
    back_pressure,     // the token is full or busy; waiting helps
    operator_latch,    // a person must act; trying again may lock the token
    against_contract,  // we or the module broke the standard; trying again can't help
};

// Codes that no row names are `ambiguous`: token trouble is never reported as bad input.
ErrorClass classify(CK_RV code) noexcept;

// "CKR_DEVICE_ERROR", or the number in hex when the standard has no name for it.
std::string name_of(CK_RV code);

// A failed call. It leaves this floor as the plain base::Error that it is.
class Pkcs11Error final : public base::Error {
public:
    Pkcs11Error(CK_RV code, std::string_view call);
    // For a code whose class was found out by other means than the table.
    Pkcs11Error(CK_RV code, std::string_view call, ErrorClass error_class);

    CK_RV rv() const noexcept { return rv_; }
    ErrorClass error_class() const noexcept { return class_; }

private:
    CK_RV rv_;
    ErrorClass class_;
};

// The one translation of a return code: ErrorCode and message by class, code and call in the
// detail.
Pkcs11Error to_error(CK_RV code, std::string_view call);

// Throws to_error() unless `code` is CKR_OK.
inline void check_call(CK_RV code, std::string_view call) {
    if (code != CKR_OK) throw to_error(code, call);
}

}  // namespace hsm
