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
constexpr std::size_t keyed_hash_digits = 64;

std::string hmac_hex(base::ByteView key, std::string_view message) {
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

// As a JSON string, without the quotes around it.
std::size_t most_escaped_bytes(std::string_view text) {
    constexpr std::size_t longest_escape = 6;         // \u00xx
    constexpr std::size_t replacement_character = 3;  // for each byte that is not UTF-8
    const std::size_t other = base::is_utf8(text) ? 1 : replacement_character;
    std::size_t bytes = 0;
    for (const char c : text) {
        const auto code = static_cast<unsigned char>(c);
        const bool short_escape = c == '"' || c == '\\';
        bytes += code < 0x20 ? longest_escape : short_escape ? 2 : code < 0x80 ? 1 : other;
    }
    return bytes;
}

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
    return hmac_hex(key, message);
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

std::size_t AuditContext::most_bytes(const std::map<std::string, std::string>& context) const {
    constexpr std::size_t around_field = 6;  // four quotes, colon and comma
    constexpr std::string_view around_all = R"("context":{},"context_hmac":{},)";
    std::size_t bytes = around_all.size();
    for (const auto& [name, value] : context) {
        const ContextMode mode = mode_of(name);
        if (mode == ContextMode::drop) continue;
        bytes += around_field + most_escaped_bytes(name);
        bytes += mode == ContextMode::hash ? keyed_hash_digits : most_escaped_bytes(value);
    }
    return bytes;
}

bool AuditContext::all_clear() const {
    return rules_.others == ContextMode::clear &&
           std::all_of(rules_.fields.begin(), rules_.fields.end(),
                       [](const auto& field) { return field.second == ContextMode::clear; });
}

// No field's hash can be taken for a digest: those have a NUL behind the name, JSON has none.
void AuditContext::write_digest(base::JsonWriter& out,
                                const std::map<std::string, std::string>& context,
                                Sha256& hasher) const {
    const bool keyed = key_.size() >= min_context_key_bytes;
    if (!keyed && !all_clear()) {
        out.field("context_left_out", true);
        return;
    }
    base::JsonWriter canonical;
    canonical.begin_object();
    for (const auto& [name, value] : context) {
        if (mode_of(name) != ContextMode::drop) canonical.field(name, value);
    }
    canonical.end_object();
    out.name("context_digest").begin_object();
    if (keyed) {
        out.field("hmac_sha256", hmac_hex(key_.expose(), canonical.text()));
    } else {
        out.field("sha256", hasher.hex(canonical.text()));
    }
    out.end_object();
}

namespace {

const AuditContext& rules_or_clear(const AuditContext* rules) {
    static const AuditContext clear({}, {});
    return rules == nullptr ? clear : *rules;
}

}  // namespace

RecordContexts::RecordContexts(const AuditContext* rules) : rules_(rules_or_clear(rules)) {}

void RecordContexts::write(base::JsonWriter& out,
                           const std::map<std::string, std::string>& context) {
    const std::size_t bytes = rules_.most_bytes(context);
    if (bytes <= room_) {
        room_ -= bytes;
        rules_.write(out, context);
        return;
    }
    if (!hasher_) hasher_.emplace();
    rules_.write_digest(out, context, *hasher_);
}

}  // namespace server
