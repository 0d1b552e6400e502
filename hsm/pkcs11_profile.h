// Key profiles as PKCS#11 attributes: what a master key is made with, and how
// they are read back. What they must be then stands in hsm/token.h.
#pragma once

#include <string_view>

#include "hsm/pkcs11_session.h"
#include "hsm/pkcs11_traits.h"
#include "hsm/token.h"

namespace hsm {

// The whole template for C_GenerateKey; no usage is left to a module's default. The table is in
// hsm/README.md.
AttributeTemplate generation_template(const KeyId& id, std::string_view label, KeyProfile profile,
                                      const ModuleTraits& traits);
// What finds the key of that id, and all keys.
AttributeTemplate search_template(const KeyId& id);
AttributeTemplate search_template();

// Each attribute by a call of its own; unknown ones are empty. Throws Pkcs11Error.
KeyAttributes read_attributes(const Session& session, CK_OBJECT_HANDLE key,
                              const ModuleTraits& traits);

}  // namespace hsm
