// What the key service does with keys that sign or make MACs, whatever the dialect it is asked in.
// Every method takes the Grant that allows it. No HTTP, no JSON and no SQL in here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "hsm/token.h"
#include "kms/catalogue.h"
#include "kms/states.h"
#include "kms/usage.h"
#include "server/authorizer.h"

namespace kms {

inline constexpr std::size_t max_message_bytes = 64UL * 1024;

// What a key of that kind computes, as callers are told: "ECDSA_SHA_256", "ED25519",
// "RSA_PSS_SHA_256" (MGF1 with SHA-256, 32-byte salt), "HMAC_SHA_256"; empty for aes_256.
std::string_view algorithm_name(hsm::KeyKind kind) noexcept;

struct Signed {
    base::Bytes value;  // a signature in the form of hsm::Token::sign(), or a MAC
    std::uint32_t key_version = 0;
    std::string_view algorithm;
};

struct Verified {
    bool valid = false;
    std::uint32_t key_version = 0;  // that it is valid under; 0: under none
};

struct NamedPublicKey {
    base::Bytes public_key;  // SubjectPublicKeyInfo, DER
    std::uint32_t key_version = 0;
    std::string_view algorithm;
};

// Who asks, and with which right beside the grant's own.
struct SigningRequest {
    const server::Grant* grant = nullptr;  // not owned; for the action and the key
    base::Uuid key_id;
    bool may_use_compromised = false;  // the right use_compromised_key
};

// Thread-safe. Everything passed by reference must outlive it. Every method throws internal when
// the grant is for another action or key, not_found when there is no such key or version,
// failed_precondition when the key's kind or state forbids the work, invalid_argument for a message
// of more than max_message_bytes, and unavailable when the token does not answer, or when its key
// is missing or not the one that it was.
class KeySigning {
public:
    KeySigning(const Catalogue& catalogue, hsm::Token& token, UsageCounter& usage, base::Log& log)
        : catalogue_(catalogue), token_(token), usage_(usage), log_(log) {}

    // By the primary version. Grants: sign_action, mac_action.
    Signed sign(const SigningRequest& request, base::ByteView message);
    Signed mac(const SigningRequest& request, base::ByteView message);

    // Under the version that is named; under any, the newest first, when none is. A signature of a
    // wrong shape is not valid, and no error. Grants: verify_action, verify_mac_action.
    Verified verify(const SigningRequest& request, base::ByteView message, base::ByteView signature,
                    std::optional<std::uint32_t> version);
    Verified verify_mac(const SigningRequest& request, base::ByteView message, base::ByteView mac,
                        std::optional<std::uint32_t> version);

    // Of the primary version, unless another is named. Grant: get_public_key.
    NamedPublicKey public_key(const SigningRequest& request, std::optional<std::uint32_t> version);

private:
    // The key, when grant, kind and state allow the work.
    KeyPointer require_key(const SigningRequest& request, server::Action action, KeyUse use,
                           KeyOperation operation) const;
    // Those to verify under, newest first.
    static std::vector<const KeyVersion*> versions_to_try(const Key& key,
                                                          std::optional<std::uint32_t> version,
                                                          KeyOperation operation);
    // Runs `work`, which asks the token for this version's key; a key that the token lost, or has
    // another in the place of, is unavailable and logged.
    template <typename Work>
    auto with_token_key(const Key& key, const KeyVersion& version, Work&& work);
    // Throws unavailable, and logs it.
    [[noreturn]] void refuse_token_key(const Key& key, const KeyVersion& version,
                                       std::string_view why) const;
    void require_same_public_key(const Key& key, const KeyVersion& version);
    void require_same_mac_key(const Key& key, const KeyVersion& version);

    const Catalogue& catalogue_;
    hsm::Token& token_;
    UsageCounter& usage_;
    base::Log& log_;
};

}  // namespace kms
