// What is known of a module beyond the standard, by its maker. Each line is measured; a module that
// is not named here gets the standard.
#pragma once

#include "hsm/pkcs11_module.h"

namespace hsm {

struct ModuleTraits {
    bool is_softhsm = false;
    // CKA_COPYABLE and CKA_DESTROYABLE may stand in a template. NSS can't store them in its
    // database and answers CKR_GENERAL_ERROR.
    bool knows_copyable_and_destroyable = true;
    // CKA_LOCAL tells something. NSS's database answers false for keys that it generated itself.
    bool knows_local = true;
    // A public key may be CKA_PRIVATE. NSS keeps public keys where no login is asked for.
    bool keeps_public_keys_private = true;
};

inline ModuleTraits traits_of(const Module& module) {
    ModuleTraits traits;
    traits.is_softhsm = module.manufacturer().starts_with("SoftHSM");
    const bool is_nss = module.manufacturer().starts_with("Mozilla");
    traits.knows_copyable_and_destroyable = !is_nss;
    traits.knows_local = !is_nss;
    traits.keeps_public_keys_private = !is_nss;
    return traits;
}

}  // namespace hsm
