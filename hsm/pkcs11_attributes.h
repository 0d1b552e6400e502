// Attribute templates that own their bytes, so that no CK_ATTRIBUTE points at what is gone.
#pragma once

#include <deque>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "hsm/pkcs11_api.h"

namespace hsm {

// Keeps the order in which attributes were added (SoftHSM cares). Not for key bytes: it does not
// wipe.
class AttributeTemplate {
public:
    AttributeTemplate& flag(CK_ATTRIBUTE_TYPE type, bool value);
    AttributeTemplate& number(CK_ATTRIBUTE_TYPE type, CK_ULONG value);
    AttributeTemplate& bytes(CK_ATTRIBUTE_TYPE type, base::ByteView value);
    AttributeTemplate& text(CK_ATTRIBUTE_TYPE type, std::string_view value) {
        return bytes(type, base::as_bytes(value));
    }

    // For the C call, which may read it only. Valid until the next addition.
    CK_ATTRIBUTE_PTR data() const { return const_cast<CK_ATTRIBUTE_PTR>(attributes_.data()); }
    CK_ULONG size() const { return to_ck_ulong(attributes_.size()); }

private:
    std::deque<base::Bytes> values_;  // a deque never moves what it holds
    std::vector<CK_ATTRIBUTE> attributes_;
};

}  // namespace hsm
