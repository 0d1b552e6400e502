// Where keys are remembered: names, states, versions, aliases and how often a version has
// encrypted. One interface, several databases, one suite of contract tests
// (tests/kms/store_contract.h). No SQL and no library type may appear here.
#pragma once

#include <vector>

#include "kms/key.h"

namespace kms {

struct Reservation {
    std::uint64_t granted = 0;  // how many were added now; 0 when the version is used up
    std::uint64_t total = 0;    // wraps_reserved afterwards
};

// Every change is durable and whole when its function returns. Implementations are safe to share
// between threads. Every function may throw unavailable.
class Store {
public:
    virtual ~Store() = default;

    // Every key, destroyed ones too, in no order.
    virtual std::vector<Key> load() = 0;

    // Writes a key and its first version as `pending`, before the token is asked to make it.
    // `key.wanted_alias` is noted, not taken. Throws already_exists when the id is there.
    virtual void add_pending_key(const Key& key) = 0;

    // The token has the key: its first version and the key become `enabled`, and `alias`, unless it
    // is empty, becomes the key's. Throws already_exists, changing nothing, when another key has
    // the alias, and failed_precondition when the key is not pending.
    virtual void enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                            const std::string& alias) = 0;

    // A pending key that never came to be is marked `destroyed`; its record stays. Throws
    // failed_precondition when the key is not pending.
    virtual void abandon_key(const base::Uuid& key_id) = 0;

    // Sets numbers aside before they are used: adds up to `count` to wraps_reserved, never beyond
    // max_wraps_per_version. What a crash leaves unused is lost. Throws not_found when there is no
    // such version.
    virtual Reservation reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                                      std::uint64_t count) = 0;

    // Throws unavailable when the store does not answer.
    virtual void check() = 0;
};

}  // namespace kms
