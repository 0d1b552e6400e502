#include "vault/sealed.h"

#include <botan/aead.h>
#include <botan/exceptn.h>
#include <botan/version.h>

#include <algorithm>
#include <charconv>

#include "base/encoding.h"
#include "base/error.h"
#include "base/hkdf.h"
#include "base/key_commitment.h"
#include "base/random.h"
#include "server/digest.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view hkdf_salt = "strongroom sealed credential 2";
constexpr std::string_view record_key_info = "record key";
constexpr std::size_t record_key_bytes = 32;
constexpr std::string_view credential_magic = "SRsc";
constexpr std::string_view value_magic = "SRsv";
constexpr std::string_view attributes_magic = "SRsa";
constexpr std::uint8_t value_format = 2;  // also of credentials whose attributes are not bound
constexpr std::uint8_t credential_format = 3;
constexpr std::string_view mark = "__enc";

// The head of a wrapped data key, as the key service documents it.
constexpr std::string_view wrapped_magic = "SRdk";
constexpr std::uint8_t wrapped_format_version = 1;
constexpr std::size_t wrapped_key_id_at = 6;
constexpr std::size_t wrapped_key_version_at = 22;
constexpr std::size_t wrapped_head_bytes = 26;
constexpr std::size_t min_wrapped_bytes = wrapped_head_bytes + 12 + 16 + 16;
constexpr std::size_t max_wrapped_bytes = wrapped_head_bytes + 12 + 64 + 16;

#if BOTAN_VERSION_MAJOR >= 3
constexpr auto encryption = Botan::Cipher_Dir::Encryption;
constexpr auto decryption = Botan::Cipher_Dir::Decryption;
#else
constexpr auto encryption = Botan::ENCRYPTION;
constexpr auto decryption = Botan::DECRYPTION;
#endif

void append_big_endian(base::Bytes& out, std::uint64_t value, unsigned bytes) {
    for (unsigned i = bytes; i-- > 0;) out.push_back(static_cast<std::uint8_t>(value >> (8U * i)));
}

void append_text(base::Bytes& out, std::string_view text) {
    if (text.empty() || text.size() > 0xFFFF)
        throw Error(ErrorCode::internal, "a seal is bound to an improper name");
    append_big_endian(out, text.size(), 2);
    const auto bytes = base::as_bytes(text);
    out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_time(base::Bytes& out, base::Time time) {
    append_big_endian(out, static_cast<std::uint64_t>(base::to_milliseconds(time)), 8);
}

base::Bytes begin(std::string_view magic, std::uint8_t format) {
    base::Bytes out = base::to_bytes(base::as_bytes(magic));
    out.push_back(format);
    return out;
}

base::Bytes associated_data(const SealBinding& binding,
                            const std::optional<AttributesDigest>& attributes) {
    base::Bytes aad = begin(credential_magic, attributes ? credential_format : value_format);
    append_text(aad, binding.owner);
    append_text(aad, binding.name);
    append_big_endian(aad, binding.version, 8);
    if (!attributes) return aad;
    append_time(aad, binding.created_at);
    aad.push_back(binding.expires_at ? 1 : 0);
    append_time(aad, binding.expires_at.value_or(base::Time{}));
    append_big_endian(aad, binding.restored_from.value_or(0), 8);
    aad.insert(aad.end(), attributes->begin(), attributes->end());
    return aad;
}

base::Bytes associated_data(const ValueBinding& binding) {
    base::Bytes aad = begin(value_magic, value_format);
    append_text(aad, binding.owner);
    append_text(aad, binding.context);
    return aad;
}

// A GCM operation ready for finish(): keyed, bound and started.
std::unique_ptr<Botan::AEAD_Mode> start_gcm(Botan::Cipher_Dir direction,
                                            const base::SecretBytes& data_key, base::ByteView aad,
                                            base::ByteView iv) {
    auto gcm = Botan::AEAD_Mode::create_or_throw("AES-256/GCM", direction);
    const base::SecretBytes record_key =
        base::hkdf_sha_512(data_key, hkdf_salt, record_key_info, record_key_bytes);
    gcm->set_key(record_key.expose().data(), record_key.size());
    gcm->set_associated_data(aad.data(), aad.size());
    gcm->start(iv.data(), iv.size());
    return gcm;
}

bool names_master_key(base::ByteView wrapped, const base::Uuid& key_id, std::uint32_t key_version) {
    if (wrapped.size() < wrapped_head_bytes) return false;
    const base::Bytes head = begin(wrapped_magic, wrapped_format_version);
    if (!std::equal(head.begin(), head.end(), wrapped.begin())) return false;
    base::Bytes name = base::to_bytes(key_id.bytes());
    append_big_endian(name, key_version, 4);
    static_assert(wrapped_key_id_at + base::Uuid::size == wrapped_key_version_at);
    return std::equal(name.begin(), name.end(), wrapped.begin() + wrapped_key_id_at);
}

std::string to_key_name(const SealedCredential& sealed) {
    return sealed.key_id.to_string() + "/" + std::to_string(sealed.key_version);
}

// Fills key id and version from "<uuid>/<decimal>"; false when it is anything else.
bool parse_key_name(std::string_view text, SealedCredential& sealed) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return false;
    const auto id = base::Uuid::parse(text.substr(0, slash));
    if (!id) return false;
    sealed.key_id = *id;
    const auto digits = text.substr(slash + 1);
    const auto* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, sealed.key_version);
    // One text for one value: leading zeros and signs don't survive the way back.
    return parsed.ec == std::errc() && parsed.ptr == end && sealed.key_version != 0 &&
           text == to_key_name(sealed);
}

