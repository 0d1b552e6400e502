#include "hsm/pkcs11_profile.h"

#include <cstring>

#include "hsm/pkcs11_error.h"
#include "hsm/pkcs11_kinds.h"

namespace hsm {
namespace {

// F4: what every module takes (FIPS 186-5 A.1.1 allows it).
constexpr std::array<std::uint8_t, 3> public_exponent{0x01, 0x00, 0x01};

std::optional<bool> read_flag(const Session& session, CK_OBJECT_HANDLE key,
                              CK_ATTRIBUTE_TYPE type) {
    const auto value = session.read_attribute(key, type);
    if (!value || value->size() != sizeof(CK_BBOOL)) return std::nullopt;
    return value->front() != CK_FALSE;
}

// What every object of ours begins with.
AttributeTemplate named(CK_OBJECT_CLASS object_class, const KindTraits& kind, const KeyId& id,
                        std::string_view label) {
    AttributeTemplate attributes;
    attributes.number(CKA_CLASS, object_class)
        .number(CKA_KEY_TYPE, kind.key_type)
        .bytes(CKA_ID, id.bytes())
        .text(CKA_LABEL, label)
        .flag(CKA_TOKEN, true);
    return attributes;
}

// What every object of ours ends with. CKA_MODIFIABLE is last: SoftHSM holds what follows against
// it.
void close(AttributeTemplate& attributes, const ModuleTraits& traits) {
    if (traits.knows_copyable_and_destroyable)
        attributes.flag(CKA_DESTROYABLE, true).flag(CKA_COPYABLE, false);
    attributes.flag(CKA_MODIFIABLE, false);
}

PublicHalf read_public_half(const Session& session, CK_OBJECT_HANDLE key,
                            const ModuleTraits& traits) {
    const auto flag = [&](CK_ATTRIBUTE_TYPE type) { return read_flag(session, key, type); };
    PublicHalf read;
    read.token = flag(CKA_TOKEN);
    read.private_object = flag(CKA_PRIVATE);
    if (traits.knows_local) read.local = flag(CKA_LOCAL);
    read.verify = flag(CKA_VERIFY);
    read.verify_recover = flag(CKA_VERIFY_RECOVER);
    read.encrypt = flag(CKA_ENCRYPT);
    read.wrap = flag(CKA_WRAP);
    read.derive = flag(CKA_DERIVE);
    read.modifiable = flag(CKA_MODIFIABLE);
    read.copyable = flag(CKA_COPYABLE);
    read.destroyable = flag(CKA_DESTROYABLE);
    return read;
}

}  // namespace

std::optional<CK_ULONG> read_number(const Session& session, CK_OBJECT_HANDLE object,
                                    CK_ATTRIBUTE_TYPE type) {
    const auto value = session.read_attribute(object, type);
    CK_ULONG number = 0;
    if (!value || value->size() != sizeof number) return std::nullopt;
    std::memcpy(&number, value->data(), sizeof number);
    if (number == unavailable_information) return std::nullopt;
    return number;
}

AttributeTemplate secret_key_template(const KeyId& id, std::string_view label, KeyKind kind,
                                      KeyProfile profile, const ModuleTraits& traits) {
    const bool restorable = profile == KeyProfile::restorable;
    const bool is_aes = kind == KeyKind::aes_256;
    AttributeTemplate attributes = named(CKO_SECRET_KEY, traits_of(kind), id, label);
    attributes.number(CKA_VALUE_LEN, is_aes ? aes_key_bytes : hmac_key_bytes)
        .flag(CKA_PRIVATE, true)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_EXTRACTABLE, restorable)
        .flag(CKA_ENCRYPT, is_aes)
        .flag(CKA_DECRYPT, is_aes)
        .flag(CKA_WRAP, false)
        .flag(CKA_UNWRAP, false)
        .flag(CKA_DERIVE, false)
        .flag(CKA_SIGN, !is_aes)
        .flag(CKA_VERIFY, !is_aes)
        .flag(CKA_WRAP_WITH_TRUSTED, restorable);
    close(attributes, traits);
    return attributes;
}

