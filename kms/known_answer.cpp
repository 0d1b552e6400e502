#include "kms/known_answer.h"

#include "base/error.h"

namespace kms {
namespace {

constexpr std::string_view plaintext = "strongroom master key known answer";
constexpr std::string_view aad_prefix = "strongroom known answer 1";

}  // namespace

std::string_view to_string(KeyProof proof) noexcept {
    switch (proof) {
        case KeyProof::proven:
            return "proven";
        case KeyProof::missing:
            return "missing";
        case KeyProof::different:
            return "different";
    }
    return "missing";
}

base::ByteView known_plaintext() noexcept { return base::as_bytes(plaintext); }

base::Bytes known_answer_aad(const base::Uuid& key_id, std::uint32_t version) {
    base::Bytes aad;
    aad.reserve(aad_prefix.size() + key_id.bytes().size() + sizeof(version));
    aad.assign(aad_prefix.begin(), aad_prefix.end());
    aad.insert(aad.end(), key_id.bytes().begin(), key_id.bytes().end());
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        aad.push_back(static_cast<std::uint8_t>(version >> shift));
    }
    return aad;
}

hsm::Encrypted make_known_answer(hsm::Token& token, const base::Uuid& key_id,
                                 const KeyVersion& version) {
    return token.encrypt(version.token_key_id, known_answer_aad(key_id, version.version),
                         known_plaintext());
}

KeyProof prove_key(hsm::Token& token, const base::Uuid& key_id, const KeyVersion& version) {
    try {
        const base::SecretBytes opened = token.decrypt(
            version.token_key_id, version.known_answer.iv,
            known_answer_aad(key_id, version.version), version.known_answer.ciphertext);
        return opened.equals(known_plaintext()) ? KeyProof::proven : KeyProof::different;
    } catch (const base::Error& error) {
        if (error.code() == base::ErrorCode::not_found) return KeyProof::missing;
        if (error.code() == base::ErrorCode::integrity_failure) return KeyProof::different;
        throw;
    }
}

}  // namespace kms
