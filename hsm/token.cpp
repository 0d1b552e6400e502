#include "hsm/token.h"

namespace hsm {
namespace {

enum class Knowledge { required, when_known };

class Comparison {
public:
    void flag(std::string_view name, const std::optional<bool>& is, bool should_be,
              Knowledge knowledge = Knowledge::required) {
        if (is == should_be || (!is && knowledge == Knowledge::when_known)) return;
        complain(name, !is ? "unknown" : (*is ? "true" : "false"));
    }
    void complain(std::string_view name, std::string_view value) {
        complaints_.push_back(std::string(name) + " is " + std::string(value));
    }
    std::vector<std::string> take() { return std::move(complaints_); }

private:
    std::vector<std::string> complaints_;
};

// That it can't leave but as the profile says, and can't be made weaker.
void compare_protection(Comparison& comparison, const KeyAttributes& is, KeyProfile profile) {
    const bool restorable = profile == KeyProfile::restorable;
    comparison.flag("token", is.token, true);
    comparison.flag("private", is.private_object, true);
    comparison.flag("sensitive", is.sensitive, true);
    comparison.flag("always_sensitive", is.always_sensitive, true);
    comparison.flag("extractable", is.extractable, restorable);
    comparison.flag("never_extractable", is.never_extractable, !restorable);
    comparison.flag("local", is.local, true, Knowledge::when_known);
    comparison.flag("modifiable", is.modifiable, false);
    comparison.flag("copyable", is.copyable, false, Knowledge::when_known);
    comparison.flag("destroyable", is.destroyable, true, Knowledge::when_known);
    comparison.flag("wrap_with_trusted", is.wrap_with_trusted, restorable,
                    restorable ? Knowledge::required : Knowledge::when_known);
}

// That it does the work of its kind and nothing else. A private key has no attribute for what only
// a public one does.
void compare_uses(Comparison& comparison, const KeyAttributes& is, KeyKind kind) {
    const bool encrypts = kind == KeyKind::aes_256;
    const bool macs = kind == KeyKind::hmac_sha_256;
    const Knowledge public_use = is_pair(kind) ? Knowledge::when_known : Knowledge::required;
    comparison.flag("decrypt", is.decrypt, encrypts);
    comparison.flag("sign", is.sign, !encrypts);
    comparison.flag("unwrap", is.unwrap, false);
    comparison.flag("derive", is.derive, false);
    comparison.flag("encrypt", is.encrypt, encrypts, public_use);
    comparison.flag("verify", is.verify, macs, public_use);
    comparison.flag("wrap", is.wrap, false, public_use);
    comparison.flag("sign_recover", is.sign_recover, false, Knowledge::when_known);
}

void compare_public_half(Comparison& comparison, const PublicHalf& is) {
    comparison.flag("public token", is.token, true);
    comparison.flag("public verify", is.verify, true);
    comparison.flag("public verify_recover", is.verify_recover, false, Knowledge::when_known);
    comparison.flag("public encrypt", is.encrypt, false);
    comparison.flag("public wrap", is.wrap, false);
    comparison.flag("public derive", is.derive, false, Knowledge::when_known);
    comparison.flag("public modifiable", is.modifiable, false);
    comparison.flag("public copyable", is.copyable, false, Knowledge::when_known);
    comparison.flag("public destroyable", is.destroyable, true, Knowledge::when_known);
    comparison.flag("public local", is.local, true, Knowledge::when_known);
}

void compare_size(Comparison& comparison, const KeyAttributes& is, std::size_t bytes) {
    if (is.value_bytes == bytes) return;
    comparison.complain("value_bytes",
                        is.value_bytes ? std::to_string(*is.value_bytes) : "unknown");
}

std::string_view generation_mechanism(KeyKind kind) noexcept {
    switch (kind) {
        case KeyKind::aes_256:
            return "CKM_AES_KEY_GEN";
        case KeyKind::hmac_sha_256:
            return "CKM_GENERIC_SECRET_KEY_GEN";
        case KeyKind::ecdsa_p256:
        case KeyKind::ecdsa_p384:
            return "CKM_EC_KEY_PAIR_GEN";
        case KeyKind::ed25519:
            return "CKM_EC_EDWARDS_KEY_PAIR_GEN";
        case KeyKind::rsa_pss_3072:
        case KeyKind::rsa_pss_4096:
            return "CKM_RSA_PKCS_KEY_PAIR_GEN";
    }
    return {};
}

}  // namespace

std::string_view to_string(KeyProfile profile) noexcept {
    switch (profile) {
        case KeyProfile::sealed:
            return "sealed";
        case KeyProfile::restorable:
            return "restorable";
    }
    return "sealed";
}

std::optional<KeyProfile> parse_key_profile(std::string_view text) noexcept {
    for (const KeyProfile profile : {KeyProfile::sealed, KeyProfile::restorable}) {
        if (text == to_string(profile)) return profile;
    }
    return std::nullopt;
}

std::string_view to_string(KeyKind kind) noexcept {
    switch (kind) {
        case KeyKind::aes_256:
            return "aes_256";
        case KeyKind::hmac_sha_256:
            return "hmac_sha_256";
        case KeyKind::ecdsa_p256:
            return "ecdsa_p256";
        case KeyKind::ecdsa_p384:
            return "ecdsa_p384";
        case KeyKind::ed25519:
            return "ed25519";
        case KeyKind::rsa_pss_3072:
            return "rsa_pss_3072";
        case KeyKind::rsa_pss_4096:
            return "rsa_pss_4096";
    }
    return "aes_256";
}

std::optional<KeyKind> parse_key_kind(std::string_view text) noexcept {
    for (const KeyKind kind : all_key_kinds) {
        if (text == to_string(kind)) return kind;
    }
    return std::nullopt;
}

std::vector<std::string> differences_from_profile(const KeyAttributes& attributes,
                                                  KeyProfile profile, KeyKind kind) {
    Comparison comparison;
    compare_protection(comparison, attributes, profile);
    compare_uses(comparison, attributes, kind);
    if (attributes.kind != kind) {
        comparison.complain("kind", attributes.kind ? to_string(*attributes.kind)
                                                    : "unknown, key type " + attributes.key_type);
    }
    if (!is_pair(kind)) {
        compare_size(comparison, attributes,
                     kind == KeyKind::aes_256 ? aes_key_bytes : hmac_key_bytes);
    } else if (attributes.public_half) {
        compare_public_half(comparison, *attributes.public_half);
    } else {
        comparison.complain("public_half", "missing");
    }
    if (!attributes.mechanism.empty() && attributes.mechanism != generation_mechanism(kind)) {
        comparison.complain("mechanism", attributes.mechanism);
    }
    return comparison.take();
}

}  // namespace hsm
