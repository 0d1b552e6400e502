#include "kms/key_json.h"

#include <algorithm>

#include "base/clock.h"
#include "base/encoding.h"
#include "hsm/public_key.h"
#include "kms/context_rule_json.h"
#include "kms/known_answer.h"

namespace kms {
namespace {

void write_optional(base::JsonWriter& out, std::string_view name, std::optional<bool> value) {
    out.name(name);
    if (value) {
        out.boolean(*value);
    } else {
        out.null();
    }
}

void write_time(base::JsonWriter& out, std::string_view name, std::optional<base::Time> time) {
    if (time) out.field(name, base::to_rfc3339(*time));
}

// PKCS#11 (2.40, "key check value"): what the token computes it from.
std::string_view check_value_method(KeyUse use) {
    switch (use) {
        case KeyUse::encrypt:
            return "CKA_CHECK_VALUE: first bytes of a zero block under AES-ECB";
        case KeyUse::mac:
            return "CKA_CHECK_VALUE: first bytes of the SHA-1 of the value";
        case KeyUse::sign:
            break;
    }
    return "none: a pair is known by its public key";
}

// What the token said; null when it has no such key.
void write_attributes(base::JsonWriter& out, KeyUse use,
                      const std::optional<hsm::KeyAttributes>& attributes) {
    out.name("attributes");
    if (!attributes) {
        out.null();
        return;
    }
    out.begin_object();
    write_optional(out, "sensitive", attributes->sensitive);
    write_optional(out, "extractable", attributes->extractable);
    write_optional(out, "always_sensitive", attributes->always_sensitive);
    write_optional(out, "never_extractable", attributes->never_extractable);
    write_optional(out, "local", attributes->local);
    out.field("mechanism", attributes->mechanism);
    out.name("check_value").begin_object();
    out.field("value", base::to_hex(attributes->check_value));
    out.field("method", check_value_method(use));
    out.end_object().end_object();
}

// Wraps that a rewrap has not been seen for. More may have been made than are known after a crash.
std::uint64_t wraps_remaining(const KeyVersion& version) {
    return version.wraps_used - std::min(version.wraps_used, version.rewrapped_away);
}

void write_version(base::JsonWriter& out, const Key& key, const KeyVersion& version,
                   const std::optional<hsm::KeyAttributes>* attributes,
                   const std::string& tombstone) {
    out.begin_object().field("version", version.version);
    out.field("state", to_string(version.state));
    out.field("created_at", base::to_rfc3339(version.created_at));
    write_time(out, "destroyed_at", version.destroyed_at);
    out.field("token_key_id", base::to_hex(version.token_key_id.bytes()));
    out.field("wraps_reserved", version.wraps_reserved).field("wraps_used", version.wraps_used);
    out.field("wraps_remaining", wraps_remaining(version));
    write_time(out, "last_used_at", version.last_used_at);
    if (attributes != nullptr) {
        write_attributes(out, key.use(), *attributes);
        const base::ByteView public_key = public_key_of(version);
        if (key.use() == KeyUse::sign && !public_key.empty()) {
            out.field("public_key", hsm::to_pem(public_key));
        }
    }
    if (!tombstone.empty()) out.name("tombstone").raw(tombstone);
    out.end_object();
}

// The description's attributes are one for each version, or none for an answer without them.
void write_whole(base::JsonWriter& out, const Key& key, const KeyDescription& description) {
    const auto& attributes = description.attributes;
    const std::string& tombstone = description.tombstone;
    out.begin_object().field("id", key.id.to_string());
    out.field("state", to_string(key.state)).field("kind", hsm::to_string(key.kind));
    out.field("use", to_string(key.use())).field("profile", hsm::to_string(key.profile));
    out.field("revision", key.revision);
    out.field("description", key.description).field("tags", key.tags);
    out.name("aliases").begin_array();
    for (const auto& alias : key.aliases) out.string(alias);
    out.end_array();
    out.field("primary_version", key.primary_version);
    out.field("created_at", base::to_rfc3339(key.created_at));
    if (key.rotation_period_days) {
        out.field("rotation_period_days", static_cast<std::int64_t>(*key.rotation_period_days));
    }
    write_time(out, "next_rotation_at", key.next_rotation_at);
    write_time(out, "deletion_at", key.deletion_at);
    write_time(out, "compromised_at", key.compromised_at);
    write_time(out, "destroyed_at", key.destroyed_at);
    if (key.context_rule != ContextRule()) {
        out.name("context_rule");
        write_context_rule(out, key.context_rule);
    }
    if (!tombstone.empty()) out.name("tombstone").raw(tombstone);
    out.name("versions").begin_array();
    for (std::size_t i = 0; i < key.versions.size(); ++i) {
        const auto given_up = description.version_tombstones.find(key.versions[i].version);
        write_version(
            out, key, key.versions[i], i < attributes.size() ? &attributes[i] : nullptr,
            given_up == description.version_tombstones.end() ? std::string() : given_up->second);
    }
    out.end_array().end_object();
}

}  // namespace

void write_key(base::JsonWriter& out, const Key& key) { write_whole(out, key, {}); }

void write_description(base::JsonWriter& out, const KeyDescription& description) {
    write_whole(out, *description.key, description);
}

}  // namespace kms
