#include "kms/envelope.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"

namespace kms {
namespace {

constexpr std::size_t magic_bytes = 4;
constexpr std::uint8_t format_version = 1;
constexpr std::uint8_t suite_aes_256_gcm = 1;

constexpr std::size_t version_at = 4;
constexpr std::size_t suite_at = 5;
constexpr std::size_t key_id_at = 6;
constexpr std::size_t key_version_at = 22;
constexpr std::size_t iv_at = 26;
constexpr std::size_t ciphertext_at = 38;

// What tells the kinds apart.
struct Shape {
    std::string_view magic;
    std::size_t min_plaintext_bytes;
    std::size_t max_plaintext_bytes;
};

constexpr Shape shape_of(EnvelopeKind kind) {
    if (kind == EnvelopeKind::data_key) return {"SRdk", min_data_key_bytes, max_data_key_bytes};
    return {"SRct", min_text_bytes, max_text_bytes};
}

void append(base::Bytes& out, base::ByteView bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_16(base::Bytes& out, std::size_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8U));
    out.push_back(static_cast<std::uint8_t>(value));
}

void append_text(base::Bytes& out, const std::string& text) {
    append_16(out, text.size());
    append(out, base::as_bytes(text));
}

void append_head(base::Bytes& out, EnvelopeKind kind, const base::Uuid& key_id,
                 std::uint32_t key_version) {
    append(out, base::as_bytes(shape_of(kind).magic));
    out.push_back(format_version);
    out.push_back(suite_aes_256_gcm);
    append(out, key_id.bytes());
    append_16(out, key_version >> 16U);
    append_16(out, key_version & 0xFFFFU);
}

std::uint32_t read_32(base::ByteView bytes) {
    std::uint32_t value = 0;
    for (const std::uint8_t byte : bytes.first(4)) value = value << 8U | byte;
    return value;
}

[[noreturn]] void refuse(std::string complaint) {
    throw base::Error(base::ErrorCode::invalid_argument, "\"context\" " + std::move(complaint));
}

}  // namespace

base::Bytes to_bytes(const Envelope& envelope) {
    base::Bytes out;
    out.reserve(ciphertext_at + envelope.ciphertext.size());
    append_head(out, envelope.kind, envelope.key_id, envelope.key_version);
    append(out, envelope.iv);
    append(out, envelope.ciphertext);
    return out;
}

std::optional<Envelope> parse_envelope(EnvelopeKind kind, base::ByteView bytes) {
    const Shape shape = shape_of(kind);
    if (bytes.size() < wrapped_overhead_bytes + shape.min_plaintext_bytes ||
        bytes.size() > wrapped_overhead_bytes + shape.max_plaintext_bytes) {
        return std::nullopt;
    }
    if (base::as_text(bytes.first(magic_bytes)) != shape.magic ||
        bytes[version_at] != format_version || bytes[suite_at] != suite_aes_256_gcm) {
        return std::nullopt;
    }
    Envelope envelope;
    envelope.kind = kind;
    envelope.key_id = base::Uuid::from_bytes(bytes.subspan(key_id_at));
    envelope.key_version = read_32(bytes.subspan(key_version_at));
    if (envelope.key_version == 0) return std::nullopt;
    std::copy_n(bytes.begin() + iv_at, hsm::iv_bytes, envelope.iv.begin());
    envelope.ciphertext = base::to_bytes(bytes.subspan(ciphertext_at));
    return envelope;
}

base::Bytes canonical_context(const EncryptionContext& context) {
    if (context.size() > max_context_entries) {
        refuse("must have at most " + std::to_string(max_context_entries) + " entries");
    }
    std::size_t total = 0;
    for (const auto& [key, value] : context) {
        if (!base::is_utf8(key) || !base::is_utf8(value)) refuse("must be UTF-8 text");
        total += key.size() + value.size();
    }
    if (total > max_context_bytes) {
        refuse("must have at most " + std::to_string(max_context_bytes) + " bytes in all");
    }
    base::Bytes out;
    out.reserve(2 + total + 4 * context.size());
    append_16(out, context.size());
    for (const auto& [key, value] : context) {
        append_text(out, key);
        append_text(out, value);
    }
    return out;
}

base::Bytes envelope_aad(EnvelopeKind kind, const base::Uuid& key_id, std::uint32_t key_version,
                         base::ByteView canonical) {
    base::Bytes aad;
    aad.reserve(wrapped_head_bytes + canonical.size());
    append_head(aad, kind, key_id, key_version);
    append(aad, canonical);
    return aad;
}

}  // namespace kms
