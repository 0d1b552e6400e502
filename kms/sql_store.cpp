#include "kms/sql_store.h"

#include <algorithm>

#include "base/error.h"
#include "kms/sql_store_rows.h"
#include "kms/states.h"

namespace kms {
namespace {

std::uint64_t select_change_count(soci::session& sql) {
    long long count = 0;
    sql << "SELECT value FROM change_counter WHERE one = 1", soci::into(count);
    return static_cast<std::uint64_t>(count);
}

// Each change has a number of its own; the newest is the store's change count.
long long next_change(soci::session& sql) {
    sql << "UPDATE change_counter SET value = value + 1 WHERE one = 1";
    return static_cast<long long>(select_change_count(sql));
}

// Notes that a caller can see something new in the key.
void revise(soci::session& sql, const std::string& key_id, long long number) {
    sql << "UPDATE keys SET revision = revision + 1, change = :change WHERE id = :id",
        soci::use(number, "change"), soci::use(key_id, "id");
}

// Notes that the key's counters moved.
void touch(soci::session& sql, const std::string& key_id, long long number) {
    sql << "UPDATE keys SET change = :change WHERE id = :id", soci::use(number, "change"),
        soci::use(key_id, "id");
}

void mark_applied(soci::session& sql, const std::string& request) {
    if (request.empty()) return;
    sql << "UPDATE requests SET applied = 1 WHERE id = :id", soci::use(request, "id");
}

void require_one_row(soci::statement& update, const std::string& message, const std::string& key) {
    if (update.get_affected_rows() != 1) base::refuse(message, "key " + key);
}

// Moves a pending key to `state`; the key's other columns stay.
void leave_pending(soci::session& sql, const std::string& key_id, KeyState state,
                   long long destroyed_at) {
    const std::string word(to_string(state));
    soci::statement update =
        (sql.prepare << "UPDATE keys SET state = :state, wanted_alias = '', destroyed_at = :at "
                        "WHERE id = :id AND state = 'pending'",
         soci::use(word, "state"), soci::use(destroyed_at, "at"), soci::use(key_id, "id"));
    update.execute(true);
    require_one_row(update, "the key is not pending", key_id);
}

// Moves a pending version to `state`; what it was ordered by is applied when it is enabled.
void leave_pending(soci::session& sql, const std::string& key_id, int version, KeyState state,
                   const std::string& known_answer, long long destroyed_at) {
    const std::string word(to_string(state));
    soci::statement update =
        (sql.prepare << "UPDATE key_versions SET state = :state, known_answer = :answer, "
                        "destroyed_at = :at "
                        "WHERE key_id = :id AND version = :version AND state = 'pending'",
         soci::use(word, "state"), soci::use(known_answer, "answer"), soci::use(destroyed_at, "at"),
         soci::use(key_id, "id"), soci::use(version, "version"));
    update.execute(true);
    require_one_row(update, "the key version is not pending", key_id);
    if (state != KeyState::enabled) return;
    std::string request;
    sql << "SELECT request FROM key_versions WHERE key_id = :id AND version = :version",
        soci::into(request), soci::use(key_id, "id"), soci::use(version, "version");
    mark_applied(sql, request);
}

void insert_pending_version(soci::session& sql, const std::string& key_id,
                            const KeyVersion& version) {
    const int number = static_cast<int>(version.version);
    const std::string token_key_id = version.token_key_id.to_string();
    const long long created_at = to_column(version.created_at);
    sql << "INSERT INTO key_versions (key_id, version, state, token_key_id, created_at, "
           "wraps_reserved, known_answer, request) "
           "VALUES (:id, :version, 'pending', :token, :created, 0, '', :request)",
        soci::use(key_id, "id"), soci::use(number, "version"), soci::use(token_key_id, "token"),
        soci::use(created_at, "created"), soci::use(version.request, "request");
}

void require_whole(const std::string& description) {
    if (description.find('\0') == std::string::npos) return;
    throw base::Error(base::ErrorCode::invalid_argument, "the description must have no NUL byte");
}

// Throws as require_permitted(), for the state that the row has in this transaction.
void require_rotatable(soci::session& sql, const std::string& id) {
    std::string state;
    sql << "SELECT state FROM keys WHERE id = :id", soci::into(state), soci::use(id, "id");
    if (!sql.got_data()) throw base::Error(base::ErrorCode::not_found, "there is no such key");
    Key key;
    key.state = parse_key_state(state).value_or(KeyState::destroyed);
    require_permitted(key, KeyOperation::rotate);
}

void require_key_row(soci::session& sql, const std::string& id) {
    int found = 0;
    sql << "SELECT COUNT(*) FROM keys WHERE id = :id", soci::into(found), soci::use(id, "id");
    if (found == 0) throw base::Error(base::ErrorCode::not_found, "there is no such key");
}

// The key's row as `key` has it, if its revision is the stored one; else false.
bool update_row(soci::session& sql, const Key& key, long long change) {
    const std::string id = key.id.to_string();
    const std::string state(to_string(key.state));
    const std::string tags = tags_to_text(key.tags);
    const std::string context_rule = context_rule_to_text(key.context_rule);
    const int period = key.rotation_period_days.value_or(0);
    const int begun = key.destruction_begun ? 1 : 0;
    const long long rotation_at = to_column(key.next_rotation_at);
    const long long deletion_at = to_column(key.deletion_at);
    const long long compromised_at = to_column(key.compromised_at);
    const long long destroyed_at = to_column(key.destroyed_at);
    const auto revision = static_cast<long long>(key.revision);
    soci::statement update =
        (sql.prepare << "UPDATE keys SET state = :state, description = :description, tags = :tags, "
                        "rotation_period_days = :period, next_rotation_at = :rotation, "
                        "deletion_at = :deletion, compromised_at = :compromised, "
                        "destroyed_at = :destroyed, destruction_begun = :begun, "
                        "deletion_ordered_by = :orderer, "
                        "context_rule = :rule, revision = revision + 1, change = :change "
                        "WHERE id = :id AND revision = :revision",
         soci::use(state, "state"), soci::use(key.description, "description"),
         soci::use(tags, "tags"), soci::use(period, "period"), soci::use(rotation_at, "rotation"),
         soci::use(deletion_at, "deletion"), soci::use(compromised_at, "compromised"),
         soci::use(destroyed_at, "destroyed"), soci::use(begun, "begun"),
         soci::use(key.deletion_ordered_by, "orderer"), soci::use(context_rule, "rule"),
         soci::use(change, "change"), soci::use(id, "id"), soci::use(revision, "revision"));
    update.execute(true);
    if (update.get_affected_rows() == 1) return true;
    require_key_row(sql, id);
    return false;
}

void insert_tombstone(soci::session& sql, const std::string& id, const std::string& record) {
    sql << "INSERT INTO tombstones (key_id, record) VALUES (:id, :record)", soci::use(id, "id"),
        soci::use(record, "record");
}

// Who has the alias; empty when nobody has.
std::string alias_holder(soci::session& sql, const std::string& alias) {
    std::string holder;
    sql << "SELECT key_id FROM aliases WHERE name = :name", soci::into(holder),
        soci::use(alias, "name");
    return sql.got_data() ? holder : std::string();
}

}  // namespace

SqlStore::SqlStore(server::Database& database) : database_(database), orders_(database) {
    database_.migrate("keys", key_migrations(), server::Database::Unnamed::this_rooms);
    if (database_.is_shared()) return;
    database_.write([&](soci::session& sql) {
        sql << "DELETE FROM locks";
        server::SqlOrderRows::free_all(sql);
        change_count_ = select_change_count(sql);
    });
}

bool SqlStore::is_shared() const { return database_.is_shared(); }

std::uint64_t SqlStore::change_count() {
    if (!database_.is_shared()) return change_count_.load();
    std::uint64_t count = 0;
    database_.read([&](soci::session& sql) { count = select_change_count(sql); });
    return count;
}

void SqlStore::change(const Work& work) { change({}, work); }

void SqlStore::change(const std::string& holder, const Work& work) {
    std::uint64_t number = 0;
    database_.write_in_turn("change_counter", [&](soci::session& sql) {
        const long long next = next_change(sql);
        number = static_cast<std::uint64_t>(next);
        if (!holder.empty()) require_lock(sql, holder);
        work(sql, next);
    });
    std::uint64_t seen = change_count_.load();
    while (seen < number && !change_count_.compare_exchange_weak(seen, number)) {
    }
}

std::vector<Key> SqlStore::load() {
    std::vector<Key> keys;
    database_.read([&](soci::session& sql) { keys = select_keys(sql, {}); });
    return keys;
}

std::optional<Key> SqlStore::find(const base::Uuid& id) {
    KeySelection selection;
    selection.id = id.to_string();
    std::vector<Key> keys;
    database_.read([&](soci::session& sql) { keys = select_keys(sql, selection); });
    if (keys.empty()) return std::nullopt;
    return std::move(keys.front());
}

Store::Changes SqlStore::load_changed(std::uint64_t since) {
    KeySelection selection;
    selection.after = static_cast<long long>(since);
    Changes changes;
    database_.read([&](soci::session& sql) {
        changes.count = select_change_count(sql);
        changes.keys = select_keys(sql, selection);
    });
    return changes;
}

void SqlStore::add_pending_key(const Key& key, const std::string& holder) {
    require_whole(key.description);
    const std::string id = key.id.to_string();
    const std::string kind(hsm::to_string(key.kind));
    const std::string profile(hsm::to_string(key.profile));
    const std::string tags = tags_to_text(key.tags);
    const std::string context_rule = context_rule_to_text(key.context_rule);
    const int period = key.rotation_period_days.value_or(0);
    const long long rotation_at = to_column(key.next_rotation_at);
    const long long created_at = to_column(key.created_at);
    change(holder, [&](soci::session& sql, long long number) {
        sql << "INSERT INTO keys (id, state, kind, profile, description, tags, wanted_alias, "
               "primary_version, created_at, rotation_period_days, next_rotation_at, context_rule, "
               "change) VALUES (:id, 'pending', :kind, :profile, :description, :tags, :alias, 1, "
               ":created, :period, :rotation, :rule, :change)",
            soci::use(id, "id"), soci::use(kind, "kind"), soci::use(profile, "profile"),
            soci::use(key.description, "description"), soci::use(tags, "tags"),
            soci::use(key.wanted_alias, "alias"), soci::use(created_at, "created"),
            soci::use(period, "period"), soci::use(rotation_at, "rotation"),
            soci::use(context_rule, "rule"), soci::use(number, "change");
        insert_pending_version(sql, id, key.primary());
    });
}

void SqlStore::enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                          const std::string& alias, const std::string& holder) {
    const std::string id = key_id.to_string();
    const std::string answer = known_answer_to_text(known_answer);
    change(holder, [&](soci::session& sql, long long number) {
        leave_pending(sql, id, KeyState::enabled, 0);
        leave_pending(sql, id, 1, KeyState::enabled, answer, 0);
        touch(sql, id, number);
        if (!alias.empty()) {
            sql << "INSERT INTO aliases (name, key_id) VALUES (:name, :id)",
                soci::use(alias, "name"), soci::use(id, "id");
        }
    });
}

