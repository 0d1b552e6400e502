#include "vault/import/old_format.h"

#include <botan/aead.h>
#include <botan/cipher_mode.h>
#include <botan/exceptn.h>
#include <botan/version.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t old_tag_bytes = 16;
constexpr std::size_t old_block_bytes = 16;
constexpr std::size_t max_old_iv_bytes = 64;
constexpr std::size_t max_envelope_text_bytes = 256UL * 1024;

#if BOTAN_VERSION_MAJOR >= 3
constexpr auto old_decryption = Botan::Cipher_Dir::Decryption;
#else
constexpr auto old_decryption = Botan::DECRYPTION;
#endif

constexpr const char* does_not_open = "it does not open with the key that was given";
constexpr const char* is_no_text = "the secret is no text";

[[noreturn]] void refuse_layout(const std::string& why) {
    throw Error(ErrorCode::invalid_argument, "the layout " + why);
}

std::optional<base::Bytes> decode(OldEncoding encoding, std::string_view text) {
    switch (encoding) {
        case OldEncoding::hex: {
            std::string lower(text);
            std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
                return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
            });
            return base::parse_hex(lower);
        }
        case OldEncoding::base64:
            return base::parse_base64(text);
        case OldEncoding::base64url:
            return base::parse_base64url(text);
    }
    return std::nullopt;
}

OldSecret finish(Botan::Cipher_Mode& cipher, base::ByteView iv, base::ByteView first,
                 base::ByteView second) {
    Botan::secure_vector<std::uint8_t> buffer(first.begin(), first.end());
    buffer.insert(buffer.end(), second.begin(), second.end());
    try {
        cipher.start(iv.data(), iv.size());
        cipher.finish(buffer);
    } catch (const Botan::Exception&) {
        return Unreadable{does_not_open};
    }
    return base::SecretBytes(base::ByteView(buffer.data(), buffer.size()));
}

OldSecret open_gcm(const base::SecretBytes& key, const OldLayout::Parts& parts,
                   std::string_view bound) {
    const auto gcm = Botan::AEAD_Mode::create_or_throw("AES-256/GCM", old_decryption);
    gcm->set_key(key.expose().data(), key.size());
    gcm->set_associated_data(base::as_bytes(bound).data(), bound.size());
    return finish(*gcm, parts.iv, parts.data, parts.tag);
}

class EnvelopeFormat final : public OldFormat {
public:
    explicit EnvelopeFormat(OldKeys ring) : ring_(std::move(ring)) {
        if (ring_.unnamed() != nullptr)
            throw Error(ErrorCode::invalid_argument, "envelopes need a key ring");
    }

    OldSecret open(const base::JsonValue& held, std::string_view bound) const override {
        if (held.object() != nullptr) return open_object(held, bound);
        if (held.string() == nullptr) return Unreadable{no_envelope};
        try {
            return open_object(
                base::parse_json(*held.string(), {.bytes = max_envelope_text_bytes, .depth = 1}),
                bound);
        } catch (const Error&) {
            return Unreadable{no_envelope};
        }
    }

private:
    OldSecret open_object(const base::JsonValue& envelope, std::string_view bound) const {
        const base::JsonValue* marked = envelope.find("__enc");
        const auto text = [&](std::string_view name) {
            const base::JsonValue* value = envelope.find(name);
            return value == nullptr || value->string() == nullptr ? std::string_view()
                                                                  : *value->string();
        };
        const auto iv = base::parse_base64(text("iv"));
        auto sealed = base::parse_base64(text("ct"));
        const bool is_one = marked != nullptr && marked->integer() == 1 && iv && !iv->empty() &&
                            iv->size() <= max_old_iv_bytes && sealed &&
                            sealed->size() >= old_tag_bytes;
        if (!is_one) return Unreadable{no_envelope};
        const std::string_view name = text("kid");
        const base::SecretBytes* key = name.empty() ? nullptr : ring_.find(name);
        if (key == nullptr)
            return Unreadable{"the envelope names a key that the key ring does not have"};
        return open_gcm(*key, {*iv, std::move(*sealed), {}}, bound);
    }

    static constexpr const char* no_envelope =
        "the secret is no envelope {\"__enc\":1,\"kid\",\"iv\",\"ct\"}";
    const OldKeys ring_;
};

// A ciphertext in one text.
class TextFormat : public OldFormat {
public:
    TextFormat(OldKeys key, OldLayout layout, bool wants_tag)
        : key_(std::move(key)), layout_(std::move(layout)) {
        if (key_.unnamed() == nullptr)
            throw Error(ErrorCode::invalid_argument, "this format needs one key, not a key ring");
        if (layout_.has_tag() != wants_tag)
            refuse_layout(wants_tag ? "needs a tag" : "has a tag, and CBC has none");
    }

    OldSecret open(const base::JsonValue& held, std::string_view bound) const final {
        if (held.string() == nullptr) return Unreadable{is_no_text};
        const auto parts = layout_.split(*held.string());
        if (!parts) return Unreadable{"the secret does not have the layout that was given"};
        return decrypt(*key_.unnamed(), *parts, bound);
    }

private:
    virtual OldSecret decrypt(const base::SecretBytes& key, const OldLayout::Parts& parts,
                              std::string_view bound) const = 0;

