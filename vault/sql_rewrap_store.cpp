#include "vault/sql_rewrap_store.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/database.h"
#include "vault/sql_rewrap_rows.h"

namespace vault {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds poll_interval{500};  // for what other workers end
constexpr std::uint32_t most_passes = 100;
constexpr long long count_slice = 10'000;  // index entries of one read
constexpr int scan_slices_at_once = 20;

// Where versions are counted by what was said of them once: from here on no version of a credential
// is stored under an older one (SqlStore::put).
void raise_floor(soci::session& sql, const RewrapJobRow& job) {
    sql << "INSERT INTO key_floors (key_id, oldest) VALUES (:key, :version) ON CONFLICT (key_id) "
           "DO UPDATE SET oldest = excluded.oldest WHERE key_floors.oldest < excluded.oldest",
        soci::use(job.key_id), soci::use(job.key_version);
}

void move_cursor(soci::session& sql, const RewrapJobRow& job, const RewrapCursor& to,
                 long long not_before) {
    sql << "UPDATE rewrap_jobs SET after_key = :key, after_key_version = :key_version, "
           "after_credential = :credential, after_version = :version, not_before = :not_before "
           "WHERE id = :id",
        soci::use(to.key), soci::use(to.key_version), soci::use(to.credential),
        soci::use(to.version), soci::use(not_before), soci::use(job.id);
}

// What only a hand in the database can make of a row's master key can't be worked on: it stays, and
// is counted in the end.
bool is_sound(const RewrapCursor& group) {
    return base::Uuid::parse(group.key) && group.key_version > 0 && group.key_version <= UINT32_MAX;
}

void conclude(soci::session& sql, const RewrapJobRow& job, const RewrapStatement& statement) {
    if (statement.is_safe()) raise_floor(sql, job);
    const long long remaining = to_value(statement.remaining);
    const long long differing = to_value(statement.differing);
    const long long at = to_value(statement.counted_at);
    sql << "UPDATE rewrap_jobs SET remaining = :remaining, differing = :differing, counted_at = "
           ":at WHERE id = :id",
        soci::use(remaining), soci::use(differing), soci::use(at), soci::use(job.id);
    set_state(sql, job.id, RewrapState::concluding, statement.counted_at);
}

void begin_pass(soci::session& sql, const RewrapJobRow& job) {
    move_cursor(sql, job, {}, job.not_before);
    sql << "UPDATE rewrap_jobs SET pass = pass + 1 WHERE id = :id", soci::use(job.id);
}

// Until when the rate asks for patience after so many more records.
long long next_turn(const RewrapJobRow& job, std::uint64_t records, base::Time now) {
    if (job.per_second <= 0) return 0;
    return std::max(job.not_before, to_value(now)) + to_value(records) * 1000 / job.per_second;
}

RewrapLease lease_of(const RewrapJobRow& row, std::optional<RewrapPiece> piece) {
    const RewrapJob job = to_job(row);
    return {.id = base::Uuid::random(),
            .job = job.id,
            .target = job.target,
            .pass = job.pass,
            .piece = piece};
}

}  // namespace

// A job that is not over, and how many pieces of it are under way.
struct SqlRewrapStore::Standing {
    RewrapJobRow job;
    long long leases = 0;
};

SqlRewrapStore::SqlRewrapStore(server::Database& database) : database_(database) {
    database_.migrate("rewraps", rewrap_migrations());
}

// In slices, so that nobody waits long for the connection.
std::uint64_t SqlRewrapStore::count_needing(const MasterKeyVersion& target) {
    long long total = 0;
    RewrapCursor cursor;
    for (bool in_group = false, more = true; more;) {
        database_.read([&](soci::session& sql) {
            RewrapCursor at = cursor;
            if (!in_group) {
                more = next_group(sql, at.key, at.key_version);
                if (!more) return;
                at.credential = at.version = 0;
                cursor = at;
            }
        });
        if (!more) break;
        if (!in_group && !needs_rewrap(target, cursor.key, cursor.key_version)) continue;
        long long counted = 0;
        bool full = false;
        RewrapCursor next;
        database_.read([&](soci::session& sql) {
            next = cursor;
            full = skip_rows(sql, next, count_slice);
            counted = full ? count_slice : count_behind(sql, cursor);
        });
        total += counted;
        if (full) cursor = next;
        in_group = full;
    }
    return to_count(total);
}

