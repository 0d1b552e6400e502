#include "hsm/pkcs11_attributes.h"

namespace hsm {

AttributeTemplate& AttributeTemplate::flag(CK_ATTRIBUTE_TYPE type, bool value) {
    const CK_BBOOL byte = value ? CK_TRUE : CK_FALSE;
    return bytes(type, {&byte, 1});
}

AttributeTemplate& AttributeTemplate::number(CK_ATTRIBUTE_TYPE type, CK_ULONG value) {
    return bytes(type, {reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
}

AttributeTemplate& AttributeTemplate::bytes(CK_ATTRIBUTE_TYPE type, base::ByteView value) {
    base::Bytes& kept = values_.emplace_back(value.begin(), value.end());
    attributes_.push_back({type, to_ck_bytes(kept), to_ck_ulong(kept.size())});
    return *this;
}

}  // namespace hsm
