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

// A kill in the middle of C_GenerateKey leaves an object that the token does not call its own work
// yet. It was never acknowledged, and nobody will finish it.
bool Settler::is_half_made(const Key& key, const KeyVersion& version,
                           const hsm::KeyAttributes& found) {
    if (found.local != false || hsm::differences_from_profile(found, key.profile, key.kind).empty())
        return false;
    complain(key, version, "its making was cut short in the token: it is given up");
    return true;
}

bool Settler::is_as_ordered(const Key& key, const KeyVersion& version,
                            const hsm::KeyAttributes& found) {
    const auto wrong = hsm::differences_from_profile(found, key.profile, key.kind);
    if (wrong.empty()) return true;
    std::string list;
    for (const auto& each : wrong) list += (list.empty() ? "" : ", ") + each;
    complain(key, version, "it is not as ordered: " + list);
    return false;
}

// It survives this process.
bool Settler::is_durable(const Key& key, const KeyVersion& version) {
    try {
        token_.make_durable(version.token_key_id);
        return true;
    } catch (const base::Error& error) {
        complain(key, version, error.what());
        return false;
    }
}

void Settler::complain(const Key& key, const KeyVersion& version, const std::string& why) {
    log_.error("a pending key version is in the token but can't be put in service",
               {{"key_id", key.id.to_string()},
                {"key_version", static_cast<std::int64_t>(version.version)},
                {"token_key_id", version.token_key_id.to_string()},
                {"why", why}});
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

Settled Settler::settle_key(const Key& key, const std::string& holder) {
    const KeyVersion& version = key.primary();
    const auto found = token_.find_key(version.token_key_id);
    if (!found || is_half_made(key, version, *found)) {
        store_.abandon_key(key.id, clock_.now(), holder);
        log_.warning("a key creation that was never finished is marked destroyed",
                     {{"key_id", key.id.to_string()}});
        return Settled::abandoned;
    }
    if (!is_as_ordered(key, version, *found) || !is_durable(key, version))
        return Settled::left_pending;
    const auto answer = known_answer(key, version);
    if (!answer) return Settled::left_pending;
    try {
        store_.enable_key(key.id, *answer, key.wanted_alias, holder);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::already_exists) throw;
        store_.enable_key(key.id, *answer, "", holder);
        log_.warning("a finished key gets no alias, since another key has it",
                     {{"key_id", key.id.to_string()}, {"alias", key.wanted_alias}});
    }
    log_.info("finished a key creation that was cut short", {{"key_id", key.id.to_string()}});
    return Settled::finished;
}

Settled Settler::settle_version(const Key& key, const KeyVersion& version,
                                const std::string& holder) {
    const auto found = token_.find_key(version.token_key_id);
    if (!found || is_half_made(key, version, *found)) {
        store_.abandon_version(key.id, version.version, clock_.now(), holder);
        log_.warning("a rotation that was never finished is given up",
                     {{"key_id", key.id.to_string()},
                      {"key_version", static_cast<std::int64_t>(version.version)}});
        return Settled::abandoned;
    }
    if (!is_as_ordered(key, version, *found) || !is_durable(key, version))
        return Settled::left_pending;
    const auto answer = known_answer(key, version);
    if (!answer) return Settled::left_pending;
    store_.enable_version(key.id, version.version, *answer, next_rotation(key, clock_.now()),
                          holder);
    log_.info("finished a rotation that was cut short",
              {{"key_id", key.id.to_string()},
               {"key_version", static_cast<std::int64_t>(version.version)}});
    return Settled::finished;
}

}  // namespace kms
