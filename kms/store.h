// Where keys are remembered: names, states, versions, aliases and how often a version has
// encrypted. One interface, several databases, one suite of contract tests
// (tests/kms/store_contract.h). No SQL and no library type may appear here.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "kms/key.h"
#include "server/order_store.h"

namespace kms {

struct Reservation {
    std::uint64_t granted = 0;  // how many were added now; 0 when the version is used up
    std::uint64_t total = 0;    // wraps_reserved afterwards
};

// What was done under a version since the last report.
struct UsageReport {
    base::Uuid key_id;
    std::uint32_t version = 0;
    std::uint64_t wraps = 0;
    std::uint64_t rewrapped_away = 0;
    base::Time last_used_at{};
};

// Every change is durable and whole when its function returns. Implementations are safe to share
// between threads. Every function may throw unavailable. A change with a `request` marks the
// idempotent request of that id as applied in the same moment. A change with a `holder` is made
// only while he has the lock of making keys (take_lock), told in the same moment: else it throws
// unavailable, changing nothing.
class Store : public server::OrderStore {
public:
    // Every key, destroyed ones too, in no order.
    virtual std::vector<Key> load() = 0;

    // Empty when there is none.
    virtual std::optional<Key> find(const base::Uuid& id) = 0;

    // Whether other processes may change it too.
    virtual bool is_shared() const = 0;

    // A number that grows with every change of a key. Cheap: it is asked several times a second.
    virtual std::uint64_t change_count() = 0;

    // The keys that changed after `since`, as they are now, and the count up to which that is.
    struct Changes {
        std::uint64_t count = 0;
        std::vector<Key> keys;
    };
    virtual Changes load_changed(std::uint64_t since) = 0;

    // Writes a key and its first version as `pending`, before the token is asked to make it.
    // `key.wanted_alias` is noted, not taken. Throws already_exists when the id is there, and
    // invalid_argument for a description with a NUL byte, which not every database keeps.
    virtual void add_pending_key(const Key& key, const std::string& holder = {}) = 0;

    // The token has the key: its first version and the key become `enabled`, and `alias`, unless it
    // is empty, becomes the key's. Its version's request is applied. Throws already_exists,
    // changing nothing, when another key has the alias, and failed_precondition when the key is
    // not pending.
    virtual void enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                            const std::string& alias, const std::string& holder = {}) = 0;

    // A pending key that never came to be is marked `destroyed`; its record stays, and `tombstone`
    // as for finish_destruction(). Throws failed_precondition when the key is not pending.
    virtual void abandon_key(const base::Uuid& key_id, base::Time at, const std::string& tombstone,
                             const std::string& holder = {}) = 0;

    // Writes the next version of an enabled key as `pending`, before the token is asked to make it.
    // Throws failed_precondition when the key is not enabled, has a pending version already, or
    // when `version` is not the number behind the last.
    virtual void add_pending_version(const base::Uuid& key_id, const KeyVersion& version,
                                     const std::string& holder = {}) = 0;

    // The token has the version: it becomes `enabled` and the primary one in the same moment, and
    // the key's next rotation is at `next_rotation_at`. Its request is applied. Whatever state the
    // key itself has got meanwhile stays. Throws failed_precondition when the version is not
    // pending.
    virtual void enable_version(const base::Uuid& key_id, std::uint32_t version,
                                const hsm::Encrypted& known_answer,
                                std::optional<base::Time> next_rotation_at,
                                const std::string& holder = {}) = 0;

    // A pending version that never came to be is marked `destroyed`, and `tombstone` (JSON) stays
    // as the record of it. Throws failed_precondition when it is not pending.
    virtual void abandon_version(const base::Uuid& key_id, std::uint32_t version, base::Time at,
                                 const std::string& tombstone, const std::string& holder = {}) = 0;

    // Compare and set: writes state, description, tags, rotation, dates and context rule of `key`
    // (not its versions, aliases and usage) and adds 1 to the revision. False, changing nothing,
    // when the stored revision is not `key.revision`. Throws not_found, and invalid_argument as
    // add_pending_key does.
    virtual bool update(const Key& key, const std::string& request = {}) = 0;

    // The alias becomes `to`'s, and is `from`'s no longer; nil stands for nobody. False, changing
    // nothing, when it is not `from`'s now. Throws not_found when there is no key `to`.
    virtual bool move_alias(const std::string& alias, const base::Uuid& from, const base::Uuid& to,
                            const std::string& request = {}) = 0;

    // The token objects are gone: the key and its versions become `destroyed` at
    // `key.destroyed_at`, its aliases are free, and `tombstone` (JSON) stays as the record of it.
    // Compare and set like update().
    virtual bool finish_destruction(const Key& key, const std::string& tombstone,
                                    const std::string& holder = {}) = 0;
    // Empty when the key was not destroyed.
    virtual std::string tombstone(const base::Uuid& key_id) = 0;
    // Of the versions that were abandoned, by their numbers; not of a key's first, which has none
    // apart from the key's.
    virtual std::map<std::uint32_t, std::string> version_tombstones(const base::Uuid& key_id) = 0;

    // Sets numbers aside before they are used: adds up to `count` to wraps_reserved, never beyond
    // max_wraps_per_version. What a crash leaves unused is lost. Throws not_found when there is no
    // such version.
    virtual Reservation reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                                      std::uint64_t count) = 0;

    // Adds to the figures of the versions; the latest last_used_at stays. Versions that are not
    // there are passed over. What was reported is counted once, whichever node reports it.
    virtual void add_usage(std::span<const UsageReport> reports) = 0;

    // The version that an idempotent request ordered; empty when there is none.
    virtual std::optional<VersionName> find_version_of(const std::string& request) = 0;

    // The orders are OrderStore's: they are forgotten by the versions that they ordered, too.

    // The lock that serialises the making of keys between nodes. True when `holder` has it now,
    // until `until`; false when somebody else has it and his time is not over at `now`. A holder is
    // named "<node>/<which time>": what the same node has left from another time is free.
    virtual bool take_lock(const std::string& holder, base::Time now, base::Time until) = 0;
    // The holder's time is `until` now. False when he has it no longer, also when nobody has.
    virtual bool keep_lock(const std::string& holder, base::Time until) = 0;
    virtual void release_lock(const std::string& holder) = 0;

    // Throws unavailable when the store does not answer.
    virtual void check() = 0;
};

}  // namespace kms
