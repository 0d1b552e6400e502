#include "kms/reconcile.h"

#include <set>

#include "base/error.h"
#include "kms/known_answer.h"
#include "kms/making_lock.h"

namespace kms {
namespace {

struct Reconciler {
    Store& store;
    hsm::Token& token;
    base::Log& log;
    Settler settler;
    const RecordGivenUp& record;
    Reconciled result;

    void count(const Key& key, std::uint32_t version, Settled settled) {
        if (settled == Settled::left_pending) return;
        const bool is_finished = settled == Settled::finished;
        ++(is_finished ? result.finished : result.abandoned);
        result.settled.push_back({{key.id, version}, is_finished});
    }

    void settle(const Key& key, const std::string& holder) {
        if (key.state == KeyState::pending) {
            return count(key, key.primary_version, settler.settle_key(key, holder, record));
        }
        for (const auto& version : key.versions) {
            if (version.state == KeyState::pending && !key.destruction_begun) {
                count(key, version.version, settler.settle_version(key, version, holder, record));
            }
        }
    }

    void prove_versions(const Key& key) {
        if (key.destruction_begun) return;
        for (const auto& version : key.versions) {
            if (version.state != KeyState::enabled) continue;
            const KeyProof proof = hold_to_known_answer(token, key, version);
            if (proof == KeyProof::proven) continue;
            result.unproven.push_back({key.id, version.version});
            log.error(proof == KeyProof::missing
                          ? "a master key is missing from the token: restore the token's copy"
                          : "the token has another key under a master key's id: check which "
                            "token this is",
                      {{"key_id", key.id.to_string()},
                       {"key_version", static_cast<std::int64_t>(version.version)},
                       {"token_key_id", version.token_key_id.to_string()}});
        }
    }

    void count_unknown_objects(const std::vector<hsm::KeyId>& objects,
                               std::optional<hsm::KeyId> audit_key) {
        std::set<hsm::KeyId> known;
        std::set<hsm::KeyId> gone;
        for (const auto& key : result.keys) {
            for (const auto& version : key.versions) {
                (version.state == KeyState::destroyed ? gone : known).insert(version.token_key_id);
            }
        }
        for (const auto& id : objects) {
            if (known.count(id) != 0 || id == audit_key) continue;
            if (gone.count(id) != 0) {
                ++result.leftover_objects;
                log.warning(
                    "the token has what is left of a key that was given up or destroyed; "
                    "nothing is done to it",
                    {{"token_key_id", id.to_string()}});
                continue;
            }
            ++result.unknown_objects;
            log.warning("the token has a key that no record names; nothing is done to it",
                        {{"token_key_id", id.to_string()}});
        }
    }
};

}  // namespace

Reconciled reconcile(Store& store, hsm::Token& token, UsageCounter& usage, const base::Clock& clock,
                     base::Log& log, std::optional<hsm::KeyId> audit_key,
                     const RecordGivenUp& record) {
    Reconciler work{store, token, log, {store, token, usage, clock, log}, record, {}};
    {
        const MakingLock lock(store, clock, base::Uuid::random().to_string());
        for (const auto& key : store.load()) work.settle(key, lock.holder());
    }
    work.result.change_count = store.change_count();
    work.result.keys = store.load();
    // Listed before the keys are proven: each is then found without a search of its own.
    const auto objects = token.list_keys(&work.result.unknown_objects);
    if (work.result.unknown_objects > 0) {
        log.warning(
            "the token has keys whose ids are none of ours; nothing is done to them",
            {{"objects_without_id", static_cast<std::int64_t>(work.result.unknown_objects)}});
    }
    for (const auto& key : work.result.keys) work.prove_versions(key);
    work.count_unknown_objects(objects, audit_key);
    return work.result;
}

}  // namespace kms
