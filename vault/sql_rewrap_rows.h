// How rewrap jobs lie in the tables, and the reads of the vault's index that they need. For the SQL
// store's own files only.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/database.h"
#include "vault/rewrap_store.h"

namespace vault {

// Works that change a job wait for each other at this table.
inline constexpr std::string_view rewrap_jobs_table = "rewrap_jobs";

std::span<const server::Migration> rewrap_migrations();

// The place in the index of versions that the next piece begins behind.
struct RewrapCursor {
    std::string key;  // empty: before all
    long long key_version = 0;
    long long credential = 0, version = 0;
    bool operator==(const RewrapCursor&) const = default;
};

struct RewrapJobRow {
    std::string id, state, key_id, created_by, trouble;
    long long key_version = 0, total = 0, done = 0, failed = 0, superseded = 0, pass = 1;
    RewrapCursor after;
    long long per_second = 0, not_before = 0, created_at = 0, updated_at = 0, finished_at = 0;
    long long remaining = 0, differing = 0, counted_at = 0;
    long long mark_at = 0, mark_done = 0, next_mark_at = 0, next_mark_done = 0;

    MasterKeyVersion target() const;
    bool is_running() const;
};

inline std::uint64_t to_count(long long value) {
    return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}
inline long long to_value(std::uint64_t value) { return static_cast<long long>(value); }
inline long long to_value(base::Time time) { return base::to_milliseconds(time); }

// Throws integrity_failure for a row that makes no sense.
RewrapJob to_job(const RewrapJobRow& row);

void insert_job(soci::session& sql, const RewrapJobRow& row);
std::optional<RewrapJobRow> select_job(soci::session& sql, const std::string& id);
// The one that is not over.
std::optional<RewrapJobRow> select_unfinished(soci::session& sql);
// Newest first: those that were begun before `before`, or all.
std::vector<RewrapJobRow> select_jobs_before(soci::session& sql, const RewrapJobRow* before,
                                             std::size_t limit);
void set_state(soci::session& sql, const std::string& id, RewrapState state, base::Time now);

void insert_lease(soci::session& sql, const RewrapLease& lease, base::Time expires);
// The one of the job that expired first, by `now`.
std::optional<RewrapLease> select_expired(soci::session& sql, const RewrapJobRow& job,
                                          base::Time now);
// False when it is another's by now.
bool delete_lease(soci::session& sql, const RewrapLease& lease);
long long count_leases(soci::session& sql, const std::string& job);

// Whether rows under that master key version are to be moved.
bool needs_rewrap(const MasterKeyVersion& target, const std::string& key, long long version);
// The next group of the index, all rows of one master key version; false when there is none.
bool next_group(soci::session& sql, std::string& key, long long& version);
// The next rows of the cursor's group: `most` of them, nor too large together. Empty at its end.
std::optional<RewrapPiece> piece_in_group(server::Session& sql, const RewrapCursor& from,
                                          std::size_t most);
// Moves the cursor forward within its group by so many rows; false, staying, when there are fewer.
bool skip_rows(soci::session& sql, RewrapCursor& cursor, long long rows);
// How many rows the cursor's group has behind it.
long long count_behind(soci::session& sql, const RewrapCursor& cursor);
// How many rows need another version than the target's, by the index.
long long count_remaining(soci::session& sql, const MasterKeyVersion& target);
// Lists a text that is not what its row's columns say among the job's failures.
void insert_difference(soci::session& sql, const RewrapJobRow& job, const RewrapPlace& place,
                       base::Time now);
// Of the job's failures, those that still stand as they did.
long long count_standing_failures(soci::session& sql, const RewrapJobRow& job);

}  // namespace vault
