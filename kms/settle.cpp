#include "kms/settle.h"

#include "base/error.h"
#include "kms/known_answer.h"

namespace kms {
std::optional<base::Time> next_rotation(const Key& key, base::Time now) {
    if (!key.rotation_period_days) return std::nullopt;
    return now + std::chrono::hours(24) * *key.rotation_period_days;
}

std::string token_label(const base::Uuid& key_id, std::uint32_t version) {
    return "strongroom/" + key_id.to_string() + "/" + std::to_string(version);
}

// The token has the key as it was ordered, and it survives this process.
bool Settler::is_good(const Key& key, const KeyVersion& version) {
    const auto complain = [&](const std::string& why) {
        log_.error("a pending key version is in the token but can't be put in service",
                   {{"key_id", key.id.to_string()},
                    {"key_version", static_cast<std::int64_t>(version.version)},
                    {"token_key_id", version.token_key_id.to_string()},
                    {"why", why}});
        return false;
    };
    const auto attributes = token_.find_key(version.token_key_id);
    const auto wrong = hsm::differences_from_profile(*attributes, key.profile, key.kind);
    if (!wrong.empty()) {
        std::string list;
        for (const auto& each : wrong) list += (list.empty() ? "" : ", ") + each;
        return complain("it is not as ordered: " + list);
    }
    try {
        token_.make_durable(version.token_key_id);
    } catch (const base::Error& error) {
        return complain(error.what());
    }
    return true;
}

// Empty when the key does not open what it has just made.
std::optional<hsm::Encrypted> Settler::known_answer(const Key& key, const KeyVersion& version) {
    if (key.kind == hsm::KeyKind::aes_256) usage_.take(key.id, version.version, 1);
    KeyVersion proven = version;
    proven.known_answer = make_known_answer(token_, key, version);
    const KeyProof proof = prove_key(token_, key, proven);
    if (proof == KeyProof::proven) return proven.known_answer;
    log_.error("a pending key version does not prove itself and is left pending",
               {{"key_id", key.id.to_string()},
                {"key_version", static_cast<std::int64_t>(version.version)},
                {"proof", std::string(to_string(proof))}});
    return std::nullopt;
}

Settled Settler::settle_key(const Key& key) {
    const KeyVersion& version = key.primary();
    if (!token_.find_key(version.token_key_id)) {
        store_.abandon_key(key.id, clock_.now());
        log_.warning("a key creation that was never finished is marked destroyed",
                     {{"key_id", key.id.to_string()}});
        return Settled::abandoned;
    }
    if (!is_good(key, version)) return Settled::left_pending;
    const auto answer = known_answer(key, version);
    if (!answer) return Settled::left_pending;
    try {
        store_.enable_key(key.id, *answer, key.wanted_alias);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::already_exists) throw;
        store_.enable_key(key.id, *answer, "");
        log_.warning("a finished key gets no alias, since another key has it",
                     {{"key_id", key.id.to_string()}, {"alias", key.wanted_alias}});
    }
    log_.info("finished a key creation that was cut short", {{"key_id", key.id.to_string()}});
    return Settled::finished;
}

Settled Settler::settle_version(const Key& key, const KeyVersion& version) {
    if (!token_.find_key(version.token_key_id)) {
        store_.abandon_version(key.id, version.version, clock_.now());
        log_.warning("a rotation that was never finished is given up",
                     {{"key_id", key.id.to_string()},
                      {"key_version", static_cast<std::int64_t>(version.version)}});
        return Settled::abandoned;
    }
    if (!is_good(key, version)) return Settled::left_pending;
    const auto answer = known_answer(key, version);
    if (!answer) return Settled::left_pending;
    store_.enable_version(key.id, version.version, *answer, next_rotation(key, clock_.now()));
    log_.info("finished a rotation that was cut short",
              {{"key_id", key.id.to_string()},
               {"key_version", static_cast<std::int64_t>(version.version)}});
    return Settled::finished;
}

}  // namespace kms
