#include "kms/known_answer.h"

#include <utility>

#include "base/error.h"
#include "hsm/public_key.h"

namespace kms {
namespace {

constexpr std::string_view known_words = "strongroom master key known answer";
constexpr std::string_view aad_prefix = "strongroom known answer 1";

// What is signed or gets a MAC: there is no AAD then.
base::Bytes question(const base::Bytes& aad) {
    base::Bytes text = aad;
    text.insert(text.end(), known_words.begin(), known_words.end());
    return text;
}

bool fits(hsm::Token& token, const Key& key, const KeyVersion& version) {
    const base::Bytes aad = known_answer_aad(key.id, version.version);
    const base::Bytes& answer = version.known_answer.ciphertext;
    switch (key.use()) {
        case KeyUse::encrypt:
            return token.decrypt(version.token_key_id, version.known_answer.iv, aad, answer)
                .equals(known_plaintext());
        case KeyUse::mac:
            return token.verify_mac(version.token_key_id, question(aad), answer);
        case KeyUse::sign:
            break;
    }
    const base::Bytes text = question(aad);
    return hsm::verify_signature(key.kind, answer, text,
                                 token.sign(version.token_key_id, key.kind, text));
}

hsm::KeyEvidence evidence_of(const Key& key, const KeyVersion& version) {
    base::Bytes aad = known_answer_aad(key.id, version.version);
    switch (key.use()) {
        case KeyUse::encrypt:
            return {hsm::KeyUse::encrypts, version.known_answer, base::to_bytes(known_plaintext()),
                    std::move(aad)};
        case KeyUse::mac:
            return {hsm::KeyUse::makes_macs, version.known_answer, question(aad)};
        case KeyUse::sign:
            break;
    }
    return {hsm::KeyUse::is_pair, version.known_answer};
}

template <typename Question>
KeyProof judge(Question&& is_right) {
    try {
        return is_right() ? KeyProof::proven : KeyProof::different;
    } catch (const base::Error& error) {
        if (error.code() == base::ErrorCode::not_found) return KeyProof::missing;
        // internal: a key of another kind, or a pair whose halves don't fit to each other.
        if (error.code() == base::ErrorCode::integrity_failure ||
            error.code() == base::ErrorCode::internal) {
            return KeyProof::different;
        }
        throw;
    }
}

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

base::ByteView known_plaintext() noexcept { return base::as_bytes(known_words); }

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

hsm::Encrypted make_known_answer(hsm::Token& token, const Key& key, const KeyVersion& version) {
    const base::Bytes aad = known_answer_aad(key.id, version.version);
    switch (key.use()) {
        case KeyUse::encrypt:
            return token.encrypt(version.token_key_id, aad, known_plaintext());
        case KeyUse::mac:
            return {{}, token.mac(version.token_key_id, question(aad))};
        case KeyUse::sign:
            break;
    }
    return {{}, token.public_key(version.token_key_id)};
}

KeyProof hold_to_known_answer(hsm::Token& token, const Key& key, const KeyVersion& version) {
    if (version.known_answer.ciphertext.empty()) return KeyProof::different;
    return judge([&] { return token.hold_to(version.token_key_id, evidence_of(key, version)); });
}

KeyProof prove_key(hsm::Token& token, const Key& key, const KeyVersion& version) {
    const KeyProof proof = judge([&] { return fits(token, key, version); });
    // The answer stays that of the key that was in use when the caller's use failed, also when the
    // token has the right one, too, and uses that from now on.
    if (proof == KeyProof::different) hold_to_known_answer(token, key, version);
    return proof;
}

base::ByteView public_key_of(const KeyVersion& version) noexcept {
    return version.known_answer.ciphertext;
}

}  // namespace kms
