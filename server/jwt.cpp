#include "server/jwt.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"
#include "server/identity_words.h"

namespace server {
namespace {

using base::JsonValue;
using std::chrono::seconds;

constexpr std::size_t max_claim_values = 500;
constexpr std::size_t max_kid_bytes = 256;
// The last second of the year 9999: sums with a leeway stay far from overflow.
constexpr std::int64_t max_seconds = 253'402'300'799;

std::optional<std::string> text_member(const JsonValue& object, std::string_view name) {
    const JsonValue* member = object.find(name);
    if (member == nullptr || member->string() == nullptr) return std::nullopt;
    return std::string(*member->string());
}

// The three parts of a compact JWS (RFC 7515 7.1).
std::optional<std::array<std::string_view, 3>> split_token(std::string_view text) {
    if (text.size() > max_jwt_bytes) return std::nullopt;
    const std::size_t first = text.find('.');
    if (first == std::string_view::npos) return std::nullopt;
    const std::size_t second = text.find('.', first + 1);
    if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos) {
        return std::nullopt;
    }
    return {{text.substr(0, first), text.substr(first + 1, second - first - 1),
             text.substr(second + 1)}};
}

// An object, from base64url.
std::optional<JsonValue> decode_object(std::string_view part) {
    const auto bytes = base::parse_base64url(part);
    if (!bytes) return std::nullopt;
    try {
        JsonValue value = base::parse_json(base::as_text(*bytes));
        if (value.object() == nullptr) return std::nullopt;
        return value;
    } catch (const base::Error&) {
        return std::nullopt;
    }
}

bool is_same_word(std::string_view left, std::string_view right) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; };
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [&](char a, char b) { return lower(a) == lower(b); });
}

void read_header(const JsonValue& header, Jwt& token) {
    const auto algorithm = parse_jwt_algorithm(text_member(header, "alg").value_or(""));
    if (!algorithm) refuse_credential("jwt_algorithm");
    token.algorithm = *algorithm;
    if (header.find("crit") != nullptr) refuse_credential("jwt_critical_header");
    if (header.find("typ") != nullptr) {
        const std::string type = text_member(header, "typ").value_or("");
        if (!is_same_word(type, "JWT") && !is_same_word(type, "at+jwt") &&
            !is_same_word(type, "application/at+jwt")) {
            refuse_credential("jwt_type");
        }
    }
    token.key_id = text_member(header, "kid").value_or("");
    if (token.key_id.empty() || token.key_id.size() > max_kid_bytes) {
        refuse_credential("jwt_key_id");
    }
}

// RFC 7519 2, NumericDate, in whole seconds; empty when absent.
std::optional<seconds> date_in(const JsonValue& claims, std::string_view name) {
    const JsonValue* member = claims.find(name);
    if (member == nullptr) return std::nullopt;
    const auto value = member->integer();
    if (!value || *value < 0 || *value > max_seconds) refuse_credential("jwt_time");
    return seconds(*value);
}

void check_times(const JsonValue& claims, const JwtRules& rules, base::Time time) {
    const auto now = std::chrono::floor<seconds>(time.time_since_epoch());
    const auto expires = date_in(claims, "exp");
    const auto not_before = date_in(claims, "nbf");
    const auto issued = date_in(claims, "iat");
    if (!expires) refuse_credential("jwt_time");
    if (now >= *expires + rules.leeway) refuse_credential("jwt_expired");
    if (not_before && now + rules.leeway < *not_before) refuse_credential("jwt_not_yet_valid");
    if (issued && now + rules.leeway < *issued) refuse_credential("jwt_not_yet_valid");
    if (rules.max_lifetime && (!issued || *expires - *issued > *rules.max_lifetime)) {
        refuse_credential("jwt_lifetime");
    }
}

