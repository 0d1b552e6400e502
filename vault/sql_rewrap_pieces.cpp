// The RewrapStore's pieces: the rows that are moved, and the failures.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "server/database.h"
#include "vault/sealed.h"
#include "vault/sql_rewrap_rows.h"
#include "vault/sql_rewrap_store.h"

namespace vault {
namespace {

constexpr std::chrono::seconds mark_interval{10};

constexpr int scan_slice_rows = 1000;
constexpr int scan_head_bytes = static_cast<int>(sealed_head_bytes);
constexpr std::size_t max_differences_listed = 1000;

// What a settled piece changes in the database, statement by statement prepared once.
class Settling {
public:
    Settling(soci::session& sql, const RewrapLease& lease, base::Time now)
        : job_(lease.job.to_string()),
          now_(to_value(now)),
          is_later_pass_(lease.pass > 1),
          move_((sql.prepare << "UPDATE versions SET sealed = :after, key_id = :key, key_version = "
                                ":key_version WHERE credential = :credential AND version = "
                                ":version AND erased_at IS NULL AND sealed = :before",
                 soci::use(after_), soci::use(key_), soci::use(key_version_),
                 soci::use(credential_), soci::use(version_), soci::use(before_))),
          fail_((sql.prepare << "INSERT INTO rewrap_failures (job, credential, version, reason, "
                                "failed_at) VALUES (:job, :credential, :version, :reason, :at) "
                                "ON CONFLICT (job, credential, version) DO NOTHING",
                 soci::use(job_), soci::use(credential_), soci::use(version_), soci::use(reason_),
                 soci::use(now_))),
          mend_((sql.prepare << "DELETE FROM rewrap_failures WHERE job = :job AND credential = "
                                ":credential AND version = :version",
                 soci::use(job_), soci::use(credential_), soci::use(version_))) {}

    void apply(const RewrapResult& result) {
        credential_ = result.place.credential;
        version_ = to_value(result.place.version);
        if (result.after.empty()) {
            reason_ = result.reason;
            if (!run(fail_)) return;
            ++failed;
            fresh.push_back(result);
            return;
        }
        before_ = result.before;
        after_ = result.after;
        key_ = result.master_key.key_id.to_string();
        key_version_ = result.master_key.version;
        ++(run(move_) ? done : superseded);
        if (is_later_pass_ && run(mend_)) --failed;
    }

    long long done = 0, failed = 0, superseded = 0;
    std::vector<RewrapResult> fresh;  // failures

private:
    static bool run(soci::statement& statement) {
        statement.execute(true);
        return statement.get_affected_rows() > 0;
    }

    const std::string job_;
    const long long now_;
    const bool is_later_pass_;
    std::string before_, after_, key_, reason_;
    long long credential_ = 0, version_ = 0, key_version_ = 0;
    soci::statement move_, fail_, mend_;
};

void add_progress(soci::session& sql, RewrapJobRow row, const Settling& settled, base::Time now) {
    const long long at = to_value(now);
    row.done += settled.done;
    row.failed += settled.failed;
    row.superseded += settled.superseded;
    if (now - base::from_milliseconds(row.next_mark_at) >= mark_interval) {
        row.mark_at = std::exchange(row.next_mark_at, at);
        row.mark_done = std::exchange(row.next_mark_done, row.done);
    }
    sql << "UPDATE rewrap_jobs SET done = :done, failed = :failed, superseded = :superseded, "
           "updated_at = :at, trouble = '', mark_at = :mark_at, mark_done = :mark_done, "
           "next_mark_at = :next_mark_at, next_mark_done = :next_mark_done WHERE id = :id",
        soci::use(row.done), soci::use(row.failed), soci::use(row.superseded), soci::use(at),
        soci::use(row.mark_at), soci::use(row.mark_done), soci::use(row.next_mark_at),
        soci::use(row.next_mark_done), soci::use(row.id);
}

}  // namespace

void insert_difference(soci::session& sql, const RewrapJobRow& job, const RewrapPlace& place,
                       base::Time now) {
    const std::string reason(base::to_string(base::ErrorCode::integrity_failure));
    const long long version = to_value(place.version);
    const long long at = to_value(now);
    sql << "INSERT INTO rewrap_failures (job, credential, version, reason, failed_at) VALUES "
           "(:job, :credential, :version, :reason, :at) ON CONFLICT (job, credential, version) DO "
           "NOTHING",
        soci::use(job.id), soci::use(place.credential), soci::use(version), soci::use(reason),
        soci::use(at);
}

// Reads the beginnings of the next texts; false when there are none. A row that needs to be moved
// by its columns is counted by them; an erased one has no text.
bool SqlRewrapStore::scan_slice(const MasterKeyVersion& target, TextScan& scan) {
    TextScan next;
    bool more = false;
    database_.read([&](soci::session& sql) {
        next = scan;
        more = false;
        const TextScan from = scan;
        std::string key;
        std::string head;
        long long key_version = 0;
        long long is_erased = 0;
        soci::statement select =
            (sql.prepare << "SELECT credential, version, key_id, key_version, CASE WHEN erased_at "
                            "IS NULL THEN 0 ELSE 1 END, substr(sealed, 1, :head) FROM versions "
                            "WHERE (erased_at IS NULL OR sealed <> '') AND (credential, version) > "
                            "(:credential, :version) ORDER BY credential, version LIMIT :rows",
             soci::into(next.credential), soci::into(next.version), soci::into(key),
             soci::into(key_version), soci::into(is_erased), soci::into(head),
             soci::use(scan_head_bytes), soci::use(from.credential), soci::use(from.version),
             soci::use(scan_slice_rows));
        select.execute();
        while (select.fetch()) {
            more = true;
            if (is_erased == 0) {
                if (needs_rewrap(target, key, key_version)) continue;
                const auto named = named_master_key(head);
                if (named && named->key_id.to_string() == key && named->version == key_version)
                    continue;
            }
            ++next.differing;
            if (next.found.size() < max_differences_listed)
                next.found.push_back({next.credential, to_count(next.version)});
        }
    });
    scan = std::move(next);
    return more;
}

std::vector<RewrapRow> SqlRewrapStore::load(const RewrapPiece& piece) {
    const std::string key = piece.from.key_id.to_string();
    const long long key_version = piece.from.version;
    const long long after_version = to_value(piece.after.version);
    const long long last_version = to_value(piece.last.version);
    std::vector<RewrapRow> rows;
    database_.read([&](soci::session& sql) {
        rows.clear();
        RewrapRow row;
        row.master_key = piece.from;
        long long version = 0;
        soci::statement select =
            (sql.prepare << "SELECT v.credential, v.version, v.sealed, c.owner, c.name FROM "
                            "versions v JOIN credentials c ON c.id = v.credential WHERE "
                            "v.erased_at IS NULL AND v.key_id = :key AND v.key_version = "
                            ":key_version AND (v.credential, v.version) > (:after, "
                            ":after_version) AND (v.credential, v.version) <= (:last, "
                            ":last_version) ORDER BY v.credential, v.version",
             soci::into(row.place.credential), soci::into(version), soci::into(row.sealed),
             soci::into(row.id.owner), soci::into(row.id.name), soci::use(key),
             soci::use(key_version), soci::use(piece.after.credential), soci::use(after_version),
             soci::use(piece.last.credential), soci::use(last_version));
        select.execute();
        while (select.fetch()) {
            row.place.version = to_count(version);
            rows.push_back(row);
        }
    });
    return rows;
}

std::optional<std::vector<RewrapResult>> SqlRewrapStore::settle(const RewrapLease& lease,
                                                                std::vector<RewrapResult> results,
                                                                base::Time now) {
    std::optional<std::vector<RewrapResult>> fresh;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        fresh.reset();
        auto row = select_job(sql, lease.job.to_string());
        if (!row || !row->is_running() || !delete_lease(sql, lease)) return;
        Settling settling(sql, lease, now);
        for (const RewrapResult& result : results) settling.apply(result);
        add_progress(sql, *std::move(row), settling, now);
        fresh = std::move(settling.fresh);
    });
    return fresh;
}

