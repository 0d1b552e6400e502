#include "kms/signing.h"

#include <algorithm>

#include "base/error.h"
#include "kms/actions.h"
#include "kms/grants.h"
#include "kms/known_answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

void require_size(base::ByteView message) {
    if (message.size() <= max_message_bytes) return;
    throw Error(ErrorCode::invalid_argument, "a message has at most 65536 bytes; sign its digest");
}

// Only a version whose token key is there can do anything. The key's own state was judged before,
// by the caller's rights.
const KeyVersion& require_version(const Key& key, std::uint32_t number, KeyOperation operation) {
    const KeyVersion* version = key.find_version(number);
    if (version == nullptr) throw Error(ErrorCode::not_found, "the key has no such version");
    require_permitted(key, *version, operation, true);
    return *version;
}

}  // namespace

std::string_view algorithm_name(hsm::KeyKind kind) noexcept {
    switch (kind) {
        case hsm::KeyKind::hmac_sha_256:
            return "HMAC_SHA_256";
        case hsm::KeyKind::ecdsa_p256:
            return "ECDSA_SHA_256";
        case hsm::KeyKind::ecdsa_p384:
            return "ECDSA_SHA_384";
        case hsm::KeyKind::ed25519:
            return "ED25519";
        case hsm::KeyKind::rsa_pss_3072:
        case hsm::KeyKind::rsa_pss_4096:
            return "RSA_PSS_SHA_256";
        case hsm::KeyKind::aes_256:
            break;
    }
    return {};
}

KeyPointer KeySigning::require_key(const SigningRequest& request, server::Action action, KeyUse use,
                                   KeyOperation operation) const {
    require_grant(*request.grant, action, request.key_id.to_string());
    KeyPointer key = catalogue_.snapshot()->find(request.key_id);
    if (key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    if (key->use() != use) {
        base::refuse("the key is of kind " + std::string(hsm::to_string(key->kind)) +
                     ", which forbids " + std::string(to_string(operation)));
    }
    require_permitted(*key, operation, request.may_use_compromised);
    return key;
}

std::vector<const KeyVersion*> KeySigning::versions_to_try(const Key& key,
                                                           std::optional<std::uint32_t> version,
                                                           KeyOperation operation) {
    if (version) return {&require_version(key, *version, operation)};
    std::vector<const KeyVersion*> versions;
    for (const auto& each : key.versions) {
        if (each.state == KeyState::enabled) versions.push_back(&each);
    }
    std::reverse(versions.begin(), versions.end());
    return versions;
}

void KeySigning::refuse_token_key(const Key& key, const KeyVersion& version,
                                  std::string_view why) const {
    log_.error("a master key can't be used",
               {{"key_id", key.id.to_string()},
                {"key_version", static_cast<std::int64_t>(version.version)},
                {"proof", std::string(why)}});
    throw Error(ErrorCode::unavailable, "the master key can't be used at the moment",
                "key " + key.id.to_string() + ": the token's key is " + std::string(why));
}

template <typename Work>
auto KeySigning::with_token_key(const Key& key, const KeyVersion& version, Work&& work) {
    try {
        return work();
    } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
    }
    refuse_token_key(key, version, to_string(KeyProof::missing));
}

// The token has proven that it signs under this public key; so has it the right one?
void KeySigning::require_same_public_key(const Key& key, const KeyVersion& version) {
    const base::Bytes has = token_.public_key(version.token_key_id);
    const base::ByteView expected = public_key_of(version);
    if (!std::equal(has.begin(), has.end(), expected.begin(), expected.end()))
        refuse_token_key(key, version, to_string(KeyProof::different));
}

void KeySigning::require_same_mac_key(const Key& key, const KeyVersion& version) {
    const KeyProof proof = prove_key(token_, key, version);
    if (proof != KeyProof::proven) refuse_token_key(key, version, to_string(proof));
}

Signed KeySigning::sign(const SigningRequest& request, base::ByteView message) {
    const KeyPointer key = require_key(request, sign_action, KeyUse::sign, KeyOperation::sign);
    require_size(message);
    const KeyVersion& version = require_version(*key, key->primary_version, KeyOperation::sign);
    return with_token_key(*key, version, [&] {
        require_same_public_key(*key, version);
        usage_.note(key->id, version.version);
        return Signed{token_.sign(version.token_key_id, key->kind, message), version.version,
                      algorithm_name(key->kind)};
    });
}

Verified KeySigning::verify(const SigningRequest& request, base::ByteView message,
                            base::ByteView signature, std::optional<std::uint32_t> version) {
    const KeyPointer key = require_key(request, verify_action, KeyUse::sign, KeyOperation::verify);
    require_size(message);
    for (const KeyVersion* each : versions_to_try(*key, version, KeyOperation::verify)) {
        const bool valid = with_token_key(*key, *each, [&] {
            require_same_public_key(*key, *each);
            usage_.note(key->id, each->version);
            return token_.verify(each->token_key_id, key->kind, message, signature);
        });
        if (valid) return {true, each->version};
    }
    return {};
}

NamedPublicKey KeySigning::public_key(const SigningRequest& request,
                                      std::optional<std::uint32_t> version) {
    const KeyPointer key =
        require_key(request, get_public_key, KeyUse::sign, KeyOperation::public_key);
    const KeyVersion& wanted =
        require_version(*key, version.value_or(key->primary_version), KeyOperation::public_key);
    return with_token_key(*key, wanted, [&] {
        require_same_public_key(*key, wanted);
        return NamedPublicKey{base::to_bytes(public_key_of(wanted)), wanted.version,
                              algorithm_name(key->kind)};
    });
}

Signed KeySigning::mac(const SigningRequest& request, base::ByteView message) {
    const KeyPointer key = require_key(request, mac_action, KeyUse::mac, KeyOperation::mac);
    require_size(message);
    const KeyVersion& version = require_version(*key, key->primary_version, KeyOperation::mac);
    return with_token_key(*key, version, [&] {
        require_same_mac_key(*key, version);
        usage_.note(key->id, version.version);
        return Signed{token_.mac(version.token_key_id, message), version.version,
                      algorithm_name(key->kind)};
    });
}

Verified KeySigning::verify_mac(const SigningRequest& request, base::ByteView message,
                                base::ByteView mac, std::optional<std::uint32_t> version) {
    const KeyPointer key =
        require_key(request, verify_mac_action, KeyUse::mac, KeyOperation::verify_mac);
    require_size(message);
    for (const KeyVersion* each : versions_to_try(*key, version, KeyOperation::verify_mac)) {
        const bool valid = with_token_key(*key, *each, [&] {
            require_same_mac_key(*key, *each);
            usage_.note(key->id, each->version);
            return token_.verify_mac(each->token_key_id, message, mac);
        });
        if (valid) return {true, each->version};
    }
    return {};
}

}  // namespace kms