std::optional<RewrapJob> SqlRewrapStore::add(const NewRewrapJob& wanted) {
    RewrapJobRow row;
    row.id = base::Uuid::random().to_string();
    row.state = to_string(RewrapState::running);
    row.key_id = wanted.target.key_id.to_string();
    row.key_version = wanted.target.version;
    row.total = to_value(count_needing(wanted.target));
    row.per_second = to_value(wanted.per_second);
    row.created_by = wanted.created_by;
    row.created_at = row.updated_at = row.mark_at = to_value(wanted.now);
    bool added = false;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        added = !select_unfinished(sql);
        if (added) insert_job(sql, row);
    });
    if (!added) return std::nullopt;
    return to_job(row);
}

std::optional<RewrapJob> SqlRewrapStore::find(const base::Uuid& id) {
    std::optional<RewrapJobRow> row;
    database_.read([&](soci::session& sql) { row = select_job(sql, id.to_string()); });
    if (!row) return std::nullopt;
    return to_job(*row);
}

RewrapJobPage SqlRewrapStore::list(const std::optional<base::Uuid>& before, std::size_t limit) {
    std::vector<RewrapJobRow> rows;
    database_.read([&](soci::session& sql) {
        rows.clear();
        const auto last = before ? select_job(sql, before->to_string()) : std::nullopt;
        if (before && !last) return;
        rows = select_jobs_before(sql, last ? &*last : nullptr, limit + 1);
    });
    RewrapJobPage page;
    page.more = rows.size() > limit;
    if (page.more) rows.pop_back();
    for (const RewrapJobRow& row : rows) page.jobs.push_back(to_job(row));
    return page;
}

std::optional<RewrapJob> SqlRewrapStore::cancel(const base::Uuid& id, base::Time now) {
    std::optional<RewrapJobRow> row;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        const std::string text = id.to_string();
        row = select_job(sql, text);
        if (!row || !row->is_running()) return;
        sql << "DELETE FROM rewrap_leases WHERE job = :job", soci::use(text);
        set_state(sql, text, RewrapState::cancelled, now);
        row = select_job(sql, text);
    });
    if (!row) return std::nullopt;
    return to_job(*row);
}

std::optional<RewrapLease> SqlRewrapStore::take_over(const base::Uuid& job, base::Time now) {
    std::optional<RewrapLease> lease;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        lease.reset();
        const auto row = select_job(sql, job.to_string());
        if (!row) return;
        auto found = select_expired(sql, *row, now);
        if (!found || !delete_lease(sql, *found)) return;
        found->id = base::Uuid::random();
        insert_lease(sql, *found, now + rewrap_lease);
        lease = found;
    });
    return lease;
}

std::optional<RewrapPiece> SqlRewrapStore::next_piece(const RewrapJobRow& job) {
    std::size_t most = max_piece_records;
    if (job.per_second > 0) most = std::min(most, static_cast<std::size_t>(job.per_second));
    const MasterKeyVersion target = job.target();
    std::optional<RewrapPiece> piece;
    database_.read([&](server::Session& sql) {
        RewrapCursor cursor = job.after;
        piece.reset();
        if (!cursor.key.empty()) piece = piece_in_group(sql, cursor, most);
        while (!piece && next_group(sql, cursor.key, cursor.key_version)) {
            cursor.credential = cursor.version = 0;
            if (is_sound(cursor) && needs_rewrap(target, cursor.key, cursor.key_version))
                piece = piece_in_group(sql, cursor, most);
        }
    });
    return piece;
}

// Empty when another worker was there first.
std::optional<RewrapLease> SqlRewrapStore::claim(const RewrapJobRow& job, const RewrapPiece& piece,
                                                 base::Time now) {
    const RewrapCursor to{piece.from.key_id.to_string(), piece.from.version, piece.last.credential,
                          to_value(piece.last.version)};
    std::optional<RewrapLease> lease;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        lease.reset();
        const auto now_standing = select_job(sql, job.id);
        if (!now_standing || !now_standing->is_running() || now_standing->pass != job.pass ||
            now_standing->after != job.after || now_standing->not_before != job.not_before) {
            return;
        }
        move_cursor(sql, job, to, next_turn(job, piece.records, now));
        lease = lease_of(job, piece);
        insert_lease(sql, *lease, now + rewrap_lease);
    });
    return lease;
}