void SqlRewrapStore::give_back(const RewrapLease& lease, const std::string& trouble,
                               std::chrono::milliseconds pause, base::Time now) {
    const std::string id = lease.id.to_string();
    const std::string job = lease.job.to_string();
    const long long at = to_value(now);
    const long long until = to_value(now + pause);
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        soci::statement give = (sql.prepare << "UPDATE rewrap_leases SET expires_at = :until WHERE "
                                               "id = :id",
                                soci::use(until), soci::use(id));
        give.execute(true);
        if (give.get_affected_rows() == 0) return;
        sql << "UPDATE rewrap_jobs SET trouble = :trouble, updated_at = :at WHERE id = :id",
            soci::use(trouble), soci::use(at), soci::use(job);
    });
}

bool SqlRewrapStore::complete(const RewrapLease& lease, base::Time now) {
    bool done = false;
    database_.write_in_turn(rewrap_jobs_table, [&](soci::session& sql) {
        done = delete_lease(sql, lease);
        if (done) set_state(sql, lease.job.to_string(), RewrapState::completed, now);
    });
    return done;
}

RewrapFailurePage SqlRewrapStore::failures(const base::Uuid& id, const RewrapPlace& after,
                                           std::size_t limit) {
    const std::string job = id.to_string();
    const long long after_version = to_value(after.version);
    const long long most = to_value(limit + 1);
    RewrapFailurePage page;
    std::vector<RewrapPlace> places;
    database_.read([&](soci::session& sql) {
        page = {};
        places.clear();
        RewrapFailure failure;
        RewrapPlace place;
        long long version = 0;
        long long at = 0;
        soci::statement select =
            (sql.prepare << "SELECT f.credential, f.version, f.reason, f.failed_at, c.owner, "
                            "c.name FROM rewrap_failures f JOIN versions v ON v.credential = "
                            "f.credential AND v.version = f.version JOIN credentials c ON c.id = "
                            "f.credential WHERE f.job = :job AND v.erased_at IS NULL AND "
                            "(f.credential, f.version) > (:after, :after_version) "
                            "ORDER BY f.credential, f.version LIMIT :limit",
             soci::into(place.credential), soci::into(version), soci::into(failure.reason),
             soci::into(at), soci::into(failure.id.owner), soci::into(failure.id.name),
             soci::use(job), soci::use(after.credential), soci::use(after_version),
             soci::use(most));
        select.execute();
        while (select.fetch()) {
            place.version = failure.version = to_count(version);
            failure.at = base::from_milliseconds(at);
            page.failures.push_back(failure);
            places.push_back(place);
        }
    });
    if (page.failures.size() > limit) {
        page.failures.pop_back();
        page.next = places.at(limit - 1);
    }
    return page;
}

}  // namespace vault