PairTemplates pair_templates(const KeyId& id, std::string_view label, KeyKind kind,
                             const ModuleTraits& traits) {
    const KindTraits& of_kind = traits_of(kind);
    PairTemplates pair{named(CKO_PUBLIC_KEY, of_kind, id, label),
                       named(CKO_PRIVATE_KEY, of_kind, id, label)};
    if (of_kind.key_type == CKK_RSA) {
        pair.public_half.number(CKA_MODULUS_BITS, of_kind.bits)
            .bytes(CKA_PUBLIC_EXPONENT, public_exponent);
    } else {
        pair.public_half.bytes(CKA_EC_PARAMS, of_kind.curve);
    }
    // No secret, but seen and changed only by who is logged in, where the module keeps to it.
    pair.public_half.flag(CKA_PRIVATE, traits.keeps_public_keys_private)
        .flag(CKA_VERIFY, true)
        .flag(CKA_VERIFY_RECOVER, false)
        .flag(CKA_ENCRYPT, false)
        .flag(CKA_WRAP, false)
        .flag(CKA_DERIVE, false);
    close(pair.public_half, traits);
    pair.private_half.flag(CKA_PRIVATE, true)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_EXTRACTABLE, false)
        .flag(CKA_SIGN, true)
        .flag(CKA_SIGN_RECOVER, false)
        .flag(CKA_DECRYPT, false)
        .flag(CKA_UNWRAP, false)
        .flag(CKA_DERIVE, false)
        .flag(CKA_WRAP_WITH_TRUSTED, false);
    close(pair.private_half, traits);
    return pair;
}

AttributeTemplate search_template(const KeyId& id) {
    AttributeTemplate attributes;
    attributes.flag(CKA_TOKEN, true).bytes(CKA_ID, id.bytes());
    return attributes;
}

AttributeTemplate search_template(CK_OBJECT_CLASS object_class) {
    AttributeTemplate attributes;
    attributes.number(CKA_CLASS, object_class).flag(CKA_TOKEN, true);
    return attributes;
}

KeyAttributes read_attributes(const Session& session, const KeyObjects& objects,
                              const ModuleTraits& traits) {
    const CK_OBJECT_HANDLE key = objects.key;
    const auto flag = [&](CK_ATTRIBUTE_TYPE type) { return read_flag(session, key, type); };
    KeyAttributes read;
    read.label = base::as_text(session.read_attribute(key, CKA_LABEL).value_or(base::Bytes()));
    read.kind = read_kind(session, key);
    read.token = flag(CKA_TOKEN);
    read.private_object = flag(CKA_PRIVATE);
    read.sensitive = flag(CKA_SENSITIVE);
    read.extractable = flag(CKA_EXTRACTABLE);
    read.always_sensitive = flag(CKA_ALWAYS_SENSITIVE);
    read.never_extractable = flag(CKA_NEVER_EXTRACTABLE);
    if (traits.knows_local) read.local = flag(CKA_LOCAL);
    read.encrypt = flag(CKA_ENCRYPT);
    read.decrypt = flag(CKA_DECRYPT);
    read.sign = flag(CKA_SIGN);
    read.sign_recover = flag(CKA_SIGN_RECOVER);
    read.verify = flag(CKA_VERIFY);
    read.wrap = flag(CKA_WRAP);
    read.unwrap = flag(CKA_UNWRAP);
    read.derive = flag(CKA_DERIVE);
    read.modifiable = flag(CKA_MODIFIABLE);
    read.copyable = flag(CKA_COPYABLE);
    read.destroyable = flag(CKA_DESTROYABLE);
    read.wrap_with_trusted = flag(CKA_WRAP_WITH_TRUSTED);
    if (const auto size = read_number(session, key, CKA_VALUE_LEN)) read.value_bytes = *size;
    if (const auto type = read_number(session, key, CKA_KEY_TYPE))
        read.key_type = key_type_name(*type);
    if (const auto mechanism = read_number(session, key, CKA_KEY_GEN_MECHANISM))
        read.mechanism = generation_name(*mechanism);
    read.check_value = session.read_attribute(key, CKA_CHECK_VALUE).value_or(base::Bytes());
    if (objects.public_half != CK_INVALID_HANDLE)
        read.public_half = read_public_half(session, objects.public_half, traits);
    return read;
}

}  // namespace hsm
