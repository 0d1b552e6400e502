#include "server/gate_rules.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <span>
#include <utility>

#include "base/random.h"
#include "base/secret_bytes.h"
#include "server/answer.h"
#include "server/gate_trace.h"

namespace server {
namespace {

bool is_json(std::string_view content_type) {
    constexpr std::string_view json = "application/json";
    const std::string_view type = content_type.substr(0, content_type.find_first_of("; \t"));
    return std::equal(type.begin(), type.end(), json.begin(), json.end(), [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b;
    });
}

}  // namespace

Outcome outcome_of(const base::Error& error, unsigned status) {
    const bool denied = error.code() == base::ErrorCode::unauthenticated ||
                        error.code() == base::ErrorCode::caller_suspended ||
                        error.code() == base::ErrorCode::permission_denied;
    return {denied ? "denied" : "failed", std::string(base::to_string(error.code())), status};
}

bool is_our_trouble(const base::Error& error) {
    return error.code() == base::ErrorCode::internal ||
           error.code() == base::ErrorCode::unavailable;
}

void check_body(const Request& request, const Route& route) {
    if (request.body.size() > route.max_body_bytes) {
        throw base::Error(
            base::ErrorCode::payload_too_large,
            route.max_body_bytes == 0
                ? "this request takes no body"
                : "the body is larger than " + std::to_string(route.max_body_bytes) + " bytes");
    }
    if (request.body.empty() || is_json(request.header("content-type"))) return;
    throw base::Error(base::ErrorCode::unsupported_media_type,
                      "the body must have Content-Type: application/json");
}

void check_wait(std::chrono::steady_clock::time_point queued, std::chrono::milliseconds longest) {
    if (std::chrono::steady_clock::now() - queued <= longest) return;
    throw base::Error(base::ErrorCode::unavailable, "too many requests at once: try again later");
}

// One draw for both ids: each is a call into the kernel.
Operation begin_operation(const Request& request, base::Time now,
                          std::shared_ptr<const Caller> caller) {
    std::array<std::uint8_t, base::Uuid::size + trace_random_bytes> drawn{};
    base::random_bytes(drawn);
    const std::span<const std::uint8_t, drawn.size()> random(drawn);
    Operation operation(base::Uuid::random(random.first<base::Uuid::size>()), now,
                        std::move(caller));
    operation.set_traceparent(
        traceparent_for(request.header("traceparent"), random.last<trace_random_bytes>()));
    return operation;
}

void hold_back_signals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

void drop_body(Response& response) {
    base::wipe(response.body.data(), response.body.size());
    response.body.clear();
}

void forget_answer(Response& response) noexcept {
    drop_body(response);
    response.headers.clear();
    response.status = http_status(base::ErrorCode::unavailable);
}

void report(const Operation& operation, const base::Error& error, Throttle& stranger_lines,
            base::Log& log) {
    if (!is_our_trouble(error)) return;
    std::uint64_t held_back = 0;
    if (operation.caller().is_nobody()) {
        const auto passed = stranger_lines.pass(std::chrono::steady_clock::now());
        if (!passed) return;
        held_back = *passed;
    }
    log.error("request failed", {{"request_id", operation.request_id().to_string()},
                                 {"action", std::string(operation.action())},
                                 {"error", std::string(base::to_string(error.code()))},
                                 {"reason", error.what()},
                                 {"not_logged_before", static_cast<std::int64_t>(held_back)}});
}

base::Error stopping_error() { return {base::ErrorCode::unavailable, "the service is stopping"}; }

base::Error internal_error(const std::string& detail) {
    return {base::ErrorCode::internal, "internal error", detail};
}

}  // namespace server
