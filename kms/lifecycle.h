// The life of master keys: made, listed, described, rotated, enabled and disabled, changed, given
// aliases, scheduled for deletion, destroyed. What is done with them is kms/service.h. Every method
// that a caller can cause takes the Grant that allows it; the two that time causes take none. No
// HTTP, no JSON on the wire and no SQL in here.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/catalogue.h"
#include "kms/settle.h"
#include "kms/states.h"
#include "kms/store.h"
#include "kms/usage.h"
#include "server/authorizer.h"

namespace kms {

inline constexpr int min_deletion_days = 7;
inline constexpr int max_deletion_days = 30;

struct NewKey {
    std::string alias;  // empty: none
    std::string description;
    std::map<std::string, std::string> tags;
    hsm::KeyProfile profile = hsm::KeyProfile::sealed;
    hsm::KeyKind kind = hsm::KeyKind::aes_256;
    std::optional<int> rotation_period_days;  // 1 to max_rotation_period_days; AES keys only
    ContextRule context_rule;                 // AES keys only
};

// What PATCH may change; what is empty stays.
struct KeyChange {
    std::uint64_t if_revision = 0;  // the revision that the caller has seen
    std::optional<std::string> description;
    std::optional<std::map<std::string, std::string>> tags;
    std::optional<std::optional<int>> rotation_period_days;  // an empty inner one switches it off
    std::optional<ContextRule> context_rule;
};

struct KeyDescription {
    KeyPointer key;
    // One for each version, read from the token just now; empty when the token has no such key.
    std::vector<std::optional<hsm::KeyAttributes>> attributes;
    std::string tombstone;  // JSON; empty unless the key was destroyed
    // Likewise of versions that were given up in their making.
    std::map<std::uint32_t, std::string> version_tombstones{};
};

struct KeyPage {
    std::vector<KeyPointer> keys;
    std::optional<base::Uuid> next;  // pass as `after` for the page behind; empty at the end
};

// Writes down durably what the token is about to be asked, for those calls that can't be undone or
// whose loss must be accounted for. Throws when it can't: then nothing is asked.
using RecordIntent = std::function<void(const std::map<std::string, std::string>& facts)>;

// What comes with an order besides its grant.
struct OrderContext {
    std::string request;         // an IdempotentRequest's id; empty: none
    RecordIntent record_intent;  // may be empty
    // Called when an earlier request of the order had the key made and nothing is left to do.
    std::function<void()> note_repeated{};
};

// Thread-safe. Everything passed by reference must outlive it. Every method throws internal when
// the grant is for another action or resource, not_found when there is no such key,
// failed_precondition, naming the state, when the key's state forbids it (kms/states.h), and
// unavailable when token or store don't answer. A change is in the store and honoured by this
// process when the method returns.
class KeyLifecycle {
public:
    KeyLifecycle(Catalogue& catalogue, Store& store, hsm::Token& token, UsageCounter& usage,
                 const base::Clock& clock, base::Log& log);

    // Makes a master key in the token; durable when it returns. Grant: create_key on "key:*".
    // Throws already_exists when the alias is taken; invalid_argument when it is no alias, or for
    // what the kind of key can't have; failed_precondition when the token can't make the kind. A
    // repeated request gives the key that it made.
    KeyDescription create(const server::Grant& grant, const NewKey& wanted,
                          const OrderContext& order = {});

    // Grant: list_keys on "key:*".
    KeyPage list(const server::Grant& grant, const std::optional<base::Uuid>& after,
                 std::size_t limit) const;

    // Grant: describe_key on the key.
    KeyDescription describe(const server::Grant& grant, const base::Uuid& key_id);

    // Makes the next version, which is the primary one when it returns; all others stay. A rotation
    // that was cut short is finished rather than begun again. Grant: rotate_key. Throws
    // failed_precondition when `if_primary` is given and is not the primary version.
    KeyPointer rotate(const server::Grant& grant, const base::Uuid& key_id,
                      std::optional<std::uint32_t> if_primary = {}, const OrderContext& order = {});

