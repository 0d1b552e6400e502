#include "server/checkpoint.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/encoding.h"
#include "base/error.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view signature_start = "\xE2\x80\x94 ";  // em dash, space
constexpr std::size_t max_signatures = 16;
constexpr std::size_t max_note_bytes = 64UL * 1024;
constexpr std::size_t key_id_bytes = 4;
constexpr std::size_t ed25519_bytes = 32;

struct FreeNoteObject {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
    void operator()(BIO* bio) const { BIO_free(bio); }
};

[[noreturn]] void no_note(const char* why) {
    throw Error(ErrorCode::invalid_argument, std::string("no signed note: ") + why);
}

[[noreturn]] void no_checkpoint(const char* why) {
    throw Error(ErrorCode::invalid_argument, std::string("no checkpoint: ") + why);
}

std::uint32_t first_four(const MerkleHash& digest) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < key_id_bytes; ++i) value = value << 8U | digest.at(i);
    return value;
}

// Takes the text up to the next line end off `rest`.
std::string_view take_line(std::string_view& rest) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return std::exchange(rest, {});
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return line;
}

bool is_key_name(std::string_view name) {
    return !name.empty() && name.find_first_of(" +\t") == std::string_view::npos;
}

NoteSignature parse_signature(std::string_view line) {
    if (!line.starts_with(signature_start)) no_note("a signature line does not begin with a dash");
    line.remove_prefix(signature_start.size());
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) no_note("a signature line has no signature");
    const auto bytes = base::parse_base64(line.substr(space + 1));
    if (!bytes || bytes->size() <= key_id_bytes) no_note("a signature is not base64");
    NoteSignature signature;
    signature.name = line.substr(0, space);
    if (!is_key_name(signature.name)) no_note("a signature line has no name");
    for (std::size_t i = 0; i < key_id_bytes; ++i) {
        signature.key_id = signature.key_id << 8U | (*bytes)[i];
    }
    signature.signature.assign(bytes->begin() + key_id_bytes, bytes->end());
    return signature;
}

// As DER SubjectPublicKeyInfo; empty when it can't be.
base::Bytes encode(EVP_PKEY& key) {
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(&key, &der);
    if (size <= 0) return {};
    base::Bytes bytes(der, der + size);
    OPENSSL_free(der);
    return bytes;
}

}  // namespace

std::string checkpoint_text(const Checkpoint& checkpoint) {
    return checkpoint.origin + '\n' + std::to_string(checkpoint.size) + '\n' +
           base::to_base64(checkpoint.root) + '\n';
}

Checkpoint parse_checkpoint_text(std::string_view text) {
    Checkpoint checkpoint;
    checkpoint.origin = take_line(text);
    if (checkpoint.origin.empty()) no_checkpoint("the origin is empty");
    const std::string_view size = take_line(text);
    const auto [end, error] =
        std::from_chars(size.data(), size.data() + size.size(), checkpoint.size);
    if (error != std::errc() || end != size.data() + size.size() ||
        std::to_string(checkpoint.size) != size) {
        no_checkpoint("the size is no number");
    }
    // take_line also takes a last line without its end; a checkpoint's lines all have one
    if (text.find('\n') == std::string_view::npos) no_checkpoint("the root's line has no end");
    const auto root = base::parse_base64(take_line(text));
    if (!root || root->size() != checkpoint.root.size()) no_checkpoint("the root is no hash");
    std::copy(root->begin(), root->end(), checkpoint.root.begin());
    return checkpoint;
}

std::string checkpoint_head(const Checkpoint& checkpoint) {
    return checkpoint.origin + ' ' + std::to_string(checkpoint.size) + ' ' +
           base::to_base64(checkpoint.root);
}

