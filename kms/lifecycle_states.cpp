// How a key goes from state to state, up to its end.
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/grants.h"
#include "kms/known_answer.h"
#include "kms/lifecycle.h"
#include "kms/lifecycle_making.h"

namespace kms {

void record_settling(const RecordIntent& record_intent, const Key& key, const KeyVersion& version) {
    if (!record_intent) return;
    record_intent(
        {{"key_id", key.id.to_string()}, {"key_version", std::to_string(version.version)}});
}

RecordGivenUp record_given_up(const RecordIntent& record_intent) {
    if (!record_intent) return {};
    return [&record_intent](const GivenUp& given_up) {
        // A start that finds the intent without a result looks for the key by its first two.
        record_intent({{"key_id", given_up.name.key_id.to_string()},
                       {"key_version", std::to_string(given_up.name.version)},
                       {"given_up", given_up.name.key_id.to_string() + "/" +
                                        std::to_string(given_up.name.version)},
                       {"given_up_token_key_id", given_up.token_key_id.to_string()},
                       {"given_up_because", given_up.why}});
    };
}

bool KeyLifecycle::Making::settle_leftover(const Key& key,
                                           const RecordIntent& record_intent) const {
    for (const auto& version : key.versions) {
        if (version.state != KeyState::pending) continue;
        record_settling(record_intent, key, version);
        const Settled settled = lifecycle_.settler_.settle_version(key, version, holder(),
                                                                   record_given_up(record_intent));
        if (settled == Settled::finished) return true;
        if (settled == Settled::left_pending) {
            throw base::Error(base::ErrorCode::unavailable,
                              "a new version of the key can't be proven durable now and stands in "
                              "the way",
                              "key " + key.id.to_string());
        }
    }
    return false;
}

KeyPointer KeyLifecycle::edit(const base::Uuid& key_id, KeyOperation operation,
                              const std::function<bool(Key&)>& edit, const OrderContext& order) {
    constexpr int attempts = 10;
    for (int i = 0; i < attempts; ++i) {
        Key key = require_stored(key_id);
        require_permitted(key, operation);
        if (!edit(key) || store_.update(key, order.request)) return refresh(key_id);
    }
    base::refuse("the key is changed too often: read it again");
}

KeyPointer KeyLifecycle::enable(const server::Grant& grant, const base::Uuid& key_id,
                                const OrderContext& order) {
    require_grant(grant, enable_key, key_id.to_string());
    return edit(
        key_id, KeyOperation::enable,
        [](Key& key) {
            const bool changes = key.state != KeyState::enabled;
            key.state = KeyState::enabled;
            return changes;
        },
        order);
}

KeyPointer KeyLifecycle::disable(const server::Grant& grant, const base::Uuid& key_id,
                                 const OrderContext& order) {
    require_grant(grant, disable_key, key_id.to_string());
    return edit(
        key_id, KeyOperation::disable,
        [](Key& key) {
            const bool changes = key.state != KeyState::disabled;
            key.state = KeyState::disabled;
            return changes;
        },
        order);
}

KeyPointer KeyLifecycle::schedule_deletion(const server::Grant& grant, const base::Uuid& key_id,
                                           int days, const OrderContext& order) {
    require_grant(grant, schedule_key_deletion, key_id.to_string());
    if (days < min_deletion_days || days > max_deletion_days) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "a key can be deleted after " + std::to_string(min_deletion_days) +
                              " to " + std::to_string(max_deletion_days) + " days");
    }
    return edit(
        key_id, KeyOperation::schedule_deletion,
        [&](Key& key) {
            key.state = KeyState::pending_deletion;
            key.deletion_at = clock_.now() + std::chrono::hours(24) * days;
            key.deletion_ordered_by = grant.caller().id;
            return true;
        },
        order);
}

KeyPointer KeyLifecycle::cancel_deletion(const server::Grant& grant, const base::Uuid& key_id,
                                         const OrderContext& order) {
    require_grant(grant, cancel_key_deletion, key_id.to_string());
    return edit(
        key_id, KeyOperation::cancel_deletion,
        [](Key& key) {
            if (key.destruction_begun) {
                base::refuse(
                    "the key is in state pending_deletion and its destruction has begun, which "
                    "forbids cancel_deletion; it is permitted in state pending_deletion before "
                    "that");
            }
            key.state = key.compromised_at ? KeyState::compromised : KeyState::disabled;
            key.deletion_at.reset();
            key.deletion_ordered_by.clear();
            return true;
        },
        order);
}

