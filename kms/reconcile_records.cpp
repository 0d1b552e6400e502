#include "kms/reconcile_records.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>

#include "server/audit_intents.h"

namespace kms {
namespace {

using Facts = std::map<std::string, std::string>;

std::string fact_of(const server::UnfinishedIntent& intent, const std::string& name) {
    const auto found = intent.facts.find(name);
    return found == intent.facts.end() ? std::string() : found->second;
}

// Whether both have the key, and the version if the intent names one.
bool is_about(const server::UnfinishedIntent& intent, const VersionName& name) {
    const std::string version = fact_of(intent, "key_version");
    return fact_of(intent, "key_id") == name.key_id.to_string() &&
           version == std::to_string(name.version);
}

void name_intent(Facts& facts, const server::UnfinishedIntent& intent) {
    facts[std::string(server::of_request_fact)] = intent.request_id.to_string();
    facts["intent_sequence"] = std::to_string(intent.sequence);
}

void name_intent(Facts& facts, const std::vector<server::UnfinishedIntent>& intents,
                 const VersionName& name) {
    const auto found = std::find_if(intents.begin(), intents.end(),
                                    [&name](const auto& intent) { return is_about(intent, name); });
    if (found != intents.end()) name_intent(facts, *found);
}

// Null when there is none.
const Key* find_key(const std::vector<Key>& keys, const std::string& key_id) {
    const auto key = std::find_if(keys.begin(), keys.end(), [&key_id](const Key& each) {
        return each.id.to_string() == key_id;
    });
    return key == keys.end() ? nullptr : &*key;
}

std::string state_of(const Key* key, const std::string& version) {
    if (key == nullptr) return "absent";
    if (version.empty()) return std::string(to_string(key->state));
    std::uint32_t number = 0;
    std::from_chars(version.data(), version.data() + version.size(), number);
    const KeyVersion* found = key->find_version(number);
    return found == nullptr ? "absent" : std::string(to_string(found->state));
}

}  // namespace

void record_giving_up(server::AuditLog& audit, const GivenUp& given_up) {
    Facts facts{{"key_id", given_up.name.key_id.to_string()},
                {"key_version", std::to_string(given_up.name.version)},
                {"token_key_id", given_up.token_key_id.to_string()},
                {"settled", "abandoned"},
                {"why", given_up.why}};
    name_intent(facts, audit.unfinished(), given_up.name);
    audit.event("settle_key", facts);
}

void record_settled(server::AuditLog& audit, const Reconciled& reconciled) {
    const auto& intents = audit.unfinished();
    for (const auto& settled : reconciled.settled) {
        if (!settled.is_finished) continue;
        Facts facts{{"key_id", settled.name.key_id.to_string()},
                    {"key_version", std::to_string(settled.name.version)},
                    {"settled", "finished"}};
        name_intent(facts, intents, settled.name);
        audit.event("settle_key", facts);
    }
    for (const server::UnfinishedIntent& intent : intents) {
        const std::string key_id = fact_of(intent, "key_id");
        const bool is_settled =
            std::any_of(reconciled.settled.begin(), reconciled.settled.end(),
                        [&intent](const auto& settled) { return is_about(intent, settled.name); });
        if (key_id.empty() || is_settled) continue;
        const std::string version = fact_of(intent, "key_version");
        const Key* key = find_key(reconciled.keys, key_id);
        Facts facts{{"key_id", key_id}, {"settled", "found"}, {"state", state_of(key, version)}};
        // What a change of tags or of a description shows by.
        if (key != nullptr) facts["revision"] = std::to_string(key->revision);
        if (!version.empty()) facts["key_version"] = version;
        name_intent(facts, intent);
        audit.event("settle_key", facts);
    }
}

}  // namespace kms
