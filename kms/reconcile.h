// What start-up makes of a store and a token that a crash, a restore or a mistake has set apart. It
// finishes or marks; it never deletes and never makes a key.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/log.h"
#include "hsm/token.h"
#include "kms/store.h"
#include "kms/usage.h"

namespace kms {

struct VersionName {
    base::Uuid key_id;
    std::uint32_t version = 0;
};

struct Reconciled {
    std::vector<Key> keys;              // as the store has them afterwards
    std::size_t finished = 0;           // pending records whose key was there: enabled now
    std::size_t abandoned = 0;          // pending records without a key: destroyed now
    std::vector<VersionName> unproven;  // versions in use whose key is missing or another one
    std::size_t unknown_objects = 0;    // secret keys in the token that no record names
};

// A pending record was never acknowledged. Its key, when the token has it with the right
// attributes and it proves durable, is enabled; else it stays pending, with an error in the log. An
// unused key is harmless, and the caller who lost the answer finds it in the list. When the alias
// it asked for has gone to another key meanwhile, it stays without one. Without a key the record
// becomes `destroyed`.
//
// An enabled version whose key is missing or different is logged as an error and counted: the
// service refuses that key with unavailable and readyz says so, while the other keys stay in
// service. Refusing to start would turn the loss of one key into the loss of all.
//
// Throws what the store and the token throw.
Reconciled reconcile(Store& store, hsm::Token& token, UsageCounter& usage, base::Log& log);
}  // namespace kms
