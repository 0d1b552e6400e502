#include "server/postgresql_database.h"

#include <soci/postgresql/soci-postgresql.h>

#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/uuid.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int oldest_server = 130000;  // PQserverVersion; 13 is the oldest with security fixes
constexpr std::chrono::minutes migration_deadline{10};
constexpr std::uint64_t writes_between_tidying = 4096;

constexpr std::string_view begin_serializable = "BEGIN ISOLATION LEVEL SERIALIZABLE";
constexpr std::string_view begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

// SQLSTATEs (PostgreSQL, appendix A).
bool is_conflict(std::string_view state) { return state == "40001" || state == "40P01"; }
bool is_constraint(std::string_view state) { return state.starts_with("23"); }
bool is_unique_violation(std::string_view state) { return state == "23505"; }
// What a server says when it goes down or ends a connection.
bool is_farewell(std::string_view state) {
    return state.starts_with("08") || state.starts_with("57P") || state == "25P03";
}

std::string state_of(const soci::soci_error& error) {
    const auto* own = dynamic_cast<const soci::postgresql_soci_error*>(&error);
    return own == nullptr ? std::string() : own->sqlstate();
}

// For the operational log. what() adds the statement and the values bound to it; the server's own
// text quotes a value where that is no good (class 22).
std::string describe(const std::string& state, const std::string& text) {
    if (state.starts_with("22")) return "PostgreSQL " + state;
    return text + " (PostgreSQL " + (state.empty() ? "gave no state" : state) + ")";
}

[[noreturn]] void translate(const std::string& state, const std::string& text) {
    if (is_unique_violation(state))
        throw Error(ErrorCode::already_exists, "it exists already", describe(state, text));
    if (is_constraint(state))
        throw Error(ErrorCode::internal, "a row contradicts the tables", describe(state, text));
    refuse_unavailable(describe(state, text));
}

[[noreturn]] void refuse_server(const std::string& why) {
    throw Error(ErrorCode::failed_precondition, "the PostgreSQL server can't be used: " + why);
}

std::string require(PostgresqlConnection& connection, const std::string& sql) {
    Executed executed = connection.execute(sql);
    if (!executed.is_done) translate(executed.state, executed.text);
    return std::move(executed.value);
}

std::string sql_text(std::string_view text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
    return out + "'";
}

// Between two attempts: some milliseconds, by chance, more after each.
milliseconds pause_before(int attempt) {
    thread_local std::minstd_rand random{std::random_device{}()};
    const int most = std::min(2 << std::min(attempt, 6), 100);
    return milliseconds(std::uniform_int_distribution<int>(1, most)(random));
}

}  // namespace

// One call's attempts.
struct PostgresqlDatabase::Attempts {
    explicit Attempts(milliseconds limit) : deadline(steady_clock::now() + limit) {}

    // Waits; false when the time is over.
    bool pause() {
        const auto pause = pause_before(count++);
        if (steady_clock::now() + pause >= deadline) return false;
        std::this_thread::sleep_for(pause);
        return true;
    }
    void failed(const std::string& state, const std::string& text) { last = describe(state, text); }

    DatabaseDeadline deadline;
    int count = 0;
    bool was_constraint = false;
    std::string mark;  // of the attempt
    std::string last;  // what the last one failed of
};

PostgresqlDatabase::PostgresqlDatabase(PostgresqlConfig config, base::Log& log)
    : connections_(std::move(config)) {
    require_server(log);
    prepare_schema();
}

void PostgresqlDatabase::require_server(base::Log& log) {
    const auto connection =
        connections_.borrow(steady_clock::now() + connections_.config().deadline);
    const auto show = [&](const std::string& name) { return require(*connection, "SHOW " + name); };
    if (std::stoi(show("server_version_num")) < oldest_server)
        refuse_server("it is older than version 13");
    if (show("server_encoding") != "UTF8") refuse_server("the database's encoding is not UTF8");
    if (show("synchronous_commit") == "off")
        refuse_server("synchronous_commit is off: a crash would lose what was acknowledged");
    for (const auto* name : {"fsync", "full_page_writes"}) {
        if (show(name) == "on") continue;
        log.warning("the PostgreSQL server does not survive a power loss",
                    {{"setting", std::string(name) + "=off"}});
    }
}