    // Grants: enable_key, disable_key.
    KeyPointer enable(const server::Grant& grant, const base::Uuid& key_id,
                      const OrderContext& order = {});
    KeyPointer disable(const server::Grant& grant, const base::Uuid& key_id,
                       const OrderContext& order = {});

    // The key is of no use at once and destroyed after so many days. Grant: schedule_key_deletion.
    // Throws invalid_argument unless it is min_deletion_days to max_deletion_days.
    KeyPointer schedule_deletion(const server::Grant& grant, const base::Uuid& key_id, int days,
                                 const OrderContext& order = {});
    // The key is disabled then, or compromised if it was marked so. Possible until its destruction
    // has begun; failed_precondition afterwards. Grant: cancel_key_deletion.
    KeyPointer cancel_deletion(const server::Grant& grant, const base::Uuid& key_id,
                               const OrderContext& order = {});

    // For good. A key that is to be deleted stays so, and is compromised when that is cancelled.
    // Grant: mark_key_compromised.
    KeyPointer mark_compromised(const server::Grant& grant, const base::Uuid& key_id,
                                const OrderContext& order = {});

    // Grants: change_key and, for other tags than the key has, tag_key on the key with those that
    // it has (null: no other tags). Throws failed_precondition when the revision is another or the
    // key's tags are not those of the grant, invalid_argument for what the kind of key can't have.
    KeyPointer change(const server::Grant& grant, const server::Grant* tagging,
                      const base::Uuid& key_id, const KeyChange& wanted,
                      const OrderContext& order = {});

    // The alias is the key's from now on. Grants: change_alias on the key, and on the key that has
    // the alias now (null: nobody has). Throws failed_precondition when somebody else has it.
    KeyPointer set_alias(const server::Grant& grant, const server::Grant* from_grant,
                         const std::string& alias, const OrderContext& order = {});
    // Grant: change_alias on the key that has it.
    void remove_alias(const server::Grant& grant, const std::string& alias,
                      const OrderContext& order = {});

    // For the scheduler, on the record's own order: rotates the key if its time has come or its
    // primary version has made wraps_before_rotation, else does nothing and gives false.
    bool rotate_if_due(const base::Uuid& key_id, const RecordIntent& record_intent);
    // Likewise: destroys all versions in the token if their time has come, what is left of those
    // that were given up included, proves that they are gone, and leaves a tombstone. Goes on where
    // a crash has cut it short. Throws
    // failed_precondition when the token has another key under a version's id: that is not touched.
    bool destroy_if_due(const base::Uuid& key_id, const RecordIntent& record_intent);

private:
    class Making;

    KeyPointer require_key(const base::Uuid& key_id) const;
    Key require_stored(const base::Uuid& key_id);
    // The key with the counters of this moment, for showing.
    KeyPointer with_usage(const KeyPointer& key) const;
    // Brings the catalogue up to the store's record; what callers are shown.
    KeyPointer refresh(const base::Uuid& key_id);
    KeyDescription describe_stored(const base::Uuid& key_id);

    // The key that this request made already, as far as it came; empty: none is in service.
    std::optional<base::Uuid> made_by(const OrderContext& order, const Making& making);
    // The new key in the token, with its proof. On failure the pending record stays.
    hsm::KeyAttributes make_in_token(const Key& key, KeyVersion& version, const Making& making);
    // Makes the next version of a key that is as stored.
    void make_version(const Key& key, const OrderContext& order, const Making& making);
    bool is_rotation_due(const Key& key) const;
    void destroy_versions(const Key& key);
    std::string make_tombstone(const Key& key) const;

    // Applies `edit` to the stored key until nobody was faster; edit() false: nothing to change.
    KeyPointer edit(const base::Uuid& key_id, KeyOperation operation,
                    const std::function<bool(Key&)>& edit, const OrderContext& order);

    Catalogue& catalogue_;
    Store& store_;
    hsm::Token& token_;
    UsageCounter& usage_;
    const base::Clock& clock_;
    base::Log& log_;
    Settler settler_;
    std::string node_ = base::Uuid::random().to_string();
    // One making or destroying at a time; see kms/making_lock.h.
    std::mutex making_mutex_;
};

}  // namespace kms
