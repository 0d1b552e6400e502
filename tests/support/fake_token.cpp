#include "tests/support/fake_token.h"

#include <botan/aead.h>

#include "base/error.h"
#include "base/random.h"

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

hsm::KeyAttributes attributes_of(std::string_view label, hsm::KeyProfile profile) {
    hsm::KeyAttributes attributes;
    attributes.label = label;
    attributes.token = attributes.private_object = attributes.sensitive = true;
    attributes.extractable = profile == hsm::KeyProfile::restorable;
    attributes.always_sensitive = attributes.local = true;
    attributes.never_extractable = profile == hsm::KeyProfile::sealed;
    attributes.encrypt = attributes.decrypt = true;
    attributes.wrap = attributes.unwrap = attributes.derive = false;
    attributes.sign = attributes.verify = false;
    attributes.modifiable = attributes.copyable = false;
    attributes.wrap_with_trusted = profile == hsm::KeyProfile::restorable;
    attributes.value_bytes = hsm::aes_key_bytes;
    attributes.key_type = "AES";
    attributes.mechanism = "CKM_AES_KEY_GEN";
    return attributes;
}

}  // namespace

void FakeToken::require_answer() const {
    if (is_away) throw base::Error(base::ErrorCode::unavailable, "the token does not answer");
}

const FakeToken::Entry& FakeToken::require(const hsm::KeyId& id) const {
    require_answer();
    const auto found = keys_.find(id);
    if (found == keys_.end()) {
        throw base::Error(base::ErrorCode::not_found, "there is no such key in the token");
    }
    return found->second;
}

hsm::TokenInfo FakeToken::info() const { return {"fake", "0", "tests", "fake", "none", false}; }

hsm::KeyAttributes FakeToken::generate_aes_key(const hsm::KeyId& id, std::string_view label,
                                               hsm::KeyProfile profile) {
    require_answer();
    if (fails_to_generate) throw base::Error(base::ErrorCode::unavailable, "no key was made");
    if (keys_.count(id) != 0) throw base::Error(base::ErrorCode::already_exists, "key is there");
    const auto attributes = attributes_of(label, profile);
    keys_[id] = {base::random_secret(hsm::aes_key_bytes), attributes};
    if (dies_after_generate) throw base::Error(base::ErrorCode::unavailable, "the answer is lost");
    make_durable(id);
    return attributes;
}

void FakeToken::make_durable(const hsm::KeyId& id) {
    static_cast<void>(require(id));
    if (fails_to_be_durable) {
        throw base::Error(base::ErrorCode::unavailable, "the key was not read back");
    }
}

void FakeToken::set_key(const hsm::KeyId& id, base::ByteView bytes) {
    keys_[id] = {base::SecretBytes(bytes), attributes_of("set", hsm::KeyProfile::sealed)};
}

base::SecretBytes FakeToken::key_bytes(const hsm::KeyId& id) const {
    return require(id).key.clone();
}

std::optional<hsm::KeyAttributes> FakeToken::find_key(const hsm::KeyId& id) {
    require_answer();
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
    keys_.erase(id);
}

hsm::Encrypted FakeToken::encrypt(const hsm::KeyId& id, base::ByteView aad,
                                  base::ByteView plaintext) {
    ++encrypt_calls;
    const Entry& entry = require(id);
    hsm::Encrypted encrypted;
    base::random_bytes(encrypted.iv);
    const auto text = run_gcm(encryption, entry.key.expose(), encrypted.iv, aad, plaintext);
    encrypted.ciphertext.assign(text.begin(), text.end());
    if (flips_a_bit) encrypted.ciphertext.front() ^= 1U;
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
        try {
            results.emplace_back(decrypt(item.key, item.iv, item.aad, item.ciphertext));
        } catch (const base::Error&) {
            results.emplace_back(std::nullopt);
        }
    }
    decrypt_calls = calls;
    return results;
}

void FakeToken::random(std::span<std::uint8_t> out) {
    require_answer();
    base::random_bytes(out);
}

void FakeToken::check() { require_answer(); }

}  // namespace tests