void PostgresqlDatabase::prepare_schema() {
    const auto connection = connections_.borrow(steady_clock::now() + migration_deadline);
    const std::string& schema = connections_.config().schema;
    PostgresqlConnection& one = *connection;
    // One node at a time; a schema that somebody made for us needs no right to make one.
    require(one,
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
            "SELECT pg_advisory_xact_lock(hashtext('strongroom'), hashtext(" +
                sql_text(schema) + "))");
    if (require(one, "SELECT to_regnamespace(" + sql_text(schema) + ") IS NULL") == "t")
        require(one, "CREATE SCHEMA " + schema);
    require(one,
            "CREATE TABLE IF NOT EXISTS room_versions "
            "(room TEXT PRIMARY KEY, version INTEGER NOT NULL); "
            "CREATE TABLE IF NOT EXISTS commit_marks "
            "(id TEXT PRIMARY KEY, is_void BOOLEAN NOT NULL DEFAULT FALSE, "
            "made_at TIMESTAMPTZ NOT NULL DEFAULT now()); "
            "CREATE INDEX IF NOT EXISTS commit_marks_by_age ON commit_marks (made_at); "
            "COMMIT");
}

void PostgresqlDatabase::migrate(std::string_view room, std::span<const Migration> migrations,
                                 Unnamed /*unnamed*/) {
    const auto connection = connections_.borrow(steady_clock::now() + migration_deadline);
    PostgresqlConnection& one = *connection;
    const std::string name = sql_text(room);
    const int newest = migrations.empty() ? 0 : migrations.back().version;
    // All steps or none, and one node at a time.
    const auto step = [&](const std::string& sql) {
        const Executed executed = one.execute(sql);
        if (executed.is_done) return executed.value;
        one.execute("ROLLBACK");
        refuse_server("its tables can't be brought to this program's version: " +
                      describe(executed.state, executed.text));
    };
    step(
        "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; "
        "SELECT pg_advisory_xact_lock(hashtext('strongroom'), hashtext(" +
        sql_text(connections_.config().schema) + "))");
    const std::string found = step("SELECT version FROM room_versions WHERE room = " + name);
    const int current = found.empty() ? 0 : std::stoi(found);
    if (current > newest) {
        one.execute("ROLLBACK");
        refuse_server("its tables were written by a newer version of this program; install it");
    }
    for (const Migration& migration : migrations) {
        if (migration.version <= current) continue;
        step(std::string(migration.postgresql.empty() ? migration.sql : migration.postgresql));
    }
    if (newest > current) {
        step("INSERT INTO room_versions (room, version) VALUES (" + name + ", " +
             std::to_string(newest) +
             ") ON CONFLICT (room) DO UPDATE SET version = " + std::to_string(newest));
    }
    step("COMMIT");
}

PostgresqlDatabase::Outcome PostgresqlDatabase::try_write(const std::string& begin,
                                                          const Work& work, Attempts& attempts) {
    const auto connection = connections_.borrow(attempts.deadline);
    // Before the connection may go back to the others.
    const auto give_up = [&] {
        if (connection->is_alive()) connection->execute("ROLLBACK");
        connection->session.drop_kept();
    };
    const auto judge = [&](const std::string& state, const std::string& text) {
        const bool is_broken = !connection->is_alive() || is_farewell(state);
        give_up();
        attempts.failed(state, text);
        if (is_broken || is_conflict(state)) return Outcome::again;
        // A row of somebody who was faster may be seen as a conflict or as this: then the work, run
        // again, sees the row.
        if (is_constraint(state) && !std::exchange(attempts.was_constraint, true))
            return Outcome::again;
        translate(state, text);
    };
    attempts.mark = base::Uuid::random().to_string();
    const Executed begun = connection->execute(begin + "; INSERT INTO commit_marks (id) VALUES (" +
                                               sql_text(attempts.mark) + ")");
    if (!begun.is_done) return judge(begun.state, begun.text);
    try {
        work(connection->session);
    } catch (const soci::soci_error& error) {
        return judge(state_of(error), error.get_error_message());
    } catch (...) {
        give_up();
        throw;
    }
    const Executed committed = connection->execute("COMMIT");
    if (committed.is_done && committed.command == "COMMIT") return Outcome::done;
    if (connection->is_alive() && !is_farewell(committed.state))
        return judge(committed.state, committed.text);
    connection->session.drop_kept();
    attempts.failed(committed.state, committed.text);
    return Outcome::unknown;
}

