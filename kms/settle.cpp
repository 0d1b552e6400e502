#include "kms/settle.h"

#include "base/error.h"
#include "base/json.h"
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

// `detail` is for the log only.
Settler::Finding Settler::give_up(const Key& key, const KeyVersion& version, const std::string& why,
                                  const std::string& detail) {
    log_.error(
        "a pending key version is in the token but can't be put in service: it is given up, and "
        "what the token has of it stays there",
        {{"key_id", key.id.to_string()},
         {"key_version", static_cast<std::int64_t>(version.version)},
         {"token_key_id", version.token_key_id.to_string()},
         {"why", detail.empty() ? why : detail}});
    return {Settled::abandoned, {}, why};
}

Settler::Finding Settler::examine(const Key& key, const KeyVersion& version) {
    try {
        const auto found = token_.find_key(version.token_key_id);
        if (!found) return {Settled::abandoned, {}, "the token has no such key", true};
        // A kill in the middle of C_GenerateKey leaves an object that the token does not call its
        // own work yet. Nobody will finish it.
        const auto wrong = hsm::differences_from_profile(*found, key.profile, key.kind);
        if (!wrong.empty()) return give_up(key, version, "it is not as ordered: " + list_of(wrong));
    } catch (const base::Error& error) {
        if (!is_about_the_key(error)) throw;
        return give_up(key, version, error.message(), error.what());
    }
    try {
        token_.make_durable(version.token_key_id);
    } catch (const base::Error& error) {
        if (is_about_the_key(error)) {
            return give_up(key, version, error.message(), error.what());
        }
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
        return give_up(key, version, error.message(), error.what());
    }
    const KeyProof proof = hold_to_known_answer(token_, key, proven);
    if (proof == KeyProof::proven) return {Settled::finished, std::move(proven.known_answer)};
    return give_up(key, version,
                   "it does not prove itself: it is " + std::string(to_string(proof)));
}

void Settler::write_tombstone(base::JsonWriter& out, const KeyVersion& version,
                              const Finding& finding, base::Time at) {
    out.begin_object().field("version", version.version);
    out.field("token_key_id", version.token_key_id.to_string());
    out.field("created_at", base::to_rfc3339(version.created_at));
    out.field("destroyed_at", base::to_rfc3339(at));
    out.field("given_up_in_making", finding.why);
    out.field("proven_absent", finding.is_absent).end_object();
}

std::string Settler::key_tombstone(const Key& key, const Finding& finding, base::Time at) {
    base::JsonWriter record;
    record.begin_object().field("key_id", key.id.to_string());
    record.field("kind", hsm::to_string(key.kind)).field("profile", hsm::to_string(key.profile));
    record.field("created_at", base::to_rfc3339(key.created_at));
    record.field("destroyed_at", base::to_rfc3339(at));
    record.field("given_up_in_making", finding.why);
    record.name("aliases").begin_array().end_array().name("versions").begin_array();
    write_tombstone(record, key.primary(), finding, at);
    record.end_array().end_object();
    return std::string(record.text());
}

Settled Settler::settle_key(const Key& key, const std::string& holder,
                            const RecordGivenUp& record) {
    const Finding finding = examine(key, key.primary());
    if (finding.settled == Settled::abandoned) {
        const base::Time now = clock_.now();
        if (record) record({{key.id, 1}, key.primary().token_key_id, finding.why});
        store_.abandon_key(key.id, now, key_tombstone(key, finding, now), holder);
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
                                const std::string& holder, const RecordGivenUp& record) {
    const Finding finding = examine(key, version);
    if (finding.settled == Settled::abandoned) {
        const base::Time now = clock_.now();
        if (record) record({{key.id, version.version}, version.token_key_id, finding.why});
        base::JsonWriter tombstone;
        write_tombstone(tombstone, version, finding, now);
        store_.abandon_version(key.id, version.version, now, std::string(tombstone.text()), holder);
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