template <std::size_t size>
void copy_exactly(std::array<std::uint8_t, size>& out, const base::Bytes& bytes) {
    std::copy_n(bytes.begin(), size, out.begin());
}

SealedCredential seal_bound(base::ByteView aad, const DataKey& key, base::ByteView plaintext) {
    if (plaintext.size() > max_plaintext_bytes) {
        throw Error(ErrorCode::invalid_argument,
                    "a secret must have at most " + std::to_string(max_plaintext_bytes) + " bytes");
    }
    if (key.plaintext.size() != data_key_bytes ||
        !names_master_key(key.wrapped, key.key_id, key.key_version)) {
        throw Error(ErrorCode::internal, "the key service made an improper data key");
    }
    SealedCredential sealed;
    sealed.key_id = key.key_id;
    sealed.key_version = key.key_version;
    sealed.wrapped_data_key = key.wrapped;
    base::random_bytes(sealed.iv);
    try {
        sealed.commitment = base::commitment_of(key.plaintext);
        const auto gcm = start_gcm(encryption, key.plaintext, aad, sealed.iv);
        Botan::secure_vector<std::uint8_t> buffer(plaintext.begin(), plaintext.end());
        gcm->finish(buffer);
        sealed.ciphertext.assign(buffer.begin(), buffer.end());
    } catch (const Botan::Exception& error) {
        throw Error(ErrorCode::internal, "sealing failed", error.what());
    }
    return sealed;
}

base::SecretBytes open_bound(const SealedCredential& sealed, base::ByteView aad,
                             const base::SecretBytes& data_key) {
    if (data_key.size() != data_key_bytes)
        throw base::decryption_failed("the data key has another length");
    if (!names_master_key(sealed.wrapped_data_key, sealed.key_id, sealed.key_version)) {
        throw base::decryption_failed("kid and dek name different master keys");
    }
    if (sealed.ciphertext.size() < sealed_tag_bytes)
        throw base::decryption_failed("ct is shorter than a tag");
    try {
        if (!commits_to(sealed, data_key)) {
            throw base::decryption_failed("the data key is not the one that was committed to");
        }
        const auto gcm = start_gcm(decryption, data_key, aad, sealed.iv);
        Botan::secure_vector<std::uint8_t> buffer(sealed.ciphertext.begin(),
                                                  sealed.ciphertext.end());
        gcm->finish(buffer);
        return base::SecretBytes(base::ByteView(buffer.data(), buffer.size()));
    } catch (const Botan::Exception& error) {
        throw base::decryption_failed(error.what());
    }
}

}  // namespace

