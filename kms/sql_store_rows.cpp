#include "kms/sql_store_rows.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "kms/context_rule_json.h"

namespace kms {
namespace {

[[noreturn]] void refuse_row(const std::string& key_id, const std::string& column) {
    throw base::Error(base::ErrorCode::failed_precondition,
                      "the key store holds a record that this program can't read",
                      "key " + key_id + ", column " + column);
}

// What was accepted may be longer as it is written: a control character takes six bytes.
base::JsonValue parse_stored(const std::string& text) {
    base::JsonLimits limits;
    limits.bytes = 1024UL * 1024;
    return base::parse_json(text, limits);
}

base::Uuid parse_id(const std::string& text, const std::string& column) {
    const auto id = base::Uuid::parse(text);
    if (!id) refuse_row(text, column);
    return *id;
}

// `parsed` or a refusal of the row.
template <typename Value>
Value require(const std::optional<Value>& parsed, const std::string& key_id,
              const std::string& column) {
    if (!parsed) refuse_row(key_id, column);
    return *parsed;
}

std::optional<base::Time> from_column(long long milliseconds) {
    if (milliseconds == 0) return std::nullopt;
    return base::from_milliseconds(milliseconds);
}

// `k` is the table of keys. Keys without a change number are those of the first schema.
std::string condition(const KeySelection& selection) {
    return selection.id.empty() ? " WHERE k.change > :after AND :id = ''"
                                : " WHERE k.change > :after AND k.id = :id";
}

std::vector<Key> select_key_rows(soci::session& sql, const KeySelection& selection) {
    std::vector<Key> keys;
    std::string id, state, kind, profile, description, tags, wanted_alias, context_rule,
        deletion_ordered_by;
    int primary_version = 0, rotation_period_days = 0, destruction_begun = 0;
    long long revision = 0, change = 0, created_at = 0, next_rotation_at = 0, deletion_at = 0,
              compromised_at = 0, destroyed_at = 0;
    soci::statement rows =
        (sql.prepare << "SELECT k.id, k.state, k.kind, k.profile, k.revision, k.change, "
                        "k.description, k.tags, k.wanted_alias, k.primary_version, k.created_at, "
                        "k.rotation_period_days, k.next_rotation_at, k.deletion_at, "
                        "k.compromised_at, k.destroyed_at, k.destruction_begun, k.context_rule, "
                        "k.deletion_ordered_by "
                        "FROM keys k" +
                            condition(selection),
         soci::into(id), soci::into(state), soci::into(kind), soci::into(profile),
         soci::into(revision), soci::into(change), soci::into(description), soci::into(tags),
         soci::into(wanted_alias), soci::into(primary_version), soci::into(created_at),
         soci::into(rotation_period_days), soci::into(next_rotation_at), soci::into(deletion_at),
         soci::into(compromised_at), soci::into(destroyed_at), soci::into(destruction_begun),
         soci::into(context_rule), soci::into(deletion_ordered_by),
         soci::use(selection.after, "after"), soci::use(selection.id, "id"));
    rows.execute();
    while (rows.fetch()) {
        Key key;
        key.id = parse_id(id, "id");
        key.state = require(parse_key_state(state), id, "state");
        key.kind = require(hsm::parse_key_kind(kind), id, "kind");
        key.profile = require(hsm::parse_key_profile(profile), id, "profile");
        key.revision = static_cast<std::uint64_t>(revision);
        key.change = static_cast<std::uint64_t>(change);
        key.description = description;
        key.tags = text_to_tags(tags, id);
        key.wanted_alias = wanted_alias;
        key.primary_version = static_cast<std::uint32_t>(primary_version);
        key.created_at = base::from_milliseconds(created_at);
        if (rotation_period_days != 0) key.rotation_period_days = rotation_period_days;
        key.next_rotation_at = from_column(next_rotation_at);
        key.deletion_at = from_column(deletion_at);
        key.compromised_at = from_column(compromised_at);
        key.destroyed_at = from_column(destroyed_at);
        key.destruction_begun = destruction_begun != 0;
        key.deletion_ordered_by = deletion_ordered_by;
        key.context_rule = text_to_context_rule(context_rule, id);
        keys.push_back(std::move(key));
    }
    return keys;
}

using KeysById = std::map<base::Uuid, Key*>;

void select_versions(soci::session& sql, const KeySelection& selection, const KeysById& keys) {
    std::string key_id, state, token_key_id, request, known_answer;
    int number = 0;
    long long created_at = 0, wraps_reserved = 0, wraps_used = 0, rewrapped_away = 0,
              last_used_at = 0, destroyed_at = 0;
    soci::statement rows =
        (sql.prepare << "SELECT v.key_id, v.version, v.state, v.token_key_id, v.created_at, "
                        "v.wraps_reserved, v.wraps_used, v.rewrapped_away, v.last_used_at, "
                        "v.destroyed_at, v.request, v.known_answer "
                        "FROM key_versions v JOIN keys k ON k.id = v.key_id" +
                            condition(selection),
         soci::into(key_id), soci::into(number), soci::into(state), soci::into(token_key_id),
         soci::into(created_at), soci::into(wraps_reserved), soci::into(wraps_used),
         soci::into(rewrapped_away), soci::into(last_used_at), soci::into(destroyed_at),
         soci::into(request), soci::into(known_answer), soci::use(selection.after, "after"),
         soci::use(selection.id, "id"));
    rows.execute();
    while (rows.fetch()) {
        const auto found = keys.find(parse_id(key_id, "key_id"));
        if (found == keys.end()) refuse_row(key_id, "key_id");
        auto& versions = found->second->versions;
        KeyVersion version;
        version.version = static_cast<std::uint32_t>(number);
        version.state = require(parse_key_state(state), key_id, "version state");
        version.token_key_id = parse_id(token_key_id, "token_key_id");
        version.created_at = base::from_milliseconds(created_at);
        version.wraps_reserved = static_cast<std::uint64_t>(wraps_reserved);
        version.wraps_used = static_cast<std::uint64_t>(wraps_used);
        version.rewrapped_away = static_cast<std::uint64_t>(rewrapped_away);
        version.last_used_at = from_column(last_used_at);
        version.destroyed_at = from_column(destroyed_at);
        version.request = request;
        version.known_answer = text_to_known_answer(known_answer, key_id);
        versions.push_back(std::move(version));
    }
    // Not by the database: SQLite would go through all rows in that order to spare itself a sort.
    for (const auto& [id, key] : keys) {
        std::sort(key->versions.begin(), key->versions.end(),
                  [](const auto& left, const auto& right) { return left.version < right.version; });
        std::uint32_t expected = 0;
        for (const auto& version : key->versions) {
            if (version.version != ++expected) refuse_row(id.to_string(), "version");
        }
    }
}

void select_aliases(soci::session& sql, const KeySelection& selection, const KeysById& keys) {
    std::string name, key_id;
    soci::statement rows =
        (sql.prepare << "SELECT a.name, a.key_id FROM aliases a JOIN keys k ON k.id = a.key_id" +
                            condition(selection),
         soci::into(name), soci::into(key_id), soci::use(selection.after, "after"),
         soci::use(selection.id, "id"));
    rows.execute();
    while (rows.fetch()) {
        const auto found = keys.find(parse_id(key_id, "key_id"));
        if (found == keys.end()) refuse_row(key_id, "alias");
        found->second->aliases.push_back(name);
    }
    // By bytes, whatever order the database sorts words in.
    for (const auto& [id, key] : keys) std::sort(key->aliases.begin(), key->aliases.end());
}

}  // namespace

std::vector<Key> select_keys(soci::session& sql, const KeySelection& selection) {
    std::vector<Key> keys = select_key_rows(sql, selection);
    if (keys.empty()) return keys;
    KeysById by_id;
    for (auto& key : keys) by_id.emplace(key.id, &key);
    select_versions(sql, selection, by_id);
    select_aliases(sql, selection, by_id);
    for (const auto& key : keys) {
        if (key.find_version(key.primary_version) == nullptr) {
            refuse_row(key.id.to_string(), "primary_version");
        }
    }
    return keys;
}

std::string tags_to_text(const std::map<std::string, std::string>& tags) {
    base::JsonWriter writer;
    writer.begin_object();
    for (const auto& [name, value] : tags) writer.field(name, value);
    writer.end_object();
    return std::string(writer.text());
}

// A tag that is not understood may be one that a policy denies something by.
std::map<std::string, std::string> text_to_tags(const std::string& text,
                                                const std::string& key_id) {
    try {
        const base::JsonValue value = parse_stored(text);
        base::JsonReader reader(value);
        std::map<std::string, std::string> tags;
        for (const auto& [name, one] : reader.members())
            tags[std::string(name)] = reader.required_string(name, text.size(), 0);
        return tags;
    } catch (const base::Error&) {
        refuse_row(key_id, "tags");
    }
}

std::string known_answer_to_text(const hsm::Encrypted& known_answer) {
    if (known_answer.ciphertext.empty()) return {};
    base::Bytes bytes(known_answer.iv.begin(), known_answer.iv.end());
    bytes.insert(bytes.end(), known_answer.ciphertext.begin(), known_answer.ciphertext.end());
    return base::to_base64(bytes);
}

hsm::Encrypted text_to_known_answer(const std::string& text, const std::string& key_id) {
    hsm::Encrypted answer;
    if (text.empty()) return answer;
    const auto bytes = base::parse_base64(text);
    if (!bytes || bytes->size() <= hsm::iv_bytes) refuse_row(key_id, "known_answer");
    std::copy_n(bytes->begin(), hsm::iv_bytes, answer.iv.begin());
    answer.ciphertext.assign(bytes->begin() + hsm::iv_bytes, bytes->end());
    return answer;
}

std::string context_rule_to_text(const ContextRule& rule) {
    if (rule == ContextRule()) return {};
    base::JsonWriter writer;
    write_context_rule(writer, rule);
    return std::string(writer.text());
}

ContextRule text_to_context_rule(const std::string& text, const std::string& key_id) {
    if (text.empty()) return {};
    try {
        const base::JsonValue value = parse_stored(text);
        base::JsonReader reader(value);
        return read_stored_context_rule(reader);
    } catch (const base::Error&) {
        refuse_row(key_id, "context_rule");
    }
}

}  // namespace kms
