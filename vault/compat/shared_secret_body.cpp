#include "vault/compat/shared_secret_body.h"

#include <algorithm>

#include "base/error.h"
#include "base/uuid.h"
#include "vault/record.h"
#include "vault/request_body.h"
#include "vault/sealed.h"

namespace vault::compat {
namespace {

using base::JsonValue;

constexpr std::size_t max_platform_bytes = 64;

base::Error bad_request(std::string message) {
    return {base::ErrorCode::invalid_argument, std::move(message)};
}

// Texts as they came; empty when there is none of that name.
std::string text_field(const JsonValue& body, std::string_view name) {
    const JsonValue* value = body.find(name);
    const auto* text = value == nullptr ? nullptr : value->string();
    return text == nullptr ? std::string() : std::string(*text);
}

}  // namespace

JsonValue read_fields(const server::Request& request, std::size_t max_bytes) {
    return request.body.empty() ? JsonValue() : read_body(request, max_bytes);
}

std::string read_profile(const JsonValue& body) {
    std::string profile = text_field(body, "creatorProfileId");
    std::transform(profile.begin(), profile.end(), profile.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (!base::Uuid::parse(profile)) throw bad_request("creatorProfileId required");
    return profile;
}

base::SecretBytes read_credentials(const JsonValue& body) {
    const JsonValue* credentials = body.find("credentials");
    if (credentials == nullptr || credentials->object() == nullptr) {
        throw bad_request("credentials object required");
    }
    if (is_sealed(*credentials)) {
        throw bad_request("credentials are sealed already: they have a field \"__enc\"");
    }
    const base::WipedString text = base::to_json(*credentials);
    if (text.size() > max_secret_bytes) {
        throw bad_request("credentials must have at most " + std::to_string(max_secret_bytes) +
                          " bytes as compact JSON");
    }
    return base::SecretBytes(base::as_bytes(text));
}

std::string read_platform(const JsonValue& body) {
    std::string platform = text_field(body, "platform");
    if (platform.size() > max_platform_bytes || !is_safe_name(platform)) {
        throw bad_request("platform required");
    }
    return platform;
}

const JsonValue* find_part(const JsonValue& credentials, std::string_view platform,
                           std::string_view part) {
    const JsonValue* entry = credentials.find(platform);
    return entry == nullptr ? nullptr : entry->find(part);
}

}  // namespace vault::compat
