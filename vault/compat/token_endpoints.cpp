#include "vault/compat/token_endpoints.h"

#include <charconv>
#include <optional>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view form_type = "application/x-www-form-urlencoded";
constexpr std::size_t max_fresh_token_bytes = 16UL * 1024;
constexpr std::int64_t max_lifetime_seconds = 10LL * 366 * 86'400;

bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~").find(c) != std::string_view::npos;
}

// RFC 6749 appendix B.
void append_escaped(base::WipedString& out, std::string_view text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    for (const char c : text) {
        if (is_unreserved(c)) {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += digits[byte >> 4U];
        out += digits[byte & 0x0FU];
    }
}

void append_pair(base::WipedString& form, std::string_view name, std::string_view value) {
    if (!form.empty()) form += '&';
    form.append(name).append("=");
    append_escaped(form, value);
}

base::WipedString form_of(const RefreshOrder& order, bool secret_in_body) {
    base::WipedString form;
    if (order.refresh_token.empty()) {
        append_pair(form, "grant_type", "client_credentials");
    } else {
        append_pair(form, "grant_type", "refresh_token");
        append_pair(form, "refresh_token", order.refresh_token);
    }
    if (!order.scope.empty()) append_pair(form, "scope", order.scope);
    if (secret_in_body) {
        append_pair(form, "client_id", order.client_id);
        append_pair(form, "client_secret", order.client_secret);
    }
    return form;
}

base::WipedString basic_of(const RefreshOrder& order) {
    base::WipedString both;
    append_escaped(both, order.client_id);
    both += ':';
    append_escaped(both, order.client_secret);
    base::WipedString header = "Basic ";
    base::append_base64(header, base::as_bytes(both));
    return header;
}

std::string_view text_in(const base::JsonValue& answer, std::string_view name) {
    const base::JsonValue* value = answer.find(name);
    const auto* text = value == nullptr ? nullptr : value->string();
    return text == nullptr ? std::string_view() : std::string_view(*text);
}

// A number, or as some providers have it, its text. Empty when there is none.
std::optional<std::int64_t> read_lifetime(const base::JsonValue& answer) {
    const base::JsonValue* value = answer.find("expires_in");
    if (value == nullptr || value->is_null()) return std::nullopt;
    std::int64_t seconds = value->integer().value_or(0);
    if (const auto* text = value->string()) {
        const char* end = text->data() + text->size();
        if (std::from_chars(text->data(), end, seconds).ptr != end) seconds = 0;
    }
    if (seconds < 1 || seconds > max_lifetime_seconds) {
        throw Error(ErrorCode::invalid_argument, "expires_in is no lifetime");
    }
    return seconds;
}

}  // namespace

FreshToken parse_fresh_token(std::string_view body, base::Time asked) {
    const base::JsonValue answer = base::parse_json(body, {.bytes = 64UL * 1024});
    FreshToken token;
    token.access_token = text_in(answer, "access_token");
    token.refresh_token = text_in(answer, "refresh_token");
    if (token.access_token.empty() || token.access_token.size() > max_fresh_token_bytes ||
        token.refresh_token.size() > max_fresh_token_bytes) {
        throw Error(ErrorCode::invalid_argument, "there is no token");
    }
    if (const auto seconds = read_lifetime(answer)) {
        token.expires_at = asked + std::chrono::seconds(*seconds);
    }
    return token;
}

TokenEndpoints::TokenEndpoints(std::vector<TokenEndpointConfig> endpoints, const base::Clock& clock)
    : clock_(clock) {
    for (TokenEndpointConfig& each : endpoints) {
        std::string url = each.https.url;
        endpoints_.emplace(std::move(url), Endpoint{server::HttpsClient(std::move(each.https)),
                                                    each.secret_in_body});
    }
}

FreshToken TokenEndpoints::ask(const RefreshOrder& order) const {
    const auto found = endpoints_.find(order.token_endpoint);
    if (found == endpoints_.end()) {
        throw Error(ErrorCode::failed_precondition, "the token endpoint is not allowed here");
    }
    const Endpoint& endpoint = found->second;
    const base::WipedString form = form_of(order, endpoint.secret_in_body);
    base::WipedString authorization;
    if (!endpoint.secret_in_body) authorization = basic_of(order);
    // Lifetimes count from before the question: rather too early than too late.
    const base::Time asked = clock_.now();
    const server::HttpsAnswer answer = endpoint.https.send({.method = server::Method::POST,
                                                            .authorization = authorization,
                                                            .content_type = form_type,
                                                            .body = form});
    const std::string status = found->first + ": status " + std::to_string(answer.status);
    if (answer.status == 400 || answer.status == 401 || answer.status == 403) {
        throw Error(ErrorCode::failed_precondition, "the token endpoint refuses to refresh",
                    status);
    }
    if (answer.status != 200) {
        throw Error(ErrorCode::unavailable, "the token could not be refreshed", status);
    }
    try {
        return parse_fresh_token(answer.body, asked);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::invalid_argument) throw;
        throw Error(ErrorCode::unavailable, "the token could not be refreshed",
                    found->first + ": its answer is no token");
    }
}

}  // namespace vault::compat
