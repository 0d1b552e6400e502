#include "kms/sqlite_store.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"

namespace kms {
namespace {

constexpr std::array migrations = {server::Migration{1, R"sql(
CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  profile TEXT NOT NULL,
  description TEXT NOT NULL,
  tags TEXT NOT NULL,
  wanted_alias TEXT NOT NULL,
  primary_version INTEGER NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE key_versions (
  key_id TEXT NOT NULL REFERENCES keys(id),
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  token_key_id TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  wraps_reserved BIGINT NOT NULL,
  known_answer TEXT NOT NULL,
  PRIMARY KEY (key_id, version)
);
CREATE TABLE aliases (
  name TEXT PRIMARY KEY,
  key_id TEXT NOT NULL REFERENCES keys(id)
)
)sql"}};

[[noreturn]] void refuse_row(const std::string& key_id, const std::string& column) {
    throw base::Error(base::ErrorCode::failed_precondition,
                      "the key store holds a record that this program can't read",
                      "key " + key_id + ", column " + column);
}

std::string to_text(const std::map<std::string, std::string>& tags) {
    base::JsonWriter writer;
    writer.begin_object();
    for (const auto& [name, value] : tags) writer.field(name, value);
    writer.end_object();
    return std::string(writer.text());
}

std::map<std::string, std::string> parse_tags(const std::string& text) {
    const base::JsonValue value = base::parse_json(text);
    std::map<std::string, std::string> tags;
    if (value.object() == nullptr) return tags;
    for (const auto& member : *value.object()) {
        if (member.value.string() != nullptr) {
            tags.emplace(std::string(member.name), std::string(*member.value.string()));
        }
    }
    return tags;
}

// IV and ciphertext in one base64 text; empty while there is none.
std::string to_text(const hsm::Encrypted& known_answer) {
    if (known_answer.ciphertext.empty()) return {};
    base::Bytes bytes(known_answer.iv.begin(), known_answer.iv.end());
    bytes.insert(bytes.end(), known_answer.ciphertext.begin(), known_answer.ciphertext.end());
    return base::to_base64(bytes);
}

hsm::Encrypted parse_known_answer(const std::string& text, const std::string& key_id) {
    hsm::Encrypted answer;
    if (text.empty()) return answer;
    const auto bytes = base::parse_base64(text);
    if (!bytes || bytes->size() <= hsm::iv_bytes) refuse_row(key_id, "known_answer");
    std::copy_n(bytes->begin(), hsm::iv_bytes, answer.iv.begin());
    answer.ciphertext.assign(bytes->begin() + hsm::iv_bytes, bytes->end());
    return answer;
}

base::Uuid parse_id(const std::string& text, const std::string& column) {
    const auto id = base::Uuid::parse(text);
    if (!id) refuse_row(text, column);
    return *id;
}

KeyState parse_state(const std::string& text, const std::string& key_id) {
    const auto state = parse_key_state(text);
    if (!state) refuse_row(key_id, "state");
    return *state;
}

std::vector<Key> load_keys(soci::session& sql) {
    std::vector<Key> keys;
    std::string id, state, profile, description, tags, wanted_alias;
    int primary_version = 0;
    long long created_at = 0;
    soci::statement rows =
        (sql.prepare << "SELECT id, state, profile, description, tags, wanted_alias, "
                        "primary_version, created_at FROM keys",
         soci::into(id), soci::into(state), soci::into(profile), soci::into(description),
         soci::into(tags), soci::into(wanted_alias), soci::into(primary_version),
         soci::into(created_at));
    rows.execute();
    while (rows.fetch()) {
        Key key;
        key.id = parse_id(id, "id");
        key.state = parse_state(state, id);
        const auto parsed_profile = hsm::parse_key_profile(profile);
        if (!parsed_profile) refuse_row(id, "profile");
        key.profile = *parsed_profile;
        key.description = description;
        key.tags = parse_tags(tags);
        key.wanted_alias = wanted_alias;
        key.primary_version = static_cast<std::uint32_t>(primary_version);
        key.created_at = base::from_milliseconds(created_at);
        keys.push_back(std::move(key));
    }
    return keys;
}

void load_versions(soci::session& sql, std::map<base::Uuid, Key*>& keys) {
    std::string key_id, state, token_key_id, known_answer;
    int number = 0;
    long long created_at = 0;
    long long wraps_reserved = 0;
    soci::statement rows =
        (sql.prepare << "SELECT key_id, version, state, token_key_id, created_at, wraps_reserved, "
                        "known_answer FROM key_versions ORDER BY key_id, version",
         soci::into(key_id), soci::into(number), soci::into(state), soci::into(token_key_id),
         soci::into(created_at), soci::into(wraps_reserved), soci::into(known_answer));
    rows.execute();
    while (rows.fetch()) {
        const auto found = keys.find(parse_id(key_id, "key_id"));
        if (found == keys.end()) refuse_row(key_id, "key_id");
        auto& versions = found->second->versions;
        if (static_cast<std::size_t>(number) != versions.size() + 1) refuse_row(key_id, "version");
        KeyVersion version;
        version.version = static_cast<std::uint32_t>(number);
        version.state = parse_state(state, key_id);
        version.token_key_id = parse_id(token_key_id, "token_key_id");
        version.created_at = base::from_milliseconds(created_at);
        version.wraps_reserved = static_cast<std::uint64_t>(wraps_reserved);
        version.known_answer = parse_known_answer(known_answer, key_id);
        versions.push_back(std::move(version));
    }
}

void load_aliases(soci::session& sql, std::map<base::Uuid, Key*>& keys) {
    std::string name, key_id;
    soci::statement rows = (sql.prepare << "SELECT name, key_id FROM aliases ORDER BY name",
                            soci::into(name), soci::into(key_id));
    rows.execute();
    while (rows.fetch()) {
        const auto found = keys.find(parse_id(key_id, "key_id"));
        if (found == keys.end()) refuse_row(key_id, "alias");
        found->second->aliases.push_back(name);
    }
}

// Moves a pending key to `state`; the key's other columns stay.
void leave_pending(soci::session& sql, const std::string& key_id, std::string_view state) {
    const std::string word(state);
    soci::statement update = (sql.prepare << "UPDATE keys SET state = :state, wanted_alias = '' "
                                             "WHERE id = :id AND state = 'pending'",
                              soci::use(word, "state"), soci::use(key_id, "id"));
    update.execute(true);
    if (update.get_affected_rows() != 1) {
        throw base::Error(base::ErrorCode::failed_precondition, "the key is not pending",
                          "key " + key_id);
    }
}

}  // namespace

SqliteStore::SqliteStore(const std::filesystem::path& file) : database_(file, migrations) {}

std::vector<Key> SqliteStore::load() {
    std::vector<Key> keys;
    database_.read([&](soci::session& sql) {
        keys = load_keys(sql);
        std::map<base::Uuid, Key*> by_id;
        for (auto& key : keys) by_id.emplace(key.id, &key);
        load_versions(sql, by_id);
        load_aliases(sql, by_id);
    });
    for (const auto& key : keys) {
        if (key.find_version(key.primary_version) == nullptr) {
            refuse_row(key.id.to_string(), "primary_version");
        }
    }
    return keys;
}

void SqliteStore::add_pending_key(const Key& key) {
    const std::string id = key.id.to_string();
    const std::string profile(hsm::to_string(key.profile));
    const std::string tags = to_text(key.tags);
    const auto created_at = static_cast<long long>(base::to_milliseconds(key.created_at));
    const std::string token_key_id = key.primary().token_key_id.to_string();
    database_.write([&](soci::session& sql) {
        sql << "INSERT INTO keys (id, state, profile, description, tags, wanted_alias, "
               "primary_version, created_at) VALUES (:id, 'pending', :profile, :description, "
               ":tags, :alias, 1, :created)",
            soci::use(id, "id"), soci::use(profile, "profile"),
            soci::use(key.description, "description"), soci::use(tags, "tags"),
            soci::use(key.wanted_alias, "alias"), soci::use(created_at, "created");
        sql << "INSERT INTO key_versions (key_id, version, state, token_key_id, created_at, "
               "wraps_reserved, known_answer) VALUES (:id, 1, 'pending', :token, :created, 0, '')",
            soci::use(id, "id"), soci::use(token_key_id, "token"), soci::use(created_at, "created");
    });
}

void SqliteStore::enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                             const std::string& alias) {
    const std::string id = key_id.to_string();
    const std::string answer = to_text(known_answer);
    database_.write([&](soci::session& sql) {
        leave_pending(sql, id, to_string(KeyState::enabled));
        sql << "UPDATE key_versions SET state = 'enabled', known_answer = :answer "
               "WHERE key_id = :id AND version = 1",
            soci::use(answer, "answer"), soci::use(id, "id");
        if (!alias.empty()) {
            sql << "INSERT INTO aliases (name, key_id) VALUES (:name, :id)",
                soci::use(alias, "name"), soci::use(id, "id");
        }
    });
}

void SqliteStore::abandon_key(const base::Uuid& key_id) {
    const std::string id = key_id.to_string();
    database_.write([&](soci::session& sql) {
        leave_pending(sql, id, to_string(KeyState::destroyed));
        sql << "UPDATE key_versions SET state = 'destroyed' WHERE key_id = :id",
            soci::use(id, "id");
    });
}

Reservation SqliteStore::reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                                       std::uint64_t count) {
    const std::string id = key_id.to_string();
    const int number = static_cast<int>(version);
    Reservation reservation;
    database_.write([&](soci::session& sql) {
        long long reserved = -1;
        sql << "SELECT wraps_reserved FROM key_versions WHERE key_id = :id AND version = :version",
            soci::into(reserved), soci::use(id, "id"), soci::use(number, "version");
        if (!sql.got_data()) {
            throw base::Error(base::ErrorCode::not_found, "there is no such key version");
        }
        const auto before = static_cast<std::uint64_t>(reserved);
        reservation.granted =
            std::min(count, max_wraps_per_version - std::min(before, max_wraps_per_version));
        reservation.total = before + reservation.granted;
        if (reservation.granted == 0) return;
        const auto after = static_cast<long long>(reservation.total);
        sql << "UPDATE key_versions SET wraps_reserved = :after "
               "WHERE key_id = :id AND version = :version",
            soci::use(after, "after"), soci::use(id, "id"), soci::use(number, "version");
    });
    return reservation;
}

void SqliteStore::check() { database_.check(); }

}  // namespace kms
