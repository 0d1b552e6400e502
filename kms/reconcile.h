// What start-up makes of a store and a token that a crash, a restore or a mistake has set apart. It
// finishes or marks; it never deletes and never makes a key.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/settle.h"
#include "kms/store.h"
#include "kms/usage.h"

namespace kms {

struct Reconciled {
    std::vector<Key> keys;           // as the store has them afterwards
    std::uint64_t change_count = 0;  // of the store when they were read
    struct SettledVersion {
        VersionName name;
        bool is_finished = false;  // else abandoned
    };
    std::vector<SettledVersion> settled;
    std::size_t finished = 0;           // pending versions whose key was there: enabled now
    std::size_t abandoned = 0;          // … without one that can be trusted: destroyed now
    std::vector<VersionName> unproven;  // versions in use whose key is missing or another one
    std::size_t unknown_objects = 0;    // keys in the token that no record names
    std::size_t leftover_objects = 0;  // … that belong to versions which are recorded as destroyed
};

// A pending version was never acknowledged. Its key, when the token has it with the right
// attributes and it proves itself and durable, is enabled, and the primary one. An unused key is
// harmless, and the caller who lost the answer finds it in the list. Without such a key the version
// becomes `destroyed` (kms/settle.h); what the token has of it stays there and is reported. Only
// one whose durability can't be asked for now stays pending, with an error in the log.
//
// An enabled version whose key is missing or different is logged as an error and counted: the
// service refuses that key with unavailable and readyz says so, while the other keys stay in
// service. Refusing to start would turn the loss of one key into the loss of all.
//
// Versions of a key whose destruction was cut short are not looked for: the scheduler goes on with
// it. Throws what the store and the token throw.
// `audit_key` is no master key and not unknown either. What is given up is written down first by
// `record`.
Reconciled reconcile(Store& store, hsm::Token& token, UsageCounter& usage, const base::Clock& clock,
                     base::Log& log, std::optional<hsm::KeyId> audit_key = {},
                     const RecordGivenUp& record = {});

}  // namespace kms