void SqlStore::abandon_key(const base::Uuid& key_id, base::Time at, const std::string& tombstone,
                           const std::string& holder) {
    const std::string id = key_id.to_string();
    change(holder, [&](soci::session& sql, long long number) {
        leave_pending(sql, id, KeyState::destroyed, to_column(at));
        leave_pending(sql, id, 1, KeyState::destroyed, "", to_column(at));
        insert_tombstone(sql, id, tombstone);
        touch(sql, id, number);
    });
}

void SqlStore::add_pending_version(const base::Uuid& key_id, const KeyVersion& version,
                                   const std::string& holder) {
    const std::string id = key_id.to_string();
    change(holder, [&](soci::session& sql, long long number) {
        require_rotatable(sql, id);
        int fitting = 0;
        const int last = static_cast<int>(version.version) - 1;
        sql << "SELECT COUNT(*) FROM keys k WHERE k.id = :id "
               "AND (SELECT MAX(version) FROM key_versions WHERE key_id = :same) = :last "
               "AND NOT EXISTS (SELECT 1 FROM key_versions "
               "WHERE key_id = :again AND state = 'pending')",
            soci::into(fitting), soci::use(id, "id"), soci::use(id, "same"),
            soci::use(last, "last"), soci::use(id, "again");
        if (fitting != 1) {
            base::refuse(
                "the key is in state enabled, but has got another version meanwhile, which forbids "
                "rotate; it is permitted when that version is finished: try again",
                "key " + id);
        }
        insert_pending_version(sql, id, version);
        touch(sql, id, number);
    });
}

