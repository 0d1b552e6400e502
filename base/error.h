// The one exception of the house. Every failure that ends an operation is an Error; expected
// outcomes are return values. Foreign exceptions and return codes are translated at the seam that
// made the call and never pass it. No HTTP in here: server/answer.h turns an Error into a status.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace base {

// What kind of failure it is, from the caller's point of view. Each enumerator is the word that
// goes over the wire.
enum class ErrorCode {
    invalid_argument,         // the request itself is wrong; sending it again can't help
    unauthenticated,          // nobody proved to be anyone
    permission_denied,        // somebody, but not allowed
    not_found,                // no such thing, or not for this caller to know
    already_exists,           // create of something that is there
    failed_precondition,      // the thing is in a state that forbids it
    integrity_failure,        // any failure to decrypt or verify; one wording for all causes
    resource_exhausted,       // over a rate, a quota or a limit that time heals
    unavailable,              // token, store, audit or network trouble; retry may help
    internal,                 // our own mistake
    method_not_allowed,       // the path exists, the method doesn't
    request_timeout,          // the request did not arrive in time
    payload_too_large,        // the body is over the route's limit
    unsupported_media_type,   // the body is not what the route reads
    caller_suspended,         // somebody, but not until an operator lifts the suspension
    quota_check_failed,       // nobody can say what is left of a quota: refused; retry may help
    header_fields_too_large,  // the head is over the limit
};

// The wire word of `code`, e.g. "permission_denied".
std::string_view to_string(ErrorCode code) noexcept;

// What who was over a limit needs to know, beside the message.
struct Overrun {
    std::string limit;                    // its name and window
    std::uint64_t remaining = 0;          // what is left of it
    std::chrono::seconds retry_after{1};  // when it may be asked again
};

// `message` may be shown to any caller: no key bytes, paths, SQL or CKR names in it.
// `detail` goes to the log only; it may name files, CKR codes and SQL states, never a secret.
class Error : public std::exception {
public:
    Error(ErrorCode code, std::string message, std::string detail = {});
    // resource_exhausted.
    Error(std::string message, Overrun overrun);

    ErrorCode code() const noexcept { return code_; }
    const std::string& message() const noexcept { return message_; }
    const std::string& detail() const noexcept { return detail_; }
    // Of resource_exhausted, when it says more than its message; else empty.
    const std::optional<Overrun>& overrun() const noexcept { return overrun_; }
    // Message and, in parentheses, detail: for logs and start-up errors, never for a caller.
    const char* what() const noexcept override { return what_.c_str(); }

private:
    ErrorCode code_;
    std::string message_;
    std::string detail_;
    std::optional<Overrun> overrun_;
    std::string what_;
};

// The single wording of every failure to decrypt or authenticate: wrong key, wrong context,
// tampered, truncated. Callers must not be able to tell them apart.
Error decryption_failed(std::string detail = {});

// Throws failed_precondition: what is asked for can't be done until somebody changes something, and
// `message` says what.
[[noreturn]] void refuse(const std::string& message, const std::string& detail = {});

}  // namespace base
