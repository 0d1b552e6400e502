#include "vault/sql_rewrap_rows.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace vault {
namespace {

constexpr std::array rewrap_steps{server::Migration{1, R"sql(
CREATE TABLE rewrap_jobs (
    id                TEXT    PRIMARY KEY,
    state             TEXT    NOT NULL,
    key_id            TEXT    NOT NULL,
    key_version       BIGINT  NOT NULL,
    total             BIGINT  NOT NULL,
    done              BIGINT  NOT NULL,
    failed            BIGINT  NOT NULL,
    superseded        BIGINT  NOT NULL,
    pass              INTEGER NOT NULL,
    after_key         TEXT    NOT NULL,
    after_key_version BIGINT  NOT NULL,
    after_credential  BIGINT  NOT NULL,
    after_version     BIGINT  NOT NULL,
    per_second        BIGINT  NOT NULL,
    not_before        BIGINT  NOT NULL,
    created_by        TEXT    NOT NULL,
    created_at        BIGINT  NOT NULL,
    updated_at        BIGINT  NOT NULL,
    finished_at       BIGINT  NOT NULL,
    trouble           TEXT    NOT NULL,
    remaining         BIGINT  NOT NULL,
    counted_at        BIGINT  NOT NULL,
    mark_at           BIGINT  NOT NULL,
    mark_done         BIGINT  NOT NULL,
    next_mark_at      BIGINT  NOT NULL,
    next_mark_done    BIGINT  NOT NULL
);
CREATE INDEX rewrap_jobs_by_age ON rewrap_jobs (created_at, id);
CREATE TABLE rewrap_leases (
    id               TEXT   PRIMARY KEY,
    job              TEXT   NOT NULL REFERENCES rewrap_jobs (id),
    expires_at       BIGINT NOT NULL,
    key_id           TEXT   NOT NULL,
    key_version      BIGINT NOT NULL,
    after_credential BIGINT NOT NULL,
    after_version    BIGINT NOT NULL,
    last_credential  BIGINT NOT NULL,
    last_version     BIGINT NOT NULL,
    records          BIGINT NOT NULL
);
CREATE INDEX rewrap_leases_of ON rewrap_leases (job, expires_at);
CREATE TABLE rewrap_failures (
    job        TEXT   NOT NULL REFERENCES rewrap_jobs (id),
    credential BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    reason     TEXT   NOT NULL,
    failed_at  BIGINT NOT NULL,
    PRIMARY KEY (job, credential, version)
);
)sql"},
                                  server::Migration{2, R"sql(
ALTER TABLE rewrap_jobs ADD COLUMN differing BIGINT NOT NULL DEFAULT 0;
)sql"}};

base::Uuid to_row_id(const std::string& text) {
    const auto id = base::Uuid::parse(text);
    if (!id) throw base::decryption_failed("a rewrap job's row has an id that is none");
    return *id;
}

// `rest` of the statement takes `values` in order.
template <typename... Values>
std::vector<RewrapJobRow> select_jobs(soci::session& sql, const std::string& rest,
                                      const Values&... values) {
    RewrapJobRow row;
    soci::statement select(sql);
    for (std::string* text :
         {&row.id, &row.state, &row.key_id, &row.created_by, &row.trouble, &row.after.key}) {
        select.exchange(soci::into(*text));
    }
    for (long long* number : {&row.key_version,
                              &row.total,
                              &row.done,
                              &row.failed,
                              &row.superseded,
                              &row.pass,
                              &row.after.key_version,
                              &row.after.credential,
                              &row.after.version,
                              &row.per_second,
                              &row.not_before,
                              &row.created_at,
                              &row.updated_at,
                              &row.finished_at,
                              &row.remaining,
                              &row.differing,
                              &row.counted_at,
                              &row.mark_at,
                              &row.mark_done,
                              &row.next_mark_at,
                              &row.next_mark_done}) {
        select.exchange(soci::into(*number));
    }
    (select.exchange(soci::use(values)), ...);
    select.alloc();
    select.prepare(
        "SELECT id, state, key_id, created_by, trouble, after_key, key_version, total, done, "
        "failed, superseded, pass, after_key_version, after_credential, after_version, per_second, "
        "not_before, created_at, updated_at, finished_at, remaining, differing, counted_at, "
        "mark_at, mark_done, next_mark_at, next_mark_done FROM rewrap_jobs " +
        rest);
    select.define_and_bind();
    select.execute();
    std::vector<RewrapJobRow> rows;
    while (select.fetch()) rows.push_back(row);
    return rows;
}

}  // namespace

std::span<const server::Migration> rewrap_migrations() { return rewrap_steps; }

MasterKeyVersion RewrapJobRow::target() const {
    if (key_version <= 0 || key_version > UINT32_MAX)
        throw base::decryption_failed("a rewrap job's row has a key version that is none");
    return {to_row_id(key_id), static_cast<std::uint32_t>(key_version)};
}

bool RewrapJobRow::is_running() const { return state == to_string(RewrapState::running); }

RewrapJob to_job(const RewrapJobRow& row) {
    const auto state = to_rewrap_state(row.state);
    if (!state || row.key_version <= 0 || row.key_version > UINT32_MAX)
        throw base::decryption_failed("a rewrap job's row makes no sense");
    RewrapJob job;
    job.id = to_row_id(row.id);
    job.state = *state;
    job.target = {to_row_id(row.key_id), static_cast<std::uint32_t>(row.key_version)};
    job.total = to_count(row.total);
    job.done = to_count(row.done);
    job.failed = to_count(row.failed);
    job.superseded = to_count(row.superseded);
    job.pass = static_cast<std::uint32_t>(row.pass);
    job.per_second = to_count(row.per_second);
    job.created_by = row.created_by;
    job.created_at = base::from_milliseconds(row.created_at);
    job.updated_at = base::from_milliseconds(row.updated_at);
    if (row.finished_at > 0) job.finished_at = base::from_milliseconds(row.finished_at);
    job.trouble = row.trouble;
    if (row.counted_at > 0)
        job.statement = {to_count(row.remaining), to_count(row.differing),
                         base::from_milliseconds(row.counted_at)};
    job.mark_at = base::from_milliseconds(row.mark_at);
    job.mark_done = to_count(row.mark_done);
    return job;
}

void insert_job(soci::session& sql, const RewrapJobRow& row) {
    sql << "INSERT INTO rewrap_jobs (id, state, key_id, key_version, total, done, failed, "
           "superseded, pass, after_key, after_key_version, after_credential, after_version, "
           "per_second, not_before, created_by, created_at, updated_at, finished_at, trouble, "
           "remaining, counted_at, mark_at, mark_done, next_mark_at, next_mark_done) "
           "VALUES (:id, :state, :key, :key_version, :total, 0, 0, 0, 1, '', 0, 0, 0, :per_second, "
           "0, :by, :at, :at2, 0, '', 0, 0, :at3, 0, :at4, 0)",
        soci::use(row.id), soci::use(row.state), soci::use(row.key_id), soci::use(row.key_version),
        soci::use(row.total), soci::use(row.per_second), soci::use(row.created_by),
        soci::use(row.created_at), soci::use(row.created_at), soci::use(row.created_at),
        soci::use(row.created_at);
}

std::optional<RewrapJobRow> select_job(soci::session& sql, const std::string& id) {
    auto rows = select_jobs(sql, "WHERE id = :id", id);
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
}

std::optional<RewrapJobRow> select_unfinished(soci::session& sql) {
    auto rows = select_jobs(
        sql, "WHERE state IN ('running', 'concluding') ORDER BY created_at DESC LIMIT 1");
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
}

std::vector<RewrapJobRow> select_jobs_before(soci::session& sql, const RewrapJobRow* before,
                                             std::size_t limit) {
    const long long most = to_value(limit);
    const std::string order = " ORDER BY created_at DESC, id DESC LIMIT :limit";
    if (before == nullptr) return select_jobs(sql, order, most);
    return select_jobs(sql, "WHERE (created_at, id) < (:at, :id)" + order, before->created_at,
                       before->id, most);
}

void set_state(soci::session& sql, const std::string& id, RewrapState state, base::Time now) {
    const std::string word(to_string(state));
    const bool is_over = state == RewrapState::completed || state == RewrapState::cancelled;
    const long long at = to_value(now);
    const long long finished = is_over ? at : 0;
    sql << "UPDATE rewrap_jobs SET state = :state, updated_at = :at, finished_at = :finished, "
           "trouble = '' WHERE id = :id",
        soci::use(word), soci::use(at), soci::use(finished), soci::use(id);
}

void insert_lease(soci::session& sql, const RewrapLease& lease, base::Time expires) {
    const std::string id = lease.id.to_string();
    const std::string job = lease.job.to_string();
    const RewrapPiece piece = lease.piece.value_or(RewrapPiece{});
    const std::string key = piece.from.key_id.to_string();
    const long long key_version = piece.from.version;
    const long long at = to_value(expires);
    const long long after_version = to_value(piece.after.version);
    const long long last_version = to_value(piece.last.version);
    const long long records = to_value(piece.records);
    sql << "INSERT INTO rewrap_leases (id, job, expires_at, key_id, key_version, after_credential, "
           "after_version, last_credential, last_version, records) VALUES (:id, :job, :at, :key, "
           ":key_version, :after_credential, :after_version, :last_credential, :last_version, "
           ":records)",
        soci::use(id), soci::use(job), soci::use(at), soci::use(key), soci::use(key_version),
        soci::use(piece.after.credential), soci::use(after_version),
        soci::use(piece.last.credential), soci::use(last_version), soci::use(records);
}

std::optional<RewrapLease> select_expired(soci::session& sql, const RewrapJobRow& job,
                                          base::Time now) {
    const long long at = to_value(now);
    std::string id;
    std::string key;
    long long key_version = 0;
    long long after_version = 0;
    long long last_version = 0;
    long long records = 0;
    RewrapPiece piece;
    sql << "SELECT id, key_id, key_version, after_credential, after_version, last_credential, "
           "last_version, records FROM rewrap_leases WHERE job = :job AND expires_at <= :at "
           "ORDER BY expires_at LIMIT 1",
        soci::into(id), soci::into(key), soci::into(key_version),
        soci::into(piece.after.credential), soci::into(after_version),
        soci::into(piece.last.credential), soci::into(last_version), soci::into(records),
        soci::use(job.id), soci::use(at);
    if (!sql.got_data()) return std::nullopt;
    RewrapLease lease{.id = to_row_id(id),
                      .job = to_row_id(job.id),
                      .target = job.target(),
                      .pass = static_cast<std::uint32_t>(job.pass),
                      .piece = std::nullopt};
    if (records == 0) return lease;
    piece.from = {to_row_id(key), static_cast<std::uint32_t>(key_version)};
    piece.after.version = to_count(after_version);
    piece.last.version = to_count(last_version);
    piece.records = to_count(records);
    lease.piece = piece;
    return lease;
}

bool delete_lease(soci::session& sql, const RewrapLease& lease) {
    const std::string id = lease.id.to_string();
    soci::statement remove =
        (sql.prepare << "DELETE FROM rewrap_leases WHERE id = :id", soci::use(id));
    remove.execute(true);
    return remove.get_affected_rows() == 1;
}

long long count_leases(soci::session& sql, const std::string& job) {
    long long count = 0;
    sql << "SELECT COUNT(*) FROM rewrap_leases WHERE job = :job", soci::into(count), soci::use(job);
    return count;
}

bool needs_rewrap(const MasterKeyVersion& target, const std::string& key, long long version) {
    return key != target.key_id.to_string() || version < static_cast<long long>(target.version);
}

bool next_group(soci::session& sql, std::string& key, long long& version) {
    const std::string after_key = key;
    const long long after_version = version;
    sql << "SELECT key_id, key_version FROM versions WHERE erased_at IS NULL AND "
           "(key_id, key_version) > (:key, :version) ORDER BY key_id, key_version LIMIT 1",
        soci::into(key), soci::into(version), soci::use(after_key), soci::use(after_version);
    return sql.got_data();
}

std::optional<RewrapPiece> piece_in_group(server::Session& sql, const RewrapCursor& from,
                                          std::size_t most) {
    const std::string size =
        sql.dialect() == server::Dialect::postgresql ? "octet_length(sealed)" : "length(sealed)";
    const long long limit = to_value(most);
    RewrapPiece piece{.from = {to_row_id(from.key), static_cast<std::uint32_t>(from.key_version)},
                      .after = {from.credential, to_count(from.version)},
                      .last = {},
                      .records = 0};
    long long credential = 0;
    long long version = 0;
    long long bytes = 0;
    std::size_t total = 0;
    soci::statement select =
        (sql.prepare << "SELECT credential, version, " + size +
                            " FROM versions WHERE erased_at IS NULL AND key_id = :key AND "
                            "key_version = :key_version AND (credential, version) > "
                            "(:credential, :version) ORDER BY credential, version LIMIT :limit",
         soci::into(credential), soci::into(version), soci::into(bytes), soci::use(from.key),
         soci::use(from.key_version), soci::use(from.credential), soci::use(from.version),
         soci::use(limit));
    select.execute();
    bool full = false;
    while (select.fetch()) {
        total += static_cast<std::size_t>(bytes);
        full = full || (piece.records > 0 && total > max_piece_bytes);
        if (full) continue;  // fetched to its end, so that the statement does not stay open
        piece.last = {credential, to_count(version)};
        ++piece.records;
    }
    if (piece.records == 0) return std::nullopt;
    return piece;
}

bool skip_rows(soci::session& sql, RewrapCursor& cursor, long long rows) {
    const long long offset = rows - 1;
    const RewrapCursor from = cursor;
    sql << "SELECT credential, version FROM versions WHERE erased_at IS NULL AND key_id = :key AND "
           "key_version = :key_version AND (credential, version) > (:credential, :version) "
           "ORDER BY credential, version LIMIT 1 OFFSET :offset",
        soci::into(cursor.credential), soci::into(cursor.version), soci::use(from.key),
        soci::use(from.key_version), soci::use(from.credential), soci::use(from.version),
        soci::use(offset);
    return sql.got_data();
}

long long count_behind(soci::session& sql, const RewrapCursor& cursor) {
    long long count = 0;
    sql << "SELECT COUNT(*) FROM versions WHERE erased_at IS NULL AND key_id = :key AND "
           "key_version = :key_version AND (credential, version) > (:credential, :version)",
        soci::into(count), soci::use(cursor.key), soci::use(cursor.key_version),
        soci::use(cursor.credential), soci::use(cursor.version);
    return count;
}

long long count_remaining(soci::session& sql, const MasterKeyVersion& target) {
    const std::string key = target.key_id.to_string();
    const long long version = target.version;
    std::array<long long, 3> counts{};
    sql << "SELECT COUNT(*) FROM versions WHERE erased_at IS NULL AND key_id < :key",
        soci::into(counts[0]), soci::use(key);
    sql << "SELECT COUNT(*) FROM versions WHERE erased_at IS NULL AND key_id > :key",
        soci::into(counts[1]), soci::use(key);
    sql << "SELECT COUNT(*) FROM versions WHERE erased_at IS NULL AND key_id = :key AND "
           "key_version < :version",
        soci::into(counts[2]), soci::use(key), soci::use(version);
    return counts[0] + counts[1] + counts[2];
}

long long count_standing_failures(soci::session& sql, const RewrapJobRow& job) {
    long long count = 0;
    sql << "SELECT COUNT(*) FROM rewrap_failures f JOIN versions v ON v.credential = f.credential "
           "AND v.version = f.version WHERE f.job = :job AND v.erased_at IS NULL AND "
           "(v.key_id <> :key OR v.key_version < :version)",
        soci::into(count), soci::use(job.id), soci::use(job.key_id), soci::use(job.key_version);
    return count;
}

}  // namespace vault
