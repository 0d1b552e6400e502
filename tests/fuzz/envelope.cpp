// Wrapped data keys, ciphertexts and encryption contexts: one spelling for each, and two contexts
// have the same bytes only when they are the same.
#include <algorithm>

#include "kms/envelope.h"
#include "tests/fuzz/only.h"

namespace {

// Texts of the input, each behind a byte with its length.
kms::EncryptionContext context_of(std::string_view& bytes, std::size_t entries) {
    const auto next = [&bytes] {
        if (bytes.empty()) return std::string();
        const std::size_t size =
            std::min<std::size_t>(static_cast<unsigned char>(bytes[0]), bytes.size() - 1);
        std::string text(bytes.substr(1, size));
        bytes.remove_prefix(1 + size);
        return text;
    };
    kms::EncryptionContext context;
    for (std::size_t i = 0; i < entries && !bytes.empty(); ++i) {
        std::string key = next();
        context[std::move(key)] = next();
    }
    return context;
}

void check_contexts(std::string_view bytes) {
    if (bytes.empty()) return;
    const std::size_t entries = static_cast<unsigned char>(bytes[0]) % 4;
    bytes.remove_prefix(1);
    const auto first = context_of(bytes, entries);
    const auto second = context_of(bytes, 4);
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        const bool same = kms::canonical_context(first) == kms::canonical_context(second);
        fuzz::require(same == (first == second));
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const base::ByteView bytes(data, size);
    int kinds = 0;
    for (const auto kind : {kms::EnvelopeKind::data_key, kms::EnvelopeKind::small_text}) {
        const auto envelope = kms::parse_envelope(kind, bytes);
        if (!envelope) continue;
        ++kinds;
        fuzz::require(envelope->kind == kind && envelope->key_version > 0);
        fuzz::require(std::ranges::equal(kms::to_bytes(*envelope), bytes));
    }
    fuzz::require(kinds <= 1);
    check_contexts(fuzz::text_of(data, size));
    return 0;
}
