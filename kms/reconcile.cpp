#include "kms/reconcile.h"

#include <set>

#include "base/error.h"
#include "kms/known_answer.h"

namespace kms {
namespace {

struct Reconciler {
    Store& store;
    hsm::Token& token;
    UsageCounter& usage;
    base::Log& log;
    Reconciled result;

    void abandon(const Key& key) {
        store.abandon_key(key.id);
        ++result.abandoned;
        log.warning("a key creation that was never finished is marked destroyed",
                    {{"key_id", key.id.to_string()}});
    }

    // Enabled with the alias it asked for, or without when another key has that.
    void enable(const Key& key, const hsm::Encrypted& known_answer) {
        try {
            store.enable_key(key.id, known_answer, key.wanted_alias);
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::already_exists) throw;
            store.enable_key(key.id, known_answer, "");
            log.warning("a finished key gets no alias, since another key has it",
                        {{"key_id", key.id.to_string()}, {"alias", key.wanted_alias}});
        }
    }

    void leave_pending(const Key& key, const std::string& why) {
        log.error("a pending key is in the token but can't be put in service; it stays pending",
                  {{"key_id", key.id.to_string()},
                   {"token_key_id", key.primary().token_key_id.to_string()},
                   {"why", why}});
    }

    void settle_pending(const Key& key) {
        const KeyVersion& version = key.primary();
        const auto attributes = token.find_key(version.token_key_id);
        if (!attributes) return abandon(key);
        const auto wrong = hsm::differences_from_profile(*attributes, key.profile, key.kind);
        if (!wrong.empty()) {
            std::string list;
            for (const auto& each : wrong) list += (list.empty() ? "" : ", ") + each;
            return leave_pending(key, "it is not as ordered: " + list);
        }
        try {
            token.make_durable(version.token_key_id);
        } catch (const base::Error& error) {
            return leave_pending(key, error.what());
        }
        usage.take(key.id, version.version, 1);
        enable(key, make_known_answer(token, key, version));
        ++result.finished;
        log.info("finished a key creation that was cut short", {{"key_id", key.id.to_string()}});
    }

    void prove_versions(const Key& key) {
        for (const auto& version : key.versions) {
            if (version.state == KeyState::pending || version.state == KeyState::destroyed) {
                continue;
            }
            const KeyProof proof = prove_key(token, key, version);
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

    void count_unknown_objects() {
        std::set<hsm::KeyId> known;
        for (const auto& key : result.keys) {
            for (const auto& version : key.versions) {
                if (version.state != KeyState::destroyed) known.insert(version.token_key_id);
            }
        }
        std::size_t unnamed = 0;
        for (const auto& id : token.list_keys(&unnamed)) {
            if (known.count(id) != 0) continue;
            ++result.unknown_objects;
            log.warning("the token has a key that no record names; nothing is done to it",
                        {{"token_key_id", id.to_string()}});
        }
        result.unknown_objects += unnamed;
    }
};

}  // namespace

Reconciled reconcile(Store& store, hsm::Token& token, UsageCounter& usage, base::Log& log) {
    Reconciler work{store, token, usage, log, {}};
    for (const auto& key : store.load()) {
        if (key.state == KeyState::pending) work.settle_pending(key);
    }
    work.result.keys = store.load();
    for (const auto& key : work.result.keys) work.prove_versions(key);
    work.count_unknown_objects();
    return work.result;
}

}  // namespace kms
