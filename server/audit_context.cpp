#include "server/audit_context.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"

namespace server {
namespace {

constexpr std::size_t min_context_key_bytes = 16;

}  // namespace

bool ContextRules::need_key() const {
    return others == ContextMode::hash ||
           std::any_of(fields.begin(), fields.end(),
                       [](const auto& field) { return field.second == ContextMode::hash; });
}

std::string context_hash(base::ByteView key, std::string_view name, std::string_view value) {
    std::string message(name);
    message += '\0';
    message += value;
    const base::ByteView bytes = base::as_bytes(message);
    std::array<std::uint8_t, 32> hash{};
    unsigned length = 0;
    if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(),
             hash.data(), &length) == nullptr ||
        length != hash.size()) {
        throw base::Error(base::ErrorCode::internal, "internal error", "HMAC failed");
    }
    return base::to_hex(hash);
}

AuditContext::AuditContext(ContextRules rules, base::SecretBytes key)
    : rules_(std::move(rules)), key_(std::move(key)) {
    if (rules_.need_key() && key_.size() < min_context_key_bytes) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "the key that hashes context fields in the audit log must have at least "
                          "16 bytes");
    }
}

ContextMode AuditContext::mode_of(std::string_view name) const {
    const auto found = rules_.fields.find(name);
    return found == rules_.fields.end() ? rules_.others : found->second;
}

void AuditContext::write(base::JsonWriter& out,
                         const std::map<std::string, std::string>& context) const {
    bool hashed = false;
    out.name("context").begin_object();
    for (const auto& [name, value] : context) {
        const ContextMode mode = mode_of(name);
        if (mode == ContextMode::clear) out.field(name, value);
        hashed = hashed || mode == ContextMode::hash;
    }
    out.end_object();
    if (!hashed) return;
    out.name("context_hmac").begin_object();
    for (const auto& [name, value] : context) {
        if (mode_of(name) == ContextMode::hash) {
            out.field(name, context_hash(key_.expose(), name, value));
        }
    }
    out.end_object();
}

}  // namespace server