KeyPointer KeyLifecycle::mark_compromised(const server::Grant& grant, const base::Uuid& key_id,
                                          const OrderContext& order) {
    require_grant(grant, mark_key_compromised, key_id.to_string());
    return edit(
        key_id, KeyOperation::mark_compromised,
        [&](Key& key) {
            if (key.compromised_at) return false;
            key.compromised_at = clock_.now();
            if (key.state != KeyState::pending_deletion) key.state = KeyState::compromised;
            return true;
        },
        order);
}

bool KeyLifecycle::destroy_if_due(const base::Uuid& key_id, const RecordIntent& record_intent) {
    const Making making(*this);
    Key key = require_stored(key_id);
    if (key.state != KeyState::pending_deletion || !key.deletion_at ||
        *key.deletion_at > clock_.now()) {
        refresh(key_id);
        return false;
    }
    if (record_intent) {
        record_intent({{"key_id", key.id.to_string()},
                       {"versions", std::to_string(key.versions.size())},
                       {"deletion_at", base::to_rfc3339(*key.deletion_at)}});
    }
    if (!key.destruction_begun) {
        // From here on nobody can cancel it. Who was faster has cancelled it.
        key.destruction_begun = true;
        if (!store_.update(key)) return false;
        key = require_stored(key_id);
    }
    making.require_held();
    destroy_versions(key);
    key.destroyed_at = clock_.now();
    if (!store_.finish_destruction(key, make_tombstone(key), making.holder())) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the key was changed while it was destroyed: it is gone from the token",
                          "key " + key.id.to_string());
    }
    refresh(key_id);
    log_.info("destroyed a key", {{"key_id", key.id.to_string()}});
    return true;
}

void KeyLifecycle::destroy_versions(const Key& key) {
    // Also those that were given up while they were made: a crash, or a node that stood still, may
    // have left something of them in the token.
    for (const auto& version : key.versions) {
        // Another key under the id means another token: destroying that would be the worst mistake.
        if (version.state == KeyState::enabled &&
            hold_to_known_answer(token_, key, version) == KeyProof::different) {
            base::refuse("the token has another key under the id of a version to be destroyed",
                         "key " + key.id.to_string() + "/" + std::to_string(version.version));
        }
        try {
            token_.destroy_key(version.token_key_id);
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::not_found) throw;  // gone before, or never made
        }
        if (token_.find_key(version.token_key_id)) {
            throw base::Error(base::ErrorCode::unavailable,
                              "the token still has a key that it said it destroyed",
                              "key " + key.id.to_string());
        }
    }
}

std::string KeyLifecycle::make_tombstone(const Key& key) const {
    base::JsonWriter record;
    record.begin_object().field("key_id", key.id.to_string());
    record.field("kind", hsm::to_string(key.kind)).field("profile", hsm::to_string(key.profile));
    record.field("created_at", base::to_rfc3339(key.created_at));
    if (key.compromised_at) {
        record.field("compromised_at", base::to_rfc3339(*key.compromised_at));
    }
    record.field("deletion_at", base::to_rfc3339(*key.deletion_at));
    if (!key.deletion_ordered_by.empty()) {
        record.field("deletion_ordered_by", key.deletion_ordered_by);
    }
    record.field("destroyed_at", base::to_rfc3339(*key.destroyed_at));
    record.name("aliases").begin_array();
    for (const auto& alias : key.aliases) record.string(alias);
    record.end_array().name("versions").begin_array();
    for (const auto& version : key.versions) {
        record.begin_object().field("version", version.version);
        record.field("token_key_id", version.token_key_id.to_string());
        record.field("created_at", base::to_rfc3339(version.created_at));
        record.field("wraps_reserved", version.wraps_reserved);
        record.field("proven_absent", true).end_object();
    }
    record.end_array().end_object();
    return std::string(record.text());
}

}  // namespace kms
