#include "hsm/pkcs11_kinds.h"

#include <algorithm>
#include <array>

#include "hsm/pkcs11_error.h"
#include "hsm/pkcs11_profile.h"
#include "hsm/public_key.h"

namespace hsm {
namespace {

// X.690 8.19: P-256 (RFC 5480 2.1.1.1), P-384, Ed25519 (RFC 8410 3).
constexpr std::array<std::uint8_t, 10> p256{0x06, 0x08, 0x2a, 0x86, 0x48,
                                            0xce, 0x3d, 0x03, 0x01, 0x07};
constexpr std::array<std::uint8_t, 7> p384{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
constexpr std::array<std::uint8_t, 5> ed25519{0x06, 0x03, 0x2b, 0x65, 0x70};
// The same as a curve name (PKCS#11 3.0 6.3.1), which SoftHSM gives back for private keys.
constexpr std::array<std::uint8_t, 14> edwards25519{0x13, 0x0c, 'e', 'd', 'w', 'a', 'r',
                                                    'd',  's',  '2', '5', '5', '1', '9'};

constexpr std::size_t pss_salt_bytes = 32;
constexpr std::size_t max_attribute_answer = 1024;
constexpr std::uint8_t der_octet_string = 0x04;
constexpr std::uint8_t uncompressed_point = 0x04;

constexpr CK_FLAGS encrypts = CKF_ENCRYPT | CKF_DECRYPT;

const std::array kinds{
    KindTraits{KeyKind::aes_256, CKK_AES, CKM_AES_KEY_GEN, CKM_AES_GCM, encrypts, 256, 0, {}},
    KindTraits{KeyKind::hmac_sha_256,
               CKK_GENERIC_SECRET,
               CKM_GENERIC_SECRET_KEY_GEN,
               CKM_SHA256_HMAC,
               CKF_SIGN,
               256,
               hmac_bytes,
               {}},
    KindTraits{KeyKind::ecdsa_p256, CKK_EC, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKF_SIGN, 256, 64,
               p256},
    KindTraits{KeyKind::ecdsa_p384, CKK_EC, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKF_SIGN, 384, 96,
               p384},
    KindTraits{KeyKind::ed25519, CKK_EC_EDWARDS, CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA, CKF_SIGN,
               256, 64, ed25519},
    KindTraits{KeyKind::rsa_pss_3072,
               CKK_RSA,
               CKM_RSA_PKCS_KEY_PAIR_GEN,
               CKM_RSA_PKCS_PSS,
               CKF_SIGN,
               3072,
               384,
               {}},
    KindTraits{KeyKind::rsa_pss_4096,
               CKK_RSA,
               CKM_RSA_PKCS_KEY_PAIR_GEN,
               CKM_RSA_PKCS_PSS,
               CKF_SIGN,
               4096,
               512,
               {}},
};

[[noreturn]] void no_public_key(std::string_view why) {
    throw base::Error(base::ErrorCode::internal, "the token's public key makes no sense",
                      std::string(why));
}

// The mechanism is there, with the uses. Its sizes are not looked at: modules count them in bits or
// in bytes, and some leave them zero.
bool has_mechanism(const Module& module, CK_SLOT_ID slot, CK_MECHANISM_TYPE mechanism,
                   CK_FLAGS uses) {
    CK_MECHANISM_INFO info{};
    const CK_RV code = module->C_GetMechanismInfo(slot, mechanism, &info);
    if (code == CKR_MECHANISM_INVALID) return false;
    check_call(code, "C_GetMechanismInfo");
    return (info.flags & uses) == uses;
}

// CKA_EC_POINT is a DER OCTET STRING around the point (PKCS#11 2.40 2.3.3); some modules leave the
// wrapping out.
base::ByteView unwrap_point(base::ByteView value, std::size_t size) {
    if (value.size() == size) return value;
    if (value.size() == size + 2 && value[0] == der_octet_string && value[1] == size)
        return value.subspan(2);
    no_public_key("CKA_EC_POINT has " + std::to_string(value.size()) + " bytes");
}

base::Bytes required(const Session& session, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE type,
                     std::string_view name) {
    auto value = session.read_attribute(key, type);
    if (!value || value->empty() || value->size() > max_attribute_answer)
        no_public_key(std::string(name) + " is missing");
    return std::move(*value);
}

}  // namespace

const KindTraits& traits_of(KeyKind kind) noexcept {
    const auto* found = std::find_if(kinds.begin(), kinds.end(),
                                     [&](const KindTraits& each) { return each.kind == kind; });
    return *found;
}

bool is_supported(const Module& module, CK_SLOT_ID slot, KeyKind kind) {
    const KindTraits& traits = traits_of(kind);
    return has_mechanism(module, slot, traits.generation,
                         is_pair(kind) ? CKF_GENERATE_KEY_PAIR : CKF_GENERATE) &&
           has_mechanism(module, slot, traits.use, traits.uses);
}

base::Bytes sign(const Session& session, CK_OBJECT_HANDLE key, KeyKind kind,
                 base::ByteView message) {
    const KindTraits& traits = traits_of(kind);
    CK_RSA_PKCS_PSS_PARAMS pss{CKM_SHA256, CKG_MGF1_SHA256, pss_salt_bytes};
    CK_MECHANISM mechanism{traits.use, nullptr, 0};
    if (traits.use == CKM_RSA_PKCS_PSS) mechanism = {traits.use, &pss, sizeof pss};
    if (traits.use != CKM_ECDSA && traits.use != CKM_RSA_PKCS_PSS)
        return session.sign(mechanism, key, message, traits.answer_bytes);
    // SoftHSM 2.6 has ECDSA of a digest only; and to hash here is one way for all modules and less
    // to send.
    const base::Bytes digest = signing_digest(kind, message);
    const base::Bytes raw = session.sign(mechanism, key, digest, traits.answer_bytes);
    return traits.use == CKM_ECDSA ? ecdsa_signature_to_der(raw) : raw;
}

std::optional<KeyKind> read_kind(const Session& session, CK_OBJECT_HANDLE key) {
    const auto type = read_number(session, key, CKA_KEY_TYPE);
    if (!type) return std::nullopt;
    if (*type == CKK_AES) return KeyKind::aes_256;
    if (*type == CKK_GENERIC_SECRET) return KeyKind::hmac_sha_256;
    if (*type == CKK_RSA) {
        const auto modulus = session.read_attribute(key, CKA_MODULUS);
        const std::size_t bits = modulus ? modulus->size() * 8 : 0;
        for (const KeyKind kind : {KeyKind::rsa_pss_3072, KeyKind::rsa_pss_4096})
            if (traits_of(kind).bits == bits) return kind;
        return std::nullopt;
    }
    const auto curve = session.read_attribute(key, CKA_EC_PARAMS).value_or(base::Bytes());
    const auto is = [&](base::ByteView name) {
        return std::equal(name.begin(), name.end(), curve.begin(), curve.end());
    };
    if (*type == CKK_EC_EDWARDS && is(edwards25519)) return KeyKind::ed25519;
    for (const KindTraits& each : kinds) {
        if (each.key_type == *type && !each.curve.empty() && is(each.curve)) return each.kind;
    }
    return std::nullopt;
}

base::Bytes read_public_key(const Session& session, CK_OBJECT_HANDLE key, KeyKind kind) {
    const KindTraits& traits = traits_of(kind);
    base::Bytes public_key;
    if (traits.key_type == CKK_RSA) {
        public_key =
            rsa_public_key(required(session, key, CKA_MODULUS, "CKA_MODULUS"),
                           required(session, key, CKA_PUBLIC_EXPONENT, "CKA_PUBLIC_EXPONENT"));
    } else {
        const base::Bytes value = required(session, key, CKA_EC_POINT, "CKA_EC_POINT");
        const std::size_t coordinate = traits.bits / 8;
        const bool is_edwards = kind == KeyKind::ed25519;
        const auto point = unwrap_point(value, is_edwards ? coordinate : 1 + 2 * coordinate);
        if (!is_edwards && point.front() != uncompressed_point)
            no_public_key("CKA_EC_POINT is compressed");
        public_key = curve_public_key(kind, point);
    }
    if (kind_of_public_key(public_key) != kind) no_public_key("it is no key of its kind");
    return public_key;
}

std::string key_type_name(CK_KEY_TYPE type) {
    switch (type) {
        case CKK_AES:
            return "AES";
        case CKK_GENERIC_SECRET:
            return "GENERIC_SECRET";
        case CKK_EC:
            return "EC";
        case CKK_EC_EDWARDS:
            return "EC_EDWARDS";
        case CKK_RSA:
            return "RSA";
        default:
            return "CKK " + std::to_string(type);
    }
}

std::string generation_name(CK_MECHANISM_TYPE mechanism) {
    switch (mechanism) {
        case CKM_AES_KEY_GEN:
            return "CKM_AES_KEY_GEN";
        case CKM_GENERIC_SECRET_KEY_GEN:
            return "CKM_GENERIC_SECRET_KEY_GEN";
        case CKM_EC_KEY_PAIR_GEN:
            return "CKM_EC_KEY_PAIR_GEN";
        case CKM_EC_EDWARDS_KEY_PAIR_GEN:
            return "CKM_EC_EDWARDS_KEY_PAIR_GEN";
        case CKM_RSA_PKCS_KEY_PAIR_GEN:
            return "CKM_RSA_PKCS_KEY_PAIR_GEN";
        default:
            return "CKM " + std::to_string(mechanism);
    }
}

}  // namespace hsm
