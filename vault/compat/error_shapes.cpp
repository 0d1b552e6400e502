#include "vault/compat/error_shapes.h"

#include <string_view>

#include "base/json.h"
#include "server/answer.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;

std::string_view text_of(const Error& error) {
    switch (error.code()) {
        case ErrorCode::unauthenticated:
            return "Unauthorized";
        case ErrorCode::permission_denied:
        case ErrorCode::caller_suspended:
            return "Forbidden";
        case ErrorCode::resource_exhausted:
            return "quota_exceeded";
        case ErrorCode::quota_check_failed:
            return "quota_check_failed";
        case ErrorCode::internal:
            return "Internal error";
        default:
            return error.message();
    }
}

// Both are the caller's quota to an older client, which knows one status for it.
bool is_of_quota(const Error& error) {
    return error.code() == ErrorCode::resource_exhausted ||
           error.code() == ErrorCode::quota_check_failed;
}

server::Response shaped(const Error& error, bool with_success) {
    constexpr unsigned too_many_requests = 429;
    base::JsonWriter body;
    body.begin_object();
    if (with_success) body.field("success", false);
    body.field("error", text_of(error));
    if (is_of_quota(error)) {
        body.field("remaining", error.overrun() ? error.overrun()->remaining : std::uint64_t{0});
    }
    body.end_object();
    return server::json_answer(std::move(body), is_of_quota(error)
                                                    ? too_many_requests
                                                    : server::http_status(error.code()));
}

}  // namespace

server::Response shared_secret_error(const Error& error) { return shaped(error, true); }

server::Response broker_error(const Error& error) { return shaped(error, false); }

}  // namespace vault::compat