    const OldKeys key_;
    const OldLayout layout_;
};

class GcmFormat final : public TextFormat {
public:
    GcmFormat(OldKeys key, OldLayout layout)
        : TextFormat(std::move(key), std::move(layout), true) {}

private:
    OldSecret decrypt(const base::SecretBytes& key, const OldLayout::Parts& parts,
                      std::string_view bound) const override {
        return open_gcm(key, parts, bound);
    }
};

class CbcFormat final : public TextFormat {
public:
    CbcFormat(OldKeys key, OldLayout layout)
        : TextFormat(std::move(key), std::move(layout), false) {}

private:
    OldSecret decrypt(const base::SecretBytes& key, const OldLayout::Parts& parts,
                      std::string_view /*bound*/) const override {
        const bool whole = parts.iv.size() == old_block_bytes && !parts.data.empty() &&
                           parts.data.size() % old_block_bytes == 0;
        if (!whole) return Unreadable{"the secret is no AES-CBC ciphertext in whole blocks"};
        const auto cbc = Botan::Cipher_Mode::create_or_throw("AES-256/CBC/PKCS7", old_decryption);
        cbc->set_key(key.expose().data(), key.size());
        return finish(*cbc, parts.iv, parts.data, {});
    }
};

}  // namespace

OldLayout::OldLayout(std::string_view layout, OldEncoding encoding, std::size_t iv_bytes)
    : encoding_(encoding), iv_bytes_(iv_bytes) {
    if (iv_bytes == 0 || iv_bytes > max_old_iv_bytes) refuse_layout("has an IV of 1 to 64 bytes");
    std::vector<Part> seen;
    groups_.emplace_back();
    while (!layout.empty()) {
        const auto end = std::min(layout.find_first_of(":.,$|+"), layout.size());
        const std::string_view word = layout.substr(0, end);
        const Part part = word == "iv" ? Part::iv : word == "tag" ? Part::tag : Part::data;
        if (part == Part::data && word != "data")
            refuse_layout("has a part that is not iv, tag or data");
        if (std::find(seen.begin(), seen.end(), part) != seen.end())
            refuse_layout("has a part twice");
        seen.push_back(part);
        groups_.back().push_back(part);
        if (end == layout.size()) break;
        const char next = layout[end];
        layout.remove_prefix(end + 1);
        if (layout.empty()) refuse_layout("ends with no part");
        if (next == '+') continue;
        if (separator_ != '\0' && separator_ != next) refuse_layout("has two separators");
        separator_ = next;
        groups_.emplace_back();
    }
    for (const Part needed : {Part::iv, Part::data}) {
        if (std::find(seen.begin(), seen.end(), needed) == seen.end())
            refuse_layout("needs iv and data");
    }
}

bool OldLayout::has_tag() const {
    return std::any_of(groups_.begin(), groups_.end(), [](const auto& group) {
        return std::find(group.begin(), group.end(), Part::tag) != group.end();
    });
}

std::optional<OldLayout::Parts> OldLayout::split(std::string_view text) const {
    Parts parts;
    for (std::size_t i = 0; i < groups_.size(); ++i) {
        const bool is_last = i + 1 == groups_.size();
        const auto end = is_last ? text.size() : text.find(separator_);
        if (end == std::string_view::npos) return std::nullopt;
        if (!split_group(groups_[i], text.substr(0, end), parts)) return std::nullopt;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

bool OldLayout::split_group(const std::vector<Part>& group, std::string_view text,
                            Parts& parts) const {
    const auto bytes = decode(encoding_, text);
    if (!bytes) return false;
    const auto fixed_size = [this](Part part) {
        return part == Part::iv ? iv_bytes_ : part == Part::tag ? old_tag_bytes : 0;
    };
    std::size_t fixed = 0;
    bool has_data = false;
    for (const Part part : group) {
        fixed += fixed_size(part);
        has_data = has_data || part == Part::data;
    }
    if (bytes->size() < fixed || (!has_data && bytes->size() != fixed)) return false;
    auto at = bytes->begin();
    for (const Part part : group) {
        const std::size_t size = part == Part::data ? bytes->size() - fixed : fixed_size(part);
        base::Bytes& out = part == Part::iv ? parts.iv : part == Part::tag ? parts.tag : parts.data;
        out.assign(at, at + static_cast<std::ptrdiff_t>(size));
        at += static_cast<std::ptrdiff_t>(size);
    }
    return true;
}

std::unique_ptr<OldFormat> envelope_format(OldKeys ring) {
    return std::make_unique<EnvelopeFormat>(std::move(ring));
}
std::unique_ptr<OldFormat> gcm_format(OldKeys key, OldLayout layout) {
    return std::make_unique<GcmFormat>(std::move(key), std::move(layout));
}
std::unique_ptr<OldFormat> cbc_format(OldKeys key, OldLayout layout) {
    return std::make_unique<CbcFormat>(std::move(key), std::move(layout));
}

}  // namespace vault
