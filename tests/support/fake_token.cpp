#include "tests/support/fake_token.h"

#include <botan/aead.h>
#include <botan/auto_rng.h>
#include <botan/mac.h>
#include <botan/pk_algs.h>
#include <botan/pk_keys.h>
#include <botan/pubkey.h>

#include "base/error.h"
#include "base/random.h"
#include "hsm/botan_names.h"
#include "hsm/public_key.h"

namespace tests {
namespace {

// The enumerators have other names in Botan 2 and 3; the values are the same.
constexpr auto encryption = static_cast<Botan::Cipher_Dir>(0);
constexpr auto decryption = static_cast<Botan::Cipher_Dir>(1);

Botan::secure_vector<std::uint8_t> run_gcm(Botan::Cipher_Dir direction, base::ByteView key,
                                           const hsm::Iv& iv, base::ByteView aad,
                                           base::ByteView input) {
    const auto mode = Botan::AEAD_Mode::create_or_throw("AES-256/GCM", direction);
    mode->set_key(key.data(), key.size());
    mode->set_associated_data(aad.data(), aad.size());
    mode->start(iv.data(), iv.size());
    Botan::secure_vector<std::uint8_t> text(input.begin(), input.end());
    mode->finish(text);
    return text;
}

// How Botan makes and uses each pair.
struct Scheme {
    hsm::KeyKind kind;
    std::string algorithm, parameters, padding, key_type, mechanism;
};

const Scheme& scheme_of(hsm::KeyKind kind) {
    using hsm::KeyKind;
    static const std::vector<Scheme> schemes{
        {KeyKind::ecdsa_p256, "ECDSA", "secp256r1", "EMSA1(SHA-256)", "EC", "CKM_EC_KEY_PAIR_GEN"},
        {KeyKind::ecdsa_p384, "ECDSA", "secp384r1", "EMSA1(SHA-384)", "EC", "CKM_EC_KEY_PAIR_GEN"},
        {KeyKind::ed25519, "Ed25519", "", "Pure", "EC_EDWARDS", "CKM_EC_EDWARDS_KEY_PAIR_GEN"},
        {KeyKind::rsa_pss_3072, "RSA", "3072", "EMSA4(SHA-256,MGF1,32)", "RSA",
         "CKM_RSA_PKCS_KEY_PAIR_GEN"},
        {KeyKind::rsa_pss_4096, "RSA", "4096", "EMSA4(SHA-256,MGF1,32)", "RSA",
         "CKM_RSA_PKCS_KEY_PAIR_GEN"}};
    for (const Scheme& each : schemes)
        if (each.kind == kind) return each;
    throw base::Error(base::ErrorCode::internal, "no pair of that kind");
}

hsm::KeyAttributes attributes_of(std::string_view label, hsm::KeyKind kind,
                                 hsm::KeyProfile profile) {
    hsm::KeyAttributes attributes;
    attributes.label = label;
    attributes.kind = kind;
    attributes.token = attributes.private_object = attributes.sensitive = true;
    attributes.extractable = profile == hsm::KeyProfile::restorable;
    attributes.always_sensitive = attributes.local = true;
    attributes.never_extractable = profile == hsm::KeyProfile::sealed;
    attributes.encrypt = attributes.decrypt = kind == hsm::KeyKind::aes_256;
    attributes.sign = kind != hsm::KeyKind::aes_256;
    attributes.verify = kind == hsm::KeyKind::hmac_sha_256;
    attributes.wrap = attributes.unwrap = attributes.derive = false;
    attributes.modifiable = attributes.copyable = false;
    attributes.wrap_with_trusted = profile == hsm::KeyProfile::restorable;
    if (hsm::is_pair(kind)) {
        attributes.key_type = scheme_of(kind).key_type;
        attributes.mechanism = scheme_of(kind).mechanism;
        hsm::PublicHalf half;
        half.token = half.private_object = half.local = half.verify = true;
        half.verify_recover = half.encrypt = half.wrap = half.derive = half.modifiable = false;
        attributes.public_half = half;
    } else {
        const bool is_aes = kind == hsm::KeyKind::aes_256;
        attributes.value_bytes = hsm::aes_key_bytes;
        attributes.key_type = is_aes ? "AES" : "GENERIC_SECRET";
        attributes.mechanism = is_aes ? "CKM_AES_KEY_GEN" : "CKM_GENERIC_SECRET_KEY_GEN";
    }
    return attributes;
}

}  // namespace

void FakeToken::require_answer() const {
    if (is_away) throw base::Error(base::ErrorCode::unavailable, "the token does not answer");
    if (refuses_service)
        throw base::Error(base::ErrorCode::failed_precondition, "the token needs an operator");
}

const FakeToken::Entry& FakeToken::require(const hsm::KeyId& id) const {
    require_answer();
    const auto found = keys_.find(id);
    if (found == keys_.end()) {
        throw base::Error(base::ErrorCode::not_found, "there is no such key in the token");
    }
    return found->second;
}

const FakeToken::Entry& FakeToken::require(const hsm::KeyId& id, hsm::KeyKind kind) const {
    const Entry& entry = require(id);
    if (entry.attributes.kind != kind)
        throw base::Error(base::ErrorCode::internal, "the key is of another kind");
    return entry;
}

hsm::TokenInfo FakeToken::info() const { return {"fake", "0", "tests", "fake", "none", false}; }

FakeToken::Entry FakeToken::make_entry(std::string_view label, hsm::KeyKind kind,
                                       hsm::KeyProfile profile) {
    Entry entry;
    entry.attributes = attributes_of(label, kind, profile);
    if (hsm::is_pair(kind)) {
        Botan::AutoSeeded_RNG rng;
        entry.pair =
            Botan::create_private_key(scheme_of(kind).algorithm, rng, scheme_of(kind).parameters);
    } else {
        entry.key = base::random_secret(hsm::aes_key_bytes);
    }
    return entry;
}

std::set<hsm::KeyKind> FakeToken::supported_kinds() {
    require_answer();
    std::set<hsm::KeyKind> kinds{hsm::all_key_kinds.begin(), hsm::all_key_kinds.end()};
    for (const hsm::KeyKind kind : lacks) kinds.erase(kind);
    return kinds;
}

hsm::KeyAttributes FakeToken::generate_key(const hsm::KeyId& id, std::string_view label,
                                           hsm::KeyKind kind, hsm::KeyProfile profile) {
    require_answer();
    if (fails_to_generate) throw base::Error(base::ErrorCode::unavailable, "no key was made");
    if (keys_.count(id) != 0) throw base::Error(base::ErrorCode::already_exists, "key is there");
    if (kind != hsm::KeyKind::aes_256 && profile != hsm::KeyProfile::sealed)
        throw base::Error(base::ErrorCode::invalid_argument, "such a key must be sealed");
    keys_[id] = make_entry(label, kind, profile);
    if (dies_after_generate) throw base::Error(base::ErrorCode::unavailable, "the answer is lost");
    try {
        make_durable(id);
    } catch (const base::Error& error) {
        throw base::Error(base::ErrorCode::unavailable, error.message());
    }
    return keys_[id].attributes;
}

void FakeToken::replace_key(const hsm::KeyId& id) {
    const hsm::KeyAttributes was = require(id).attributes;
    keys_[id] = make_entry(was.label, was.kind.value(), hsm::KeyProfile::sealed);
}

void FakeToken::make_durable(const hsm::KeyId& id) {
    static_cast<void>(require(id));
    if (fails_to_be_durable) {
        throw base::Error(base::ErrorCode::unavailable, "the key was not read back");
    }
    if (id == not_durable) {
        throw base::Error(base::ErrorCode::not_found, "a second process does not find the key");
    }
}

void FakeToken::set_key(const hsm::KeyId& id, base::ByteView bytes) {
    keys_[id] = {base::SecretBytes(bytes), nullptr,
                 attributes_of("set", hsm::KeyKind::aes_256, hsm::KeyProfile::sealed)};
}

base::SecretBytes FakeToken::key_bytes(const hsm::KeyId& id) const {
    return require(id).key.clone();
}

std::optional<hsm::KeyAttributes> FakeToken::find_key(const hsm::KeyId& id) {
    require_answer();
    if (id == several) throw base::Error(base::ErrorCode::internal, "several keys have the id");
    const auto found = keys_.find(id);
    if (found == keys_.end()) return std::nullopt;
    return found->second.attributes;
}

std::vector<hsm::KeyId> FakeToken::list_keys(std::size_t* unnamed_objects) {
    require_answer();
    if (unnamed_objects != nullptr) *unnamed_objects = 0;
    std::vector<hsm::KeyId> ids;
    for (const auto& [id, entry] : keys_) ids.push_back(id);
    return ids;
}

void FakeToken::destroy_key(const hsm::KeyId& id) {
    static_cast<void>(require(id));
    if (!keeps_the_destroyed) keys_.erase(id);
}

hsm::Encrypted FakeToken::encrypt(const hsm::KeyId& id, base::ByteView aad,
                                  base::ByteView plaintext) {
    ++encrypt_calls;
    const Entry& entry = require(id);
    hsm::Encrypted encrypted;
    base::random_bytes(encrypted.iv);
    const auto text = run_gcm(encryption, entry.key.expose(), encrypted.iv, aad, plaintext);
    encrypted.ciphertext.assign(text.begin(), text.end());
    if (flips_a_bit || flips_left > 0) encrypted.ciphertext.front() ^= 1U;
    if (flips_left > 0) --flips_left;
    return encrypted;
}

std::vector<std::optional<hsm::Encrypted>> FakeToken::encrypt_many(
    std::span<const hsm::EncryptItem> items) {
    require_answer();
    const std::size_t calls = encrypt_calls + 1;
    std::vector<std::optional<hsm::Encrypted>> results;
    for (const auto& item : items) {
        if (keys_.count(item.key) == 0) {
            results.emplace_back(std::nullopt);
        } else {
            results.emplace_back(encrypt(item.key, item.aad, item.plaintext));
        }
    }
    encrypt_calls = calls;
    return results;
}

base::SecretBytes FakeToken::decrypt(const hsm::KeyId& id, const hsm::Iv& iv, base::ByteView aad,
                                     base::ByteView ciphertext) {
    ++decrypt_calls;
    const Entry& entry = require(id);
    try {
        const auto text = run_gcm(decryption, entry.key.expose(), iv, aad, ciphertext);
        return base::SecretBytes(base::ByteView(text.data(), text.size()));
    } catch (const Botan::Exception&) {
        throw base::decryption_failed();
    }
}

std::vector<std::optional<base::SecretBytes>> FakeToken::decrypt_many(
    std::span<const hsm::DecryptItem> items) {
    require_answer();
    const std::size_t calls = decrypt_calls + 1;
    std::vector<std::optional<base::SecretBytes>> results;
    for (const auto& item : items) {
        if (item.key == spoilt) {
            throw base::Error(base::ErrorCode::unavailable, "the token has another key");
        }
        try {
            results.emplace_back(decrypt(item.key, item.iv, item.aad, item.ciphertext));
        } catch (const base::Error&) {
            results.emplace_back(std::nullopt);
        }
    }
    decrypt_calls = calls;
    return results;
}

base::Bytes FakeToken::public_key(const hsm::KeyId& id) {
    const Entry& entry = require(id);
    if (!entry.pair) throw base::Error(base::ErrorCode::internal, "the key has no public half");
    return entry.pair->subject_public_key();
}

base::Bytes FakeToken::sign(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message) {
    const Entry& entry = require(id, kind);
    const bool is_ecdsa = scheme_of(kind).algorithm == "ECDSA";
    Botan::AutoSeeded_RNG rng;
    Botan::PK_Signer signer(*entry.pair, rng, scheme_of(kind).padding,
                            is_ecdsa ? hsm::der_signature : hsm::plain_signature);
    base::Bytes signature = signer.sign_message(message.data(), message.size(), rng);
    if (flips_a_bit) signature.back() ^= 1U;
    return signature;
}

bool FakeToken::verify(const hsm::KeyId& id, hsm::KeyKind kind, base::ByteView message,
                       base::ByteView signature) {
    require(id, kind);
    return hsm::verify_signature(kind, public_key(id), message, signature);
}

base::Bytes FakeToken::mac(const hsm::KeyId& id, base::ByteView message) {
    const Entry& entry = require(id, hsm::KeyKind::hmac_sha_256);
    const auto hmac = Botan::MessageAuthenticationCode::create_or_throw("HMAC(SHA-256)");
    hmac->set_key(entry.key.expose().data(), entry.key.size());
    hmac->update(message.data(), message.size());
    base::Bytes tag(hmac->output_length());
    hmac->final(tag.data());
    if (flips_a_bit) tag.back() ^= 1U;
    return tag;
}

bool FakeToken::verify_mac(const hsm::KeyId& id, base::ByteView message, base::ByteView mac) {
    return base::equal_constant_time(this->mac(id, message), mac);
}

bool FakeToken::hold_to(const hsm::KeyId& id, const hsm::KeyEvidence& known) {
    require_answer();
    const auto kind = require(id).attributes.kind.value();
    if ((known.use == hsm::KeyUse::is_pair) != hsm::is_pair(kind)) return false;
    if (known.use == hsm::KeyUse::is_pair) return public_key(id) == known.answer.ciphertext;
    if ((known.use == hsm::KeyUse::encrypts) != (kind == hsm::KeyKind::aes_256)) return false;
    if (known.use == hsm::KeyUse::makes_macs) return mac(id, known.text) == known.answer.ciphertext;
    try {
        return decrypt(id, known.answer.iv, known.aad, known.answer.ciphertext).equals(known.text);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::integrity_failure) throw;
        return false;
    }
}

void FakeToken::random(std::span<std::uint8_t> out) {
    require_answer();
    base::random_bytes(out);
}

void FakeToken::check() { require_answer(); }

}  // namespace tests