// "aud" is a text or a list of them (RFC 7519 4.1.3).
bool is_for_us(const JsonValue* audience, const std::vector<std::string>& ours) {
    if (audience == nullptr) return false;
    const auto is_ours = [&ours](const JsonValue& value) {
        const auto* text = value.string();
        return text != nullptr &&
               std::find(ours.begin(), ours.end(), std::string_view(*text)) != ours.end();
    };
    const auto* list = audience->array();
    return list == nullptr ? is_ours(*audience) : std::any_of(list->begin(), list->end(), is_ours);
}

// "~1" is '/', "~0" is '~' (RFC 6901 4).
std::string unescape(std::string_view token) {
    std::string out;
    for (std::size_t i = 0; i < token.size(); ++i) {
        if (token[i] == '~') {
            out += token[++i] == '1' ? '/' : '~';
        } else {
            out += token[i];
        }
    }
    return out;
}

const JsonValue* point_to(const JsonValue& document, std::string_view pointer) {
    const JsonValue* at = &document;
    while (!pointer.empty() && at != nullptr) {
        pointer.remove_prefix(1);
        const std::string_view token = pointer.substr(0, pointer.find('/'));
        pointer.remove_prefix(token.size());
        at = at->find(unescape(token));
    }
    return at;
}

// A text or a list of texts; what is neither is left out.
std::vector<std::string> values_of(const JsonValue* claim) {
    std::vector<std::string> values;
    const auto add = [&values](const JsonValue& value) {
        const auto* text = value.string();
        if (text != nullptr && is_sound_name(*text)) values.emplace_back(*text);
    };
    if (claim == nullptr) return values;
    const auto* list = claim->array();
    if (list == nullptr) {
        add(*claim);
        return values;
    }
    if (list->size() > max_claim_values) refuse_credential("jwt_claims");
    for (const JsonValue& value : *list) add(value);
    return values;
}

}  // namespace

bool is_json_pointer(std::string_view pointer) {
    if (pointer.empty() || pointer.front() != '/') return false;
    for (std::size_t i = 0; i < pointer.size(); ++i) {
        if (pointer[i] != '~') continue;
        if (i + 1 == pointer.size() || (pointer[i + 1] != '0' && pointer[i + 1] != '1')) {
            return false;
        }
    }
    return true;
}

Jwt parse_jwt(std::string_view text) {
    const auto parts = split_token(text);
    if (!parts) refuse_credential("jwt_malformed");
    const auto header = decode_object((*parts)[0]);
    auto claims = decode_object((*parts)[1]);
    auto signature = base::parse_base64url((*parts)[2]);
    if (!header || !claims || !signature) refuse_credential("jwt_malformed");
    Jwt token;
    read_header(*header, token);
    token.signed_text = text.substr(0, text.rfind('.'));
    token.signature = std::move(*signature);
    token.claims = std::move(*claims);
    return token;
}

std::string claimed_issuer(std::string_view text) {
    const auto parts = split_token(text);
    if (!parts) return {};
    const auto claims = decode_object((*parts)[1]);
    return claims ? text_member(*claims, "iss").value_or("") : std::string();
}

Caller caller_of(const Jwt& token, const JwtRules& rules, base::Time now) {
    const JsonValue& claims = token.claims;
    if (text_member(claims, "iss") != rules.issuer) refuse_credential("jwt_issuer");
    if (!is_for_us(claims.find("aud"), rules.audiences)) refuse_credential("jwt_audience");
    check_times(claims, rules, now);
    const std::string name = text_member(claims, rules.caller_claim).value_or("");
    Caller caller;
    caller.id = rules.caller_prefix + name;
    if (name.empty() || !is_sound_name(caller.id)) refuse_credential("jwt_caller");
    caller.method = AuthenticationMethod::jwt;
    for (const auto& [claim, pointer] : rules.claims) {
        auto values = values_of(point_to(claims, pointer));
        if (!values.empty()) caller.claims.emplace(claim, std::move(values));
    }
    caller.claims["issuer"] = {rules.issuer};
    const std::string id = text_member(claims, "jti").value_or("");
    if (is_sound_name(id)) caller.credential = id;
    return caller;
}

}  // namespace server