bool PostgresqlDatabase::was_committed(Attempts& attempts) {
    // If the first transaction is still there, this waits for its end. If it left no mark, this
    // leaves a void one, which the first can't come behind. Asked again, it answers the same.
    const std::string sql = "INSERT INTO commit_marks (id, is_void) VALUES (" +
                            sql_text(attempts.mark) +
                            ", TRUE) ON CONFLICT (id) DO UPDATE SET id = excluded.id "
                            "RETURNING is_void";
    attempts.deadline += connections_.config().deadline;
    for (;;) {
        try {
            const auto connection = connections_.borrow(attempts.deadline);
            const Executed executed = connection->execute(sql);
            if (executed.is_done) return executed.value == "f";
            attempts.failed(executed.state, executed.text);
        } catch (const Error& error) {
            attempts.last = error.detail();
        }
        if (!attempts.pause()) {
            throw Error(ErrorCode::unavailable,
                        "the store did not say whether the change was made: look, or repeat it "
                        "with the same Idempotency-Key",
                        attempts.last);
        }
    }
}

void PostgresqlDatabase::write_until_done(const std::string& begin, const Work& work) {
    Attempts attempts(connections_.config().deadline);
    for (;;) {
        const Outcome outcome = try_write(begin, work, attempts);
        if (outcome == Outcome::done) break;
        if (outcome == Outcome::unknown && was_committed(attempts)) break;
        if (!attempts.pause()) refuse_unavailable("out of time: " + attempts.last);
    }
    if (++writes_ % writes_between_tidying == 0) forget_old_marks();
}

void PostgresqlDatabase::write(const Work& work) {
    write_until_done(std::string(begin_serializable), work);
}

void PostgresqlDatabase::write_in_turn(std::string_view table, const Work& work) {
    // Before anything that takes the transaction's snapshot.
    write_until_done(std::string(begin_serializable) + "; LOCK TABLE " + std::string(table) +
                         " IN EXCLUSIVE MODE",
                     work);
}

bool PostgresqlDatabase::try_read(const Work& work, Attempts& attempts) {
    const auto connection = connections_.borrow(attempts.deadline);
    const auto give_up = [&] {
        if (connection->is_alive()) connection->execute("ROLLBACK");
        connection->session.drop_kept();
    };
    const auto judge = [&](const std::string& state, const std::string& text) {
        const bool is_broken = !connection->is_alive() || is_farewell(state);
        give_up();
        attempts.failed(state, text);
        if (!is_broken && !is_conflict(state)) translate(state, text);
        return false;
    };
    const Executed begun = connection->execute(std::string(begin_reading));
    if (!begun.is_done) return judge(begun.state, begun.text);
    try {
        work(connection->session);
    } catch (const soci::soci_error& error) {
        return judge(state_of(error), error.get_error_message());
    } catch (...) {
        give_up();
        throw;
    }
    // What was read is good, whatever becomes of the connection.
    if (!connection->execute("COMMIT").is_done) give_up();
    return true;
}

void PostgresqlDatabase::read(const Work& work) {
    Attempts attempts(connections_.config().deadline);
    while (!try_read(work, attempts)) {
        if (!attempts.pause()) refuse_unavailable("out of time: " + attempts.last);
    }
}

void PostgresqlDatabase::check() {
    read([](Session& session) {
        int one = 0;
        session << "SELECT 1", soci::into(one);
    });
}

DatabaseBackup PostgresqlDatabase::back_up(const std::string& /*name*/) {
    base::refuse(
        "a PostgreSQL database is backed up by the server's own tools: pg_dump, or its WAL");
}

void PostgresqlDatabase::forget_old_marks() {
    try {
        const auto connection =
            connections_.borrow(steady_clock::now() + connections_.config().deadline);
        // Nobody asks for a mark longer than a deadline.
        connection->execute("DELETE FROM commit_marks WHERE made_at < now() - interval '1 hour'");
    } catch (const Error&) {
        // Another time: they are only in the way.
    }
}

}  // namespace server