AttributesDigest attributes_of(const CredentialInfo& info) {
    base::Bytes bytes = begin(attributes_magic, credential_format);
    append_time(bytes, info.created_at);
    append_time(bytes, info.updated_at);
    append_big_endian(bytes, info.first_version, 8);
    append_big_endian(bytes, info.metadata.size(), 4);
    const auto metadata = base::as_bytes(info.metadata);
    bytes.insert(bytes.end(), metadata.begin(), metadata.end());
    append_big_endian(bytes, info.tags.size(), 2);
    for (const auto& [name, value] : info.tags) {
        append_text(bytes, name);
        append_text(bytes, value);
    }
    thread_local server::Sha256 sha_256;
    return sha_256.digest(base::as_text(bytes));
}

SealedCredential seal(const SealBinding& binding, const AttributesDigest& attributes,
                      const DataKey& key, base::ByteView plaintext) {
    SealedCredential sealed = seal_bound(associated_data(binding, attributes), key, plaintext);
    sealed.attributes = attributes;
    return sealed;
}

SealedCredential seal(const ValueBinding& binding, const DataKey& key, base::ByteView plaintext) {
    return seal_bound(associated_data(binding), key, plaintext);
}

KeyContext context_of_all_versions(const CredentialId& id) {
    return {{"owner", id.owner}, {"credential", id.name}};
}

KeyContext key_context(const SealBinding& binding) {
    KeyContext context = context_of_all_versions({binding.owner, binding.name});
    context["version"] = std::to_string(binding.version);
    return context;
}

bool commits_to(const SealedCredential& sealed, const base::SecretBytes& data_key) {
    return base::equal_constant_time(base::commitment_of(data_key), sealed.commitment);
}

base::SecretBytes open(const SealedCredential& sealed, const SealBinding& binding,
                       const base::SecretBytes& data_key) {
    return open_bound(sealed, associated_data(binding, sealed.attributes), data_key);
}

base::SecretBytes open(const SealedCredential& sealed, const ValueBinding& binding,
                       const base::SecretBytes& data_key) {
    if (sealed.attributes) throw base::decryption_failed("it is sealed as a credential");
    return open_bound(sealed, associated_data(binding), data_key);
}

std::string to_text(const SealedCredential& sealed) {
    base::JsonWriter writer;
    writer.begin_object().name(mark).integer(sealed.attributes ? credential_format : value_format);
    writer.field("kid", to_key_name(sealed)).name("dek").base64(sealed.wrapped_data_key);
    writer.name("kc").base64(sealed.commitment).name("iv").base64(sealed.iv);
    if (sealed.attributes) writer.name("attributes").base64(*sealed.attributes);
    writer.name("ct").base64(sealed.ciphertext).end_object();
    return std::string(writer.text());
}

SealedCredential parse_sealed(const base::JsonValue& value) {
    base::JsonReader reader(value);
    SealedCredential sealed;
    const auto format = reader.required_integer(mark, value_format, credential_format);
    if (!parse_key_name(reader.required_string("kid", 64), sealed)) {
        reader.refuse("kid", "must be a master key id and version, like <uuid>/1");
    }
    sealed.wrapped_data_key = reader.required_base64("dek", max_wrapped_bytes, min_wrapped_bytes);
    if (!names_master_key(sealed.wrapped_data_key, sealed.key_id, sealed.key_version)) {
        reader.refuse("dek",
                      "must be a wrapped data key of the master key version that \"kid\" names");
    }
    copy_exactly(sealed.commitment,
                 reader.required_base64("kc", commitment_bytes, commitment_bytes));
    copy_exactly(sealed.iv, reader.required_base64("iv", sealed_iv_bytes, sealed_iv_bytes));
    if (format == credential_format) {
        constexpr std::size_t size = std::tuple_size_v<AttributesDigest>;
        copy_exactly(sealed.attributes.emplace(), reader.required_base64("attributes", size, size));
    }
    sealed.ciphertext =
        reader.required_base64("ct", max_plaintext_bytes + sealed_tag_bytes, sealed_tag_bytes);
    reader.refuse_unknown();
    return sealed;
}

