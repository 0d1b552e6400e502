#include "base/error.h"

#include <utility>

namespace base {

std::string_view to_string(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::invalid_argument:
            return "invalid_argument";
        case ErrorCode::unauthenticated:
            return "unauthenticated";
        case ErrorCode::permission_denied:
            return "permission_denied";
        case ErrorCode::not_found:
            return "not_found";
        case ErrorCode::already_exists:
            return "already_exists";
        case ErrorCode::failed_precondition:
            return "failed_precondition";
        case ErrorCode::integrity_failure:
            return "integrity_failure";
        case ErrorCode::resource_exhausted:
            return "resource_exhausted";
        case ErrorCode::unavailable:
            return "unavailable";
        case ErrorCode::internal:
            return "internal";
        case ErrorCode::method_not_allowed:
            return "method_not_allowed";
        case ErrorCode::request_timeout:
            return "request_timeout";
        case ErrorCode::payload_too_large:
            return "payload_too_large";
        case ErrorCode::unsupported_media_type:
            return "unsupported_media_type";
        case ErrorCode::caller_suspended:
            return "caller_suspended";
        case ErrorCode::quota_check_failed:
            return "quota_check_failed";
        case ErrorCode::header_fields_too_large:
            return "header_fields_too_large";
    }
    return "internal";
}

Error::Error(ErrorCode code, std::string message, std::string detail)
    : code_(code),
      message_(std::move(message)),
      detail_(std::move(detail)),
      what_(detail_.empty() ? message_ : message_ + " (" + detail_ + ")") {}

Error::Error(std::string message, Overrun overrun)
    : code_(ErrorCode::resource_exhausted),
      message_(std::move(message)),
      detail_("limit " + overrun.limit),
      overrun_(std::move(overrun)),
      what_(message_ + " (" + detail_ + ")") {}

Error decryption_failed(std::string detail) {
    return {ErrorCode::integrity_failure, "the ciphertext can't be opened", std::move(detail)};
}

void refuse(const std::string& message, const std::string& detail) {
    throw Error(ErrorCode::failed_precondition, message, detail);
}

}  // namespace base