std::optional<Checkpoint> parse_checkpoint_head(std::string_view head) {
    const std::size_t last = head.rfind(' ');
    const std::size_t first = last == std::string_view::npos ? last : head.rfind(' ', last - 1);
    if (first == std::string_view::npos || first == 0) return std::nullopt;
    Checkpoint checkpoint;
    checkpoint.origin = head.substr(0, first);
    const std::string_view size = head.substr(first + 1, last - first - 1);
    const auto [end, error] =
        std::from_chars(size.data(), size.data() + size.size(), checkpoint.size);
    const auto root = base::parse_base64(head.substr(last + 1));
    if (error != std::errc() || end != size.data() + size.size() || !root ||
        root->size() != checkpoint.root.size()) {
        return std::nullopt;
    }
    std::copy(root->begin(), root->end(), checkpoint.root.begin());
    if (checkpoint_head(checkpoint) != head) return std::nullopt;
    return checkpoint;
}

Note parse_note(std::string_view note) {
    if (note.size() > max_note_bytes) no_note("it is too long");
    if (!base::is_utf8(note)) no_note("it is no UTF-8");
    const auto forbidden = [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\n'; };
    if (std::any_of(note.begin(), note.end(), forbidden)) no_note("it has control characters");
    const std::size_t blank = note.rfind("\n\n");
    if (blank == std::string_view::npos) no_note("it has no empty line");
    Note result;
    result.text = note.substr(0, blank + 1);
    std::string_view lines = note.substr(blank + 2);
    if (!lines.ends_with('\n')) no_note("its last line has no end");
    while (!lines.empty()) {
        if (result.signatures.size() == max_signatures) no_note("it has too many signatures");
        result.signatures.push_back(parse_signature(take_line(lines)));
    }
    return result;
}

struct NoteKey::Key {
    std::unique_ptr<EVP_PKEY, FreeNoteObject> key;
    NoteAlgorithm algorithm = NoteAlgorithm::ed25519;
    base::Bytes spki;
};

NoteKey::NoteKey(std::unique_ptr<Key> key) : key_(std::move(key)) {}
NoteKey::~NoteKey() = default;
NoteKey::NoteKey(NoteKey&& other) noexcept = default;
NoteKey& NoteKey::operator=(NoteKey&& other) noexcept = default;

NoteKey NoteKey::from_der(base::ByteView spki) {
    auto made = std::make_unique<Key>();
    const unsigned char* at = spki.data();
    made->key.reset(d2i_PUBKEY(nullptr, &at, static_cast<long>(spki.size())));
    // The key id is a hash of these bytes, so the same key must not be spelled in two ways.
    if (!made->key || encode(*made->key) != base::to_bytes(spki)) {
        throw Error(ErrorCode::invalid_argument, "this is no public key");
    }
    if (EVP_PKEY_is_a(made->key.get(), "ED25519") == 1) {
        made->algorithm = NoteAlgorithm::ed25519;
    } else {
        std::array<char, 64> group{};
        if (EVP_PKEY_is_a(made->key.get(), "EC") != 1 ||
            EVP_PKEY_get_group_name(made->key.get(), group.data(), group.size(), nullptr) != 1 ||
            std::string_view(group.data()) != "prime256v1") {
            throw Error(ErrorCode::invalid_argument,
                        "checkpoints are signed with Ed25519 or ECDSA P-256; this key is neither");
        }
        made->algorithm = NoteAlgorithm::ecdsa_p256;
    }
    made->spki = base::to_bytes(spki);
    return NoteKey(std::move(made));
}

NoteKey NoteKey::from_pem(std::string_view pem) {
    const std::unique_ptr<BIO, FreeNoteObject> bio(
        BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    const std::unique_ptr<EVP_PKEY, FreeNoteObject> key(
        bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
    const base::Bytes spki = key ? encode(*key) : base::Bytes();
    if (spki.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "this is no public key in PEM (\"-----BEGIN PUBLIC KEY-----\")");
    }
    return from_der(spki);
}

NoteAlgorithm NoteKey::algorithm() const { return key_->algorithm; }

std::uint32_t NoteKey::key_id(std::string_view name) const {
    using namespace std::string_view_literals;
    Sha256 sha256;
    const std::string_view spki = base::as_text(key_->spki);
    if (key_->algorithm == NoteAlgorithm::ecdsa_p256) return first_four(sha256.digest(spki));
    return first_four(
        sha256.digest_parts({name, "\n\x01"sv, spki.substr(spki.size() - ed25519_bytes)}));
}

bool NoteKey::verify(const Note& note, std::string_view name) const {
    const EVP_MD* const digest =
        key_->algorithm == NoteAlgorithm::ecdsa_p256 ? EVP_sha256() : nullptr;
    const std::uint32_t id = key_id(name);
    bool verified = false;
    for (const NoteSignature& signature : note.signatures) {
        if (signature.name != name || signature.key_id != id) continue;
        const std::unique_ptr<EVP_MD_CTX, FreeNoteObject> context(EVP_MD_CTX_new());
        const base::ByteView text = base::as_bytes(note.text);
        if (!context ||
            EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key_->key.get()) != 1 ||
            EVP_DigestVerify(context.get(), signature.signature.data(), signature.signature.size(),
                             text.data(), text.size()) != 1) {
            return false;
        }
        verified = true;
    }
    return verified;
}

std::string NoteKey::verifier_key(std::string_view name) const {
    const std::uint32_t id = key_id(name);
    base::Bytes bytes{static_cast<std::uint8_t>(key_->algorithm)};
    const std::size_t skipped =
        key_->algorithm == NoteAlgorithm::ed25519 ? key_->spki.size() - ed25519_bytes : 0;
    bytes.insert(bytes.end(), key_->spki.begin() + static_cast<std::ptrdiff_t>(skipped),
                 key_->spki.end());
    base::Bytes id_bytes;
    for (unsigned shift = 32; shift > 0; shift -= 8) {
        id_bytes.push_back(static_cast<std::uint8_t>(id >> (shift - 8)));
    }
    return std::string(name) + '+' + base::to_hex(id_bytes) + '+' + base::to_base64(bytes);
}

const base::Bytes& NoteKey::to_der() const { return key_->spki; }

std::string NoteKey::to_pem() const {
    const std::unique_ptr<BIO, FreeNoteObject> bio(BIO_new(BIO_s_mem()));
    char* text = nullptr;
    if (!bio || PEM_write_bio_PUBKEY(bio.get(), key_->key.get()) != 1) {
        throw Error(ErrorCode::internal, "internal error", "the public key can't be written");
    }
    const long size = BIO_get_mem_data(bio.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

std::string sign_checkpoint(const Checkpoint& checkpoint, CheckpointSigner& signer) {
    if (!is_key_name(checkpoint.origin)) no_checkpoint("the origin can't be a key's name");
    const NoteKey key = NoteKey::from_der(signer.public_key());
    Note note;
    note.text = checkpoint_text(checkpoint);
    note.signatures.push_back(
        {checkpoint.origin, key.key_id(checkpoint.origin), signer.sign(note.text)});
    if (!key.verify(note, checkpoint.origin)) {
        throw Error(ErrorCode::internal, "internal error",
                    "the signer's signature does not verify under its own public key");
    }
    base::Bytes bytes;
    for (unsigned shift = 32; shift > 0; shift -= 8) {
        bytes.push_back(static_cast<std::uint8_t>(note.signatures[0].key_id >> (shift - 8)));
    }
    const base::Bytes& signature = note.signatures[0].signature;
    bytes.insert(bytes.end(), signature.begin(), signature.end());
    return note.text + '\n' + std::string(signature_start) + checkpoint.origin + ' ' +
           base::to_base64(bytes) + '\n';
}

Checkpoint open_checkpoint(std::string_view note, const NoteKey& key) {
    try {
        const Note parsed = parse_note(note);
        Checkpoint checkpoint = parse_checkpoint_text(parsed.text);
        if (key.verify(parsed, checkpoint.origin)) return checkpoint;
    } catch (const Error& error) {
        throw Error(ErrorCode::integrity_failure, error.message());
    }
    throw Error(ErrorCode::integrity_failure, "the checkpoint's signature does not verify");
}

}  // namespace server
