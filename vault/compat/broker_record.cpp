#include "vault/compat/broker_record.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "vault/record.h"

namespace vault::compat {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

constexpr std::size_t max_token_bytes = 16UL * 1024;
constexpr std::size_t max_public_bytes = 512;  // of one field
// As JSON, which has more for quotes, control characters and long numbers: metadata has room for
// one of each name.
constexpr std::size_t max_public_json_bytes = 2 * max_public_bytes + 2;
constexpr std::string_view token_field = "access_token";
constexpr std::string_view expiry_field = "token_expires_at";
constexpr std::string_view refresh_field = "refresh";
constexpr std::string_view client_field = "client_id";
constexpr std::string_view answer_field = "token_expired";  // ours, whatever a record says
// Fields that say whose token it is. Others may be secrets, and are treated as such.
constexpr std::array<std::string_view, 6> public_fields = {
    client_field,       "instagram_business_account_id",
    "facebook_page_id", "ad_account_id",
    "meta_user_id",     expiry_field};

[[noreturn]] void refuse_field(const std::string& message) {
    throw Error(ErrorCode::invalid_argument, message);
}

// The text of a field; empty when it is not there, or is no text.
std::string_view text_of_field(const JsonValue& object, std::string_view name) {
    const JsonValue* value = object.find(name);
    const auto* text = value == nullptr ? nullptr : value->string();
    return text == nullptr ? std::string_view() : std::string_view(*text);
}

// A client's name: a text, or a whole number, whose digits are it. A database that had it as a
// number exported it as one. Empty for what is neither.
std::string name_of_client(const JsonValue& fields) {
    const JsonValue* value = fields.find(client_field);
    if (value == nullptr || !value->is_number())
        return std::string(text_of_field(fields, client_field));
    std::string digits(base::to_json(*value));
    // -0, 1.0 and 1e3 are other spellings of a number that has a name already.
    const bool is_whole = digits.find_first_not_of("0123456789") == std::string::npos;
    return is_whole ? digits : std::string();
}

[[noreturn]] void refuse_long(std::string_view name) {
    refuse_field(std::string(name) + " must be a short text");
}

void check_public(std::string_view name, const JsonValue& value) {
    const auto* text = value.string();
    const bool good = value.is_null() || value.is_number() ||
                      (text != nullptr && text->size() <= max_public_bytes);
    if (!good) refuse_long(name);
}

std::optional<base::Time> read_expiry(const JsonValue& fields) {
    const JsonValue* value = fields.find(expiry_field);
    if (value == nullptr || value->is_null()) return std::nullopt;
    const auto* text = value->string();
    const auto time = text == nullptr ? std::nullopt : base::parse_rfc3339(*text);
    if (!time) refuse_field("token_expires_at must be a time like 2030-01-31T12:00:00Z (RFC 3339)");
    return time;
}

void check_refresh(const JsonValue& fields) {
    const JsonValue* refresh = fields.find(refresh_field);
    if (refresh == nullptr || refresh->is_null()) return;
    for (const auto* name : {"token_endpoint", "client_id", "client_secret"}) {
        if (text_of_field(*refresh, name).empty()) {
            refuse_field("refresh." + std::string(name) + " required");
        }
    }
    for (const auto* name : {"refresh_token", "scope"}) {
        const JsonValue* value = refresh->find(name);
        if (value != nullptr && value->string() == nullptr) {
            refuse_field("refresh." + std::string(name) + " must be a text");
        }
    }
}

void set_field(JsonValue& object, std::string_view name, JsonValue value) {
    JsonValue::Object& members = *object.object();
    const auto found = std::find_if(members.begin(), members.end(),
                                    [name](const auto& member) { return member.name == name; });
    if (found == members.end()) {
        members.push_back({base::WipedString(name), std::move(value)});
    } else {
        found->value = std::move(value);
    }
}

}  // namespace

bool is_public(std::string_view name) {
    return std::find(public_fields.begin(), public_fields.end(), name) != public_fields.end();
}

BrokerRecord::BrokerRecord(JsonValue fields) : fields_(std::move(fields)) {
    client_id_ = name_of_client(fields_);
    if (!is_safe_name(client_id_)) refuse_field("client_id required");
    const std::string_view token = text_of_field(fields_, token_field);
    if (token.empty() || token.size() > max_token_bytes) refuse_field("access_token required");
    for (const auto& member : *fields_.object()) {
        if (is_public(member.name)) check_public(member.name, member.value);
    }
    check_refresh(fields_);
    expires_at_ = read_expiry(fields_);
}

// The bound is for what is stored from now on: a token that is there already is shown.
BrokerRecord BrokerRecord::from_client(JsonValue fields) {
    BrokerRecord record(std::move(fields));
    for (const auto& member : *record.fields_.object()) {
        if (is_public(member.name) && base::to_json(member.value).size() > max_public_json_bytes)
            refuse_long(member.name);
    }
    return record;
}

BrokerRecord BrokerRecord::from_secret(const base::SecretBytes& secret) {
    try {
        return BrokerRecord(base::parse_json(secret.expose_text(), {.bytes = max_secret_bytes}));
    } catch (const Error& error) {
        throw Error(ErrorCode::failed_precondition, "what is stored there is no client's token",
                    error.message());
    }
}

std::optional<RefreshOrder> BrokerRecord::refresh() const {
    const JsonValue* refresh = fields_.find(refresh_field);
    if (refresh == nullptr || refresh->is_null()) return std::nullopt;
    return RefreshOrder{.token_endpoint = text_of_field(*refresh, "token_endpoint"),
                        .client_id = text_of_field(*refresh, "client_id"),
                        .client_secret = text_of_field(*refresh, "client_secret"),
                        .refresh_token = text_of_field(*refresh, "refresh_token"),
                        .scope = text_of_field(*refresh, "scope")};
}

base::SecretBytes BrokerRecord::secret() const {
    return base::SecretBytes(base::as_bytes(base::to_json(fields_)));
}

std::string BrokerRecord::metadata() const {
    base::JsonWriter out;
    out.begin_object();
    write_public(out);
    out.end_object();
    return std::string(out.text());
}

void BrokerRecord::write_public(base::JsonWriter& out) const {
    for (const auto& member : *fields_.object()) {
        if (is_public(member.name)) out.name(member.name).value(member.value);
    }
}

void BrokerRecord::write_token(base::JsonWriter& out) const {
    for (const auto& member : *fields_.object()) {
        if (member.name == refresh_field || member.name == answer_field) continue;
        out.name(member.name).value(member.value);
    }
}

BrokerRecord BrokerRecord::with(const FreshToken& token) const {
    JsonValue fields = fields_;
    set_field(fields, token_field, JsonValue(token.access_token));
    set_field(fields, expiry_field,
              token.expires_at ? JsonValue(base::WipedString(base::to_rfc3339(*token.expires_at)))
                               : JsonValue());
    if (!token.refresh_token.empty()) {
        JsonValue refresh = *fields.find(refresh_field);
        set_field(refresh, "refresh_token", JsonValue(token.refresh_token));
        set_field(fields, refresh_field, std::move(refresh));
    }
    return BrokerRecord(std::move(fields));
}

}  // namespace vault::compat