SealedCredential parse_given(const base::JsonValue& value) {
    const base::JsonValue* format = value.find(mark);
    const auto number = format == nullptr ? std::nullopt : format->integer();
    const bool is_credential = number == credential_format;
    if (!is_credential && number != value_format) {
        throw Error(ErrorCode::invalid_argument,
                    "\"value\" is sealed in another format: \"__enc\" must be 2");
    }
    if (is_credential) throw base::decryption_failed("given value: it is sealed as a credential");
    try {
        return parse_sealed(value);
    } catch (const Error& error) {
        throw base::decryption_failed("given value: " + error.message());
    }
}

SealedCredential parse_stored(std::string_view text) {
    try {
        return parse_sealed(base::parse_json(text, {.bytes = max_sealed_bytes, .depth = 1}));
    } catch (const Error& error) {
        throw base::decryption_failed("stored value: " + error.message());
    }
}

std::optional<MasterKeyVersion> master_key_of(base::ByteView wrapped) {
    if (wrapped.size() < wrapped_head_bytes) return std::nullopt;
    MasterKeyVersion named{base::Uuid::from_bytes(wrapped.subspan(wrapped_key_id_at)), 0};
    for (std::size_t i = wrapped_key_version_at; i < wrapped_head_bytes; ++i)
        named.version = named.version << 8U | wrapped[i];
    if (named.version == 0 || !names_master_key(wrapped, named.key_id, named.version))
        return std::nullopt;
    return named;
}

std::optional<MasterKeyVersion> named_master_key(std::string_view head) {
    constexpr std::array<std::string_view, 2> beginnings = {R"({"__enc":3,"kid":")",
                                                            R"({"__enc":2,"kid":")"};
    constexpr std::string_view before_dek = R"(","dek":")";
    constexpr std::size_t dek_chars = (wrapped_head_bytes + 2) / 3 * 4;  // whole groups of base64
    const auto* const before_kid =
        std::find_if(beginnings.begin(), beginnings.end(),
                     [head](std::string_view beginning) { return head.starts_with(beginning); });
    if (before_kid == beginnings.end()) return std::nullopt;
    head.remove_prefix(before_kid->size());
    const auto end = head.find(before_dek);
    SealedCredential named;
    if (end == std::string_view::npos || !parse_key_name(head.substr(0, end), named))
        return std::nullopt;
    const auto dek = base::parse_base64(head.substr(end + before_dek.size(), dek_chars));
    if (!dek || !names_master_key(*dek, named.key_id, named.key_version)) return std::nullopt;
    return MasterKeyVersion{named.key_id, named.key_version};
}

bool is_sealed(const base::JsonValue& value) { return value.find(mark) != nullptr; }

std::optional<base::JsonValue> sealed_in(const base::JsonValue& value) {
    if (is_sealed(value)) return value;
    const base::WipedString* held = value.string();
    if (held == nullptr) return std::nullopt;
    constexpr std::string_view beginning = R"({"__enc":)";
    std::string_view text = *held;
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (!text.starts_with('{')) return std::nullopt;
    try {
        auto inner = base::parse_json(text, {.bytes = max_sealed_bytes});
        if (is_sealed(inner)) return inner;
    } catch (const Error& error) {
        if (text.starts_with(beginning)) throw base::decryption_failed(error.message());
    }
    return std::nullopt;
}

}  // namespace vault
