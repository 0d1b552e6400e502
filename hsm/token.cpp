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
                                                  KeyProfile profile) {
    const bool restorable = profile == KeyProfile::restorable;
    Comparison comparison;
    comparison.flag("token", attributes.token, true);
    comparison.flag("private", attributes.private_object, true);
    comparison.flag("sensitive", attributes.sensitive, true);
    comparison.flag("always_sensitive", attributes.always_sensitive, true);
    comparison.flag("extractable", attributes.extractable, restorable);
    comparison.flag("never_extractable", attributes.never_extractable, !restorable);
    comparison.flag("local", attributes.local, true, Knowledge::when_known);
    comparison.flag("encrypt", attributes.encrypt, true);
    comparison.flag("decrypt", attributes.decrypt, true);
    comparison.flag("wrap", attributes.wrap, false);
    comparison.flag("unwrap", attributes.unwrap, false);
    comparison.flag("derive", attributes.derive, false);
    comparison.flag("sign", attributes.sign, false);
    comparison.flag("verify", attributes.verify, false);
    comparison.flag("modifiable", attributes.modifiable, false);
    comparison.flag("copyable", attributes.copyable, false, Knowledge::when_known);
    comparison.flag("destroyable", attributes.destroyable, true, Knowledge::when_known);
    comparison.flag("wrap_with_trusted", attributes.wrap_with_trusted, restorable,
                    restorable ? Knowledge::required : Knowledge::when_known);
    if (attributes.key_type != "AES") comparison.complain("key_type", attributes.key_type);
    if (attributes.value_bytes != aes_key_bytes) {
        comparison.complain("value_bytes", attributes.value_bytes
                                               ? std::to_string(*attributes.value_bytes)
                                               : "unknown");
    }
    if (!attributes.mechanism.empty() && attributes.mechanism != "CKM_AES_KEY_GEN") {
        comparison.complain("mechanism", attributes.mechanism);
    }
    return comparison.take();
}

}  // namespace hsm
