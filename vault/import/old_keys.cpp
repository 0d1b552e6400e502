#include "vault/import/old_keys.h"

#include <botan/hash.h>
#include <botan/pwdhash.h>

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::SecretBytes;

constexpr std::string_view spaces = " \t\r\n";

struct EncodingWord {
    std::string_view word;
    OldKeyEncoding encoding;
};
constexpr std::array encoding_words = {
    EncodingWord{"base64", OldKeyEncoding::base64},
    EncodingWord{"hex", OldKeyEncoding::hex},
    EncodingWord{"text", OldKeyEncoding::text},
    EncodingWord{"sha256", OldKeyEncoding::sha256},
    EncodingWord{"sha256-base64", OldKeyEncoding::sha256_base64},
    EncodingWord{"scrypt", OldKeyEncoding::scrypt},
};

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(spaces);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

SecretBytes sha256_of(std::string_view text) {
    const auto hash = Botan::HashFunction::create_or_throw("SHA-256");
    hash->update(base::as_bytes(text).data(), text.size());
    const auto digest = hash->final();
    return SecretBytes(base::ByteView(digest.data(), digest.size()));
}

SecretBytes scrypt_of(std::string_view text, std::string_view salt) {
    constexpr std::size_t cost = 16384;
    constexpr std::size_t block_size = 8;
    constexpr std::size_t parallelism = 1;
    const auto scrypt = Botan::PasswordHashFamily::create_or_throw("Scrypt")->from_params(
        cost, block_size, parallelism);
    SecretBytes key(old_key_bytes);
    scrypt->derive_key(key.expose_mutable().data(), key.size(), text.data(), text.size(),
                       base::as_bytes(salt).data(), salt.size());
    return key;
}

SecretBytes sha256_base64_of(std::string_view text) {
    const SecretBytes digest = sha256_of(text);
    base::WipedString encoded;
    base::append_base64(encoded, digest.expose());
    return SecretBytes(base::as_bytes(std::string_view(encoded).substr(0, old_key_bytes)));
}

SecretBytes from_hex(std::string_view text) {
    base::WipedString lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    auto bytes = base::parse_hex(lower);
    if (!bytes) return {};
    SecretBytes key((base::ByteView(*bytes)));
    base::wipe(bytes->data(), bytes->size());
    return key;
}

// Of another length than a key's when the text is none.
SecretBytes make_key(std::string_view text, const OldKeyForm& form) {
    switch (form.encoding) {
        case OldKeyEncoding::base64: {
            auto key = base::parse_base64_secret(text);
            return key ? std::move(*key) : SecretBytes();
        }
        case OldKeyEncoding::hex:
            return from_hex(text);
        case OldKeyEncoding::text:
            return SecretBytes(base::as_bytes(text));
        case OldKeyEncoding::sha256:
            return sha256_of(text);
        case OldKeyEncoding::sha256_base64:
            return sha256_base64_of(text);
        case OldKeyEncoding::scrypt:
            return scrypt_of(text, form.salt);
    }
    return {};
}

}  // namespace

std::optional<OldKeyEncoding> to_old_key_encoding(std::string_view word) {
    for (const auto& [known, encoding] : encoding_words) {
        if (word == known) return encoding;
    }
    return std::nullopt;
}

void OldKeys::add(std::string_view name, std::string_view text, const OldKeyForm& form,
                  const std::string& what) {
    SecretBytes key = text.empty() ? SecretBytes() : make_key(text, form);
    if (key.size() != old_key_bytes) {
        throw Error(ErrorCode::invalid_argument,
                    what + " is no AES-256 key in the encoding that was given");
    }
    if (!keys_.emplace(std::string(name), std::move(key)).second)
        throw Error(ErrorCode::invalid_argument, what + " has a name that stands twice");
}

OldKeys OldKeys::one(std::string_view text, const OldKeyForm& form) {
    OldKeys keys;
    keys.add({}, trim(text), form, "the old key");
    return keys;
}

OldKeys OldKeys::ring(std::string_view text, const OldKeyForm& form) {
    OldKeys keys;
    std::size_t number = 0;
    const auto add = [&](std::string_view name, std::string_view key) {
        keys.add(name, key, form, "entry " + std::to_string(++number) + " of the key ring");
    };
    text = trim(text);
    if (text.starts_with('{')) {
        base::JsonValue parsed;
        try {
            parsed = base::parse_json(text, {.bytes = max_old_keys_bytes, .depth = 1});
        } catch (const Error&) {
            throw Error(ErrorCode::invalid_argument, "the key ring is no flat JSON object");
        }
        for (const auto& [name, value] : *parsed.object()) {
            add(name, value.string() == nullptr ? std::string_view() : *value.string());
        }
    }
    while (!text.empty() && !text.starts_with('{')) {
        const std::string_view entry = trim(text.substr(0, text.find_first_of(",\n")));
        const auto end = text.find_first_of(",\n");
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (entry.empty()) continue;
        const auto split = std::min(entry.find_first_of(":="), entry.size());
        add(trim(entry.substr(0, split)),
            split == entry.size() ? std::string_view() : trim(entry.substr(split + 1)));
    }
    if (keys.keys_.empty()) throw Error(ErrorCode::invalid_argument, "the key ring is empty");
    if (keys.unnamed() != nullptr)
        throw Error(ErrorCode::invalid_argument, "a key of the key ring has no name");
    return keys;
}

const base::SecretBytes* OldKeys::find(std::string_view name) const {
    const auto found = keys_.find(name);
    return found == keys_.end() ? nullptr : &found->second;
}

}  // namespace vault
