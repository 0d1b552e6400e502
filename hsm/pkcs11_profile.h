// Key profiles as PKCS#11 attributes: what a master key is made with, and how
// they are read back. What they must be then stands in hsm/token.h.
#pragma once

#include <string_view>

#include "hsm/pkcs11_session.h"
#include "hsm/pkcs11_traits.h"
#include "hsm/token.h"

namespace hsm {

// The whole template for C_GenerateKey of a secret key; no usage is left to a module's default. The
// tables are in hsm/README.md.
AttributeTemplate secret_key_template(const KeyId& id, std::string_view label, KeyKind kind,
                                      KeyProfile profile, const ModuleTraits& traits);

// Both templates for C_GenerateKeyPair of a sealed pair.
struct PairTemplates {
    AttributeTemplate public_half;
    AttributeTemplate private_half;
};
PairTemplates pair_templates(const KeyId& id, std::string_view label, KeyKind kind,
                             const ModuleTraits& traits);

// What finds all objects of that id, and all of a class.
AttributeTemplate search_template(const KeyId& id);
AttributeTemplate search_template(CK_OBJECT_CLASS object_class);

// A key as its objects: a secret key, or a private key and its public half.
struct KeyObjects {
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_OBJECT_HANDLE public_half = CK_INVALID_HANDLE;  // CK_INVALID_HANDLE: there is none
};

// Each attribute by a call of its own; unknown ones are empty. Throws Pkcs11Error.
KeyAttributes read_attributes(const Session& session, const KeyObjects& objects,
                              const ModuleTraits& traits);

// Of one object; empty when the module does not say.
std::optional<CK_ULONG> read_number(const Session& session, CK_OBJECT_HANDLE object,
                                    CK_ATTRIBUTE_TYPE type);

}  // namespace hsm