// The job's last question: does anything still need an older version? By the columns it is asked in
// one transaction with the statement: what is stored at the same time is either counted here or
// refused by the floor. The texts were read before it, since they take longer: what was written
// since, by a store or a worker, has columns that are its text's.
SqlRewrapStore::PassEnd SqlRewrapStore::end_pass(const RewrapJobRow& job, const TextScan* texts,
                                                 base::Time now) {
    PassEnd end;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        end = {};
        const auto row = select_job(sql, job.id);
        if (!row || !row->is_running() || row->pass != job.pass || row->after != job.after ||
            count_leases(sql, job.id) > 0) {
            return;
        }
        const long long remaining = count_remaining(sql, row->target());
        const bool try_again = remaining > 0 && (row->pass < rewrap_passes ||
                                                 remaining > count_standing_failures(sql, *row));
        if (try_again && row->pass < most_passes) return begin_pass(sql, *row);
        end.wants_scan = texts == nullptr;
        if (end.wants_scan) return;
        conclude(sql, *row, {to_count(remaining), to_count(texts->differing), now});
        for (const RewrapPlace& place : texts->found) insert_difference(sql, *row, place, now);
        end.lease = lease_of(*row, std::nullopt);
        insert_lease(sql, *end.lease, now + rewrap_lease);
    });
    return end;
}

// The scan goes on where it stopped, a part with each step, so that a worker can be ended.
RewrapTask SqlRewrapStore::end(const RewrapJobRow& job, base::Time now) {
    const std::unique_lock lock(scan_mutex_, std::try_to_lock);
    if (!lock) return RewrapLater{poll_interval};
    const bool is_under_way = scan_.job == job.id && scan_.pass == job.pass;
    if (!is_under_way) {
        const PassEnd ended = end_pass(job, nullptr, now);
        if (!ended.wants_scan) return RewrapLater{};
        scan_ = TextScan();
        scan_.job = job.id;
        scan_.pass = job.pass;
        scan_.credential = scan_.version = std::numeric_limits<long long>::min();
    }
    for (int slice = 0; slice < scan_slices_at_once && !scan_.is_done; ++slice)
        scan_.is_done = !scan_slice(job.target(), scan_);
    if (!scan_.is_done) return RewrapLater{};
    const PassEnd ended = end_pass(job, &scan_, now);
    scan_ = {};
    if (ended.lease) return *ended.lease;
    return RewrapLater{};
}

RewrapTask SqlRewrapStore::take(base::Time now) {
    std::optional<Standing> standing;
    bool is_expired = false;
    database_.read([&](soci::session& sql) {
        standing.reset();
        auto row = select_unfinished(sql);
        if (!row) return;
        is_expired = select_expired(sql, *row, now).has_value();
        const long long leases = count_leases(sql, row->id);
        standing = Standing{*std::move(row), leases};
    });
    if (!standing) return NothingToRewrap{};
    const RewrapJobRow& job = standing->job;
    const auto lease_or_later = [](std::optional<RewrapLease> lease) -> RewrapTask {
        if (lease) return *lease;
        return RewrapLater{};  // somebody else was there first: look again
    };
    if (is_expired) return lease_or_later(take_over(to_job(job).id, now));
    // While there is trouble, what was given back is tried before anything else.
    const bool is_troubled = !job.trouble.empty() && standing->leases > 0;
    if (!job.is_running() || is_troubled) return RewrapLater{poll_interval};
    if (job.not_before > to_value(now)) {
        const milliseconds patience(job.not_before - to_value(now));
        return RewrapLater{std::min(patience, poll_interval)};
    }
    if (const auto piece = next_piece(job)) return lease_or_later(claim(job, *piece, now));
    if (standing->leases > 0) return RewrapLater{poll_interval};
    return end(job, now);
}

}  // namespace vault