void SqlStore::enable_version(const base::Uuid& key_id, std::uint32_t version,
                              const hsm::Encrypted& known_answer,
                              std::optional<base::Time> next_rotation_at,
                              const std::string& holder) {
    const std::string id = key_id.to_string();
    const int primary = static_cast<int>(version);
    const std::string answer = known_answer_to_text(known_answer);
    const long long rotation_at = to_column(next_rotation_at);
    change(holder, [&](soci::session& sql, long long number) {
        leave_pending(sql, id, primary, KeyState::enabled, answer, 0);
        sql << "UPDATE keys SET primary_version = :version, next_rotation_at = :rotation "
               "WHERE id = :id",
            soci::use(primary, "version"), soci::use(rotation_at, "rotation"), soci::use(id, "id");
        revise(sql, id, number);
    });
}

void SqlStore::abandon_version(const base::Uuid& key_id, std::uint32_t version, base::Time at,
                               const std::string& tombstone, const std::string& holder) {
    const std::string id = key_id.to_string();
    const int abandoned = static_cast<int>(version);
    change(holder, [&](soci::session& sql, long long number) {
        leave_pending(sql, id, abandoned, KeyState::destroyed, "", to_column(at));
        sql << "INSERT INTO version_tombstones (key_id, version, record) "
               "VALUES (:id, :version, :record)",
            soci::use(id, "id"), soci::use(abandoned, "version"), soci::use(tombstone, "record");
        touch(sql, id, number);
    });
}

