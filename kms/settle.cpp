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

namespace {

// Whether the token has spoken of the very key. All else is about the token itself, or passes.
bool is_about_the_key(const base::Error& error) {
    return error.code() == base::ErrorCode::not_found ||
           error.code() == base::ErrorCode::integrity_failure ||
           error.code() == base::ErrorCode::internal;
}

std::string list_of(const std::vector<std::string>& names) {
    std::string list;
    for (const auto& each : names) list += (list.empty() ? "" : ", ") + each;
    return list;
}

}  // namespace

Settler::Finding Settler::give_up(const Key& key, const KeyVersion& version,
                                  const std::string& why) {
    log_.error(
        "a pending key version is in the token but can't be put in service: it is given up, and "
        "what the token has of it stays there",
        {{"key_id", key.id.to_string()},
         {"key_version", static_cast<std::int64_t>(version.version)},
         {"token_key_id", version.token_key_id.to_string()},
         {"why", why}});
    return {};
}

Settler::Finding Settler::examine(const Key& key, const KeyVersion& version) {
    try {
        const auto found = token_.find_key(version.token_key_id);
        if (!found) return {};
        // A kill in the middle of C_GenerateKey leaves an object that the token does not call its
        // own work yet. Nobody will finish it.
        const auto wrong = hsm::differences_from_profile(*found, key.profile, key.kind);
        if (!wrong.empty()) return give_up(key, version, "it is not as ordered: " + list_of(wrong));
    } catch (const base::Error& error) {
        if (!is_about_the_key(error)) throw;
        return give_up(key, version, error.what());
    }
    try {
        token_.make_durable(version.token_key_id);
    } catch (const base::Error& error) {
        if (is_about_the_key(error)) return give_up(key, version, error.what());
        log_.error("a pending key version can't be proven durable now and stays pending",
                   {{"key_id", key.id.to_string()},
                    {"key_version", static_cast<std::int64_t>(version.version)},
                    {"token_key_id", version.token_key_id.to_string()},
                    {"why", error.what()}});
        return {Settled::left_pending, {}};
    }
    return prove(key, version);
}

Settler::Finding Settler::prove(const Key& key, const KeyVersion& version) {
    if (key.kind == hsm::KeyKind::aes_256) usage_.take(key.id, version.version, 1);
    KeyVersion proven = version;
    try {
        proven.known_answer = make_known_answer(token_, key, version);
    } catch (const base::Error& error) {
        if (!is_about_the_key(error)) throw;
        return give_up(key, version, error.what());
    }
    const KeyProof proof = prove_key(token_, key, proven);
    if (proof == KeyProof::proven) return {Settled::finished, std::move(proven.known_answer)};
    return give_up(key, version,
                   "it does not prove itself: it is " + std::string(to_string(proof)));
}

Settled Settler::settle_key(const Key& key, const std::string& holder) {
    const Finding finding = examine(key, key.primary());
    if (finding.settled == Settled::abandoned) {
        store_.abandon_key(key.id, clock_.now(), holder);
        log_.warning("a key creation that was never finished is marked destroyed",
                     {{"key_id", key.id.to_string()}});
    }
    if (finding.settled != Settled::finished) return finding.settled;
    try {
        store_.enable_key(key.id, finding.known_answer, key.wanted_alias, holder);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::already_exists) throw;
        store_.enable_key(key.id, finding.known_answer, "", holder);
        log_.warning("a finished key gets no alias, since another key has it",
                     {{"key_id", key.id.to_string()}, {"alias", key.wanted_alias}});
    }
    log_.info("finished a key creation that was cut short", {{"key_id", key.id.to_string()}});
    return Settled::finished;
}

Settled Settler::settle_version(const Key& key, const KeyVersion& version,
                                const std::string& holder) {
    const Finding finding = examine(key, version);
    if (finding.settled == Settled::abandoned) {
        store_.abandon_version(key.id, version.version, clock_.now(), holder);
        log_.warning("a rotation that was never finished is given up",
                     {{"key_id", key.id.to_string()},
                      {"key_version", static_cast<std::int64_t>(version.version)}});
    }
    if (finding.settled != Settled::finished) return finding.settled;
    store_.enable_version(key.id, version.version, finding.known_answer,
                          next_rotation(key, clock_.now()), holder);
    log_.info("finished a rotation that was cut short",
              {{"key_id", key.id.to_string()},
               {"key_version", static_cast<std::int64_t>(version.version)}});
    return Settled::finished;
}

}  // namespace kms
