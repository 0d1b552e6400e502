#include "server/answer.h"

namespace server {

unsigned http_status(base::ErrorCode code) noexcept {
    using base::ErrorCode;
    // One line for each code, so that a new one is not forgotten.
    // NOLINTNEXTLINE(bugprone-branch-clone)
    switch (code) {
        case ErrorCode::invalid_argument:
            return 400;
        case ErrorCode::unauthenticated:
            return 401;
        case ErrorCode::permission_denied:
        case ErrorCode::caller_suspended:
            return 403;
        case ErrorCode::not_found:
            return 404;
        case ErrorCode::already_exists:
        case ErrorCode::failed_precondition:
            return 409;
        case ErrorCode::integrity_failure:
            return 422;
        case ErrorCode::resource_exhausted:
            return 429;
        case ErrorCode::unavailable:
        case ErrorCode::quota_check_failed:
            return 503;
        case ErrorCode::internal:
            return 500;
        case ErrorCode::method_not_allowed:
            return 405;
        case ErrorCode::request_timeout:
            return 408;
        case ErrorCode::payload_too_large:
            return 413;
        case ErrorCode::unsupported_media_type:
            return 415;
        case ErrorCode::header_fields_too_large:
            return 431;
    }
    return 500;
}

Response json_answer(base::JsonWriter body, unsigned status) {
    Response response;
    response.status = status;
    response.body = body.take();
    return response;
}

namespace {

Response own_shape(const base::Error& error, const base::Uuid& request_id) {
    base::JsonWriter body;
    body.begin_object().name("error").begin_object();
    body.field("code", base::to_string(error.code()));
    body.field("message", error.message());
    body.field("request_id", request_id.to_string());
    const auto& overrun = error.overrun();
    if (overrun) body.field("limit", overrun->limit).field("remaining", overrun->remaining);
    body.end_object().end_object();
    return json_answer(std::move(body), http_status(error.code()));
}

}  // namespace

Response error_answer(const base::Error& error, const base::Uuid& request_id,
                      const ErrorShape& shape) {
    Response response = shape ? shape(error) : own_shape(error, request_id);
    // 429 and 503: time heals them.
    if (response.status == 429 || response.status == 503) {
        const auto& overrun = error.overrun();
        response.headers.emplace_back("Retry-After",
                                      std::to_string(overrun ? overrun->retry_after.count() : 1));
    }
    return response;
}

}  // namespace server
