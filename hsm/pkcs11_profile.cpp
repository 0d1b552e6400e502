#include "hsm/pkcs11_profile.h"

#include <cstring>

#include "hsm/pkcs11_error.h"

namespace hsm {
namespace {

std::optional<bool> read_flag(const Session& session, CK_OBJECT_HANDLE key,
                              CK_ATTRIBUTE_TYPE type) {
    const auto value = session.read_attribute(key, type);
    if (!value || value->size() != sizeof(CK_BBOOL)) return std::nullopt;
    return value->front() != CK_FALSE;
}

std::optional<CK_ULONG> read_number(const Session& session, CK_OBJECT_HANDLE key,
                                    CK_ATTRIBUTE_TYPE type) {
    const auto value = session.read_attribute(key, type);
    CK_ULONG number = 0;
    if (!value || value->size() != sizeof number) return std::nullopt;
    std::memcpy(&number, value->data(), sizeof number);
    if (number == unavailable_information) return std::nullopt;
    return number;
}

}  // namespace

AttributeTemplate generation_template(const KeyId& id, std::string_view label, KeyProfile profile,
                                      const ModuleTraits& traits) {
    const bool restorable = profile == KeyProfile::restorable;
    AttributeTemplate attributes;
    attributes.number(CKA_CLASS, CKO_SECRET_KEY)
        .number(CKA_KEY_TYPE, CKK_AES)
        .number(CKA_VALUE_LEN, aes_key_bytes)
        .bytes(CKA_ID, id.bytes())
        .text(CKA_LABEL, label)
        .flag(CKA_TOKEN, true)
        .flag(CKA_PRIVATE, true)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_EXTRACTABLE, restorable)
        .flag(CKA_ENCRYPT, true)
        .flag(CKA_DECRYPT, true)
        .flag(CKA_WRAP, false)
        .flag(CKA_UNWRAP, false)
        .flag(CKA_DERIVE, false)
        .flag(CKA_SIGN, false)
        .flag(CKA_VERIFY, false)
        .flag(CKA_WRAP_WITH_TRUSTED, restorable);
    if (traits.knows_copyable_and_destroyable)
        attributes.flag(CKA_DESTROYABLE, true).flag(CKA_COPYABLE, false);
    attributes.flag(CKA_MODIFIABLE, false);  // last: SoftHSM holds what follows against it
    return attributes;
}

AttributeTemplate search_template(const KeyId& id) {
    AttributeTemplate attributes = search_template();
    attributes.bytes(CKA_ID, id.bytes());
    return attributes;
}

AttributeTemplate search_template() {
    AttributeTemplate attributes;
    attributes.number(CKA_CLASS, CKO_SECRET_KEY).flag(CKA_TOKEN, true);
    return attributes;
}

KeyAttributes read_attributes(const Session& session, CK_OBJECT_HANDLE key,
                              const ModuleTraits& traits) {
    const auto flag = [&](CK_ATTRIBUTE_TYPE type) { return read_flag(session, key, type); };
    KeyAttributes read;
    read.label = base::as_text(session.read_attribute(key, CKA_LABEL).value_or(base::Bytes()));
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
    read.verify = flag(CKA_VERIFY);
    read.wrap = flag(CKA_WRAP);
    read.unwrap = flag(CKA_UNWRAP);
    read.derive = flag(CKA_DERIVE);
    read.modifiable = flag(CKA_MODIFIABLE);
    read.copyable = flag(CKA_COPYABLE);
    read.destroyable = flag(CKA_DESTROYABLE);
    read.wrap_with_trusted = flag(CKA_WRAP_WITH_TRUSTED);
    if (const auto size = read_number(session, key, CKA_VALUE_LEN)) read.value_bytes = *size;
    if (const auto type = read_number(session, key, CKA_KEY_TYPE)) {
        read.key_type = *type == CKK_AES ? "AES" : "CKK " + std::to_string(*type);
    }
    if (const auto mechanism = read_number(session, key, CKA_KEY_GEN_MECHANISM)) {
        read.mechanism =
            *mechanism == CKM_AES_KEY_GEN ? "CKM_AES_KEY_GEN" : "CKM " + std::to_string(*mechanism);
    }
    read.check_value = session.read_attribute(key, CKA_CHECK_VALUE).value_or(base::Bytes());
    return read;
}

}  // namespace hsm