bool SqlStore::update(const Key& key, const std::string& request) {
    require_whole(key.description);
    bool updated = false;
    change([&](soci::session& sql, long long number) {
        updated = update_row(sql, key, number);
        if (updated) mark_applied(sql, request);
    });
    return updated;
}

bool SqlStore::move_alias(const std::string& alias, const base::Uuid& from, const base::Uuid& to,
                          const std::string& request) {
    const std::string old_id = from.is_nil() ? std::string() : from.to_string();
    const std::string new_id = to.is_nil() ? std::string() : to.to_string();
    bool moved = false;
    change([&](soci::session& sql, long long number) {
        if (!new_id.empty()) require_key_row(sql, new_id);
        moved = alias_holder(sql, alias) == old_id;
        if (!moved) return;
        sql << "DELETE FROM aliases WHERE name = :name", soci::use(alias, "name");
        if (!new_id.empty()) {
            sql << "INSERT INTO aliases (name, key_id) VALUES (:name, :id)",
                soci::use(alias, "name"), soci::use(new_id, "id");
            revise(sql, new_id, number);
        }
        if (!old_id.empty()) revise(sql, old_id, number);
        mark_applied(sql, request);
    });
    return moved;
}

bool SqlStore::finish_destruction(const Key& key, const std::string& tombstone,
                                  const std::string& holder) {
    const std::string id = key.id.to_string();
    const long long at = to_column(key.destroyed_at);
    Key destroyed = key;
    destroyed.state = KeyState::destroyed;
    bool finished = false;
    change(holder, [&](soci::session& sql, long long number) {
        finished = update_row(sql, destroyed, number);
        if (!finished) return;
        sql << "UPDATE key_versions SET state = 'destroyed', destroyed_at = :at "
               "WHERE key_id = :id AND state <> 'destroyed'",
            soci::use(at, "at"), soci::use(id, "id");
        sql << "DELETE FROM aliases WHERE key_id = :id", soci::use(id, "id");
        insert_tombstone(sql, id, tombstone);
    });
    return finished;
}

std::string SqlStore::tombstone(const base::Uuid& key_id) {
    const std::string id = key_id.to_string();
    std::string record;
    database_.read([&](soci::session& sql) {
        sql << "SELECT record FROM tombstones WHERE key_id = :id", soci::into(record),
            soci::use(id, "id");
        if (!sql.got_data()) record.clear();
    });
    return record;
}

std::map<std::uint32_t, std::string> SqlStore::version_tombstones(const base::Uuid& key_id) {
    const std::string id = key_id.to_string();
    std::map<std::uint32_t, std::string> found;
    database_.read([&](soci::session& sql) {
        found.clear();
        int version = 0;
        std::string record;
        soci::statement select =
            (sql.prepare << "SELECT version, record FROM version_tombstones WHERE key_id = :id",
             soci::into(version), soci::into(record), soci::use(id, "id"));
        select.execute();
        while (select.fetch()) found[static_cast<std::uint32_t>(version)] = record;
    });
    return found;
}

Reservation SqlStore::reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                                    std::uint64_t count) {
    const std::string id = key_id.to_string();
    const int number = static_cast<int>(version);
    Reservation reservation;
    change([&](soci::session& sql, long long change_number) {
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
        touch(sql, id, change_number);
    });
    return reservation;
}

void SqlStore::add_usage(std::span<const UsageReport> reports) {
    if (reports.empty()) return;
    change([&](soci::session& sql, long long number) {
        for (const UsageReport& report : reports) {
            const std::string id = report.key_id.to_string();
            const int version = static_cast<int>(report.version);
            const auto wraps = static_cast<long long>(report.wraps);
            const auto away = static_cast<long long>(report.rewrapped_away);
            const long long at = to_column(report.last_used_at);
            sql << "UPDATE key_versions SET wraps_used = wraps_used + :wraps, "
                   "rewrapped_away = rewrapped_away + :away, "
                   "last_used_at = CASE WHEN last_used_at < :at THEN :same ELSE last_used_at END "
                   "WHERE key_id = :id AND version = :version",
                soci::use(wraps, "wraps"), soci::use(away, "away"), soci::use(at, "at"),
                soci::use(at, "same"), soci::use(id, "id"), soci::use(version, "version");
            touch(sql, id, number);
        }
    });
}

void SqlStore::check() { database_.check(); }

}  // namespace kms
