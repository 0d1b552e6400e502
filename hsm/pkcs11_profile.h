// Key profiles as PKCS#11 attributes: what a master key is made with, and what must be read back.
#pragma once

#include <string>
#include <vector>

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

// What is wrong with a key that should be of that profile, in words such as "extractable is true";
// empty when it is as it must be. An attribute that must be known and isn't is wrong.
std::vector<std::string> differences(const KeyAttributes& attributes, KeyProfile profile);

}  // namespace hsm
