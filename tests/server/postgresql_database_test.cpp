#include "server/database.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "base/log.h"
#include "tests/support/expect_error.h"
#include "tests/support/postgresql.h"

namespace {

using server::Database;
using server::Migration;
using server::Session;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

const std::vector<Migration> tables = {
    {1,
     "CREATE TABLE things (name TEXT PRIMARY KEY, value BIGINT NOT NULL DEFAULT 0);"
     "CREATE TABLE counter (one INTEGER PRIMARY KEY, value BIGINT NOT NULL);"
     "INSERT INTO counter (one, value) VALUES (1, 0)",
     ""}};

class Postgresql : public testing::Test {
protected:
    void SetUp() override {
        SKIP_WITHOUT_POSTGRESQL();
        database_ = open();
    }

    std::unique_ptr<Database> open(milliseconds deadline = milliseconds(20'000),
                                   std::size_t connections = 8) {
        auto config = schema_.config();
        config.deadline = deadline;
        config.connections = connections;
        auto database = server::open_database(std::move(config), log_);
        database->migrate("things", tables);
        return database;
    }
    static void add(Database& database, const std::string& name) {
        database.write([&](soci::session& sql) {
            sql << "INSERT INTO things (name) VALUES (:name)", soci::use(name, "name");
        });
    }
    static int count(Database& database) {
        int result = 0;
        database.read(
            [&](soci::session& sql) { sql << "SELECT COUNT(*) FROM things", soci::into(result); });
        return result;
    }
    static int process_of(soci::session& sql) {
        int process = 0;
        sql << "SELECT pg_backend_pid()", soci::into(process);
        return process;
    }
    void end_process(int process) {
        schema_.sql("SELECT pg_terminate_backend(" + std::to_string(process) + ", 20000)::text");
    }
    // Of this test's connections.
    void end_all_processes() {
        schema_.sql(
            "SELECT bool_and(pg_terminate_backend(pid, 20000))::text FROM pg_stat_activity "
            "WHERE application_name = 'strongroom/" +
            schema_.name() + "'");
    }

    tests::PostgresqlSchema schema_;
    base::Log log_{"tests", base::LogLevel::error};
    std::unique_ptr<Database> database_;
};

TEST_F(Postgresql, CommittedRowsAreSeenByOtherNodes) {
    const auto other = open();
    add(*database_, "a");
    EXPECT_EQ(count(*other), 1);
    EXPECT_TRUE(database_->is_shared());
    EXPECT_EQ(database_->dialect(), server::Dialect::postgresql);
    EXPECT_NO_THROW(database_->check());
}

TEST_F(Postgresql, ThrowingWorkIsRolledBackAndTheConnectionGoesOn) {
    EXPECT_ERROR(not_found, database_->write([](soci::session& sql) {
        sql << "INSERT INTO things (name) VALUES ('a')";
        throw base::Error(base::ErrorCode::not_found, "no");
    }));
    EXPECT_ERROR(unavailable,
                 database_->read([](soci::session& sql) { sql << "SELECT * FROM nowhere"; }));
    EXPECT_EQ(count(*database_), 0);
    add(*database_, "a");
    EXPECT_EQ(count(*database_), 1);
}

TEST_F(Postgresql, ViolatedConstraintAlreadyExists) {
    add(*database_, "a");
    EXPECT_ERROR(already_exists, add(*database_, "a"));
    EXPECT_EQ(count(*database_), 1);
}

TEST_F(Postgresql, OtherConstraintIsNoRowThatExists) {
    EXPECT_ERROR(internal, database_->write([](soci::session& sql) {
        sql << "INSERT INTO things (name, value) VALUES ('a', NULL)";
    }));
    EXPECT_EQ(count(*database_), 0);
}

TEST_F(Postgresql, ErrorsNeverQuoteABoundValue) {
    const std::string value = "row contents";
    for (const auto* statement :
         {"INSERT INTO things (name, value) VALUES ('a', :value)",
          "INSERT INTO things (name) VALUES (:value)", "INSERT INTO nowhere VALUES (:value)",
          "SELECT name FROM things WHERE value = :value"}) {
        std::string detail;
        for (int i = 0; i < 2; ++i) {
            try {
                database_->write(
                    [&](soci::session& sql) { sql << statement, soci::use(value, "value"); });
            } catch (const base::Error& error) {
                detail = error.detail();
                EXPECT_EQ(std::string(error.what()).find(value), std::string::npos);
                EXPECT_EQ(detail.find(value), std::string::npos) << detail;
            }
        }
        EXPECT_NE(detail.find("PostgreSQL"), std::string::npos) << statement << detail;
    }
}

TEST_F(Postgresql, TransactionsOfManyThreadsAreAsIfOneRanAfterTheOther) {
    const auto other = open();
    const auto raise = [](Database& database, bool in_turn) {
        const auto work = [](soci::session& sql) {
            long long value = 0;
            sql << "SELECT value FROM counter WHERE one = 1", soci::into(value);
            ++value;
            sql << "UPDATE counter SET value = :value WHERE one = 1", soci::use(value, "value");
        };
        in_turn ? database.write_in_turn("counter", work) : database.write(work);
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 10; ++i) raise(t % 2 == 0 ? *database_ : *other, i % 2 == 0);
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(schema_.sql("SELECT value::text FROM counter"), "40");
}

// What snapshots alone allow: two that each read what the other writes.
TEST_F(Postgresql, WriteSkewIsNotPossible) {
    add(*database_, "a");
    add(*database_, "b");
    std::atomic<int> arrived = 0;
    const auto leave = [&](const std::string& name) {
        int runs = 0;
        database_->write([&](soci::session& sql) {
            int there = 0;
            sql << "SELECT COUNT(*) FROM things", soci::into(there);
            if (++runs == 1) {
                ++arrived;
                while (arrived < 2) std::this_thread::yield();
            }
            if (there < 2) return;
            sql << "DELETE FROM things WHERE name = :name", soci::use(name, "name");
        });
    };
    std::thread one([&] { leave("a"); });
    std::thread two([&] { leave("b"); });
    one.join();
    two.join();
    EXPECT_EQ(count(*database_), 1) << "somebody stays";
}

TEST_F(Postgresql, ADeadlockIsRunAgain) {
    add(*database_, "a");
    add(*database_, "b");
    std::atomic<int> arrived = 0;
    const auto touch = [&](const std::string& first, const std::string& second) {
        int runs = 0;
        database_->write([&](soci::session& sql) {
            const auto raise = [&](const std::string& name) {
                sql << "UPDATE things SET value = value + 1 WHERE name = :name",
                    soci::use(name, "name");
            };
            raise(first);
            if (++runs == 1) {
                ++arrived;
                while (arrived < 2) std::this_thread::yield();
            }
            raise(second);
        });
    };
    std::thread one([&] { touch("a", "b"); });
    std::thread two([&] { touch("b", "a"); });
    one.join();
    two.join();
    EXPECT_EQ(schema_.sql("SELECT SUM(value)::text FROM things"), "4");
}

TEST_F(Postgresql, AReadSeesOneState) {
    const auto other = open();
    int before = -1;
    int after = -1;
    database_->read([&](soci::session& sql) {
        sql << "SELECT COUNT(*) FROM things", soci::into(before);
        add(*other, "a");
        sql << "SELECT COUNT(*) FROM things", soci::into(after);
    });
    EXPECT_EQ(before, 0);
    EXPECT_EQ(after, 0);
    EXPECT_EQ(count(*database_), 1);
}

TEST_F(Postgresql, AWorkWhoseConnectionEndsIsRunAgain) {
    int runs = 0;
    database_->write([&](soci::session& sql) {
        sql << "INSERT INTO things (name) VALUES ('a')";
        if (++runs == 1) end_process(process_of(sql));
        sql << "INSERT INTO things (name) VALUES ('b')";
    });
    EXPECT_EQ(runs, 2);
    EXPECT_EQ(count(*database_), 2);
    runs = 0;
    database_->read([&](soci::session& sql) {
        if (++runs == 1) end_process(process_of(sql));
        sql << "SELECT 1";
    });
    EXPECT_EQ(runs, 2);
}

// The answer to a COMMIT is lost: it either happened before the connection ended or it never did.
TEST_F(Postgresql, AnUnknownOutcomeIsLookedUp) {
    // Deferred to the COMMIT, where it ends its own process: nothing is committed.
    schema_.sql(
        "CREATE FUNCTION end_me() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
        "IF (SELECT COUNT(*) FROM things) < 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); "
        "PERFORM pg_sleep(10); END IF; RETURN NULL; END $$");
    schema_.sql("ALTER FUNCTION end_me() SET search_path = " + schema_.name());
    add(*database_, "x");
    schema_.sql(
        "CREATE CONSTRAINT TRIGGER last AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION end_me()");
    int runs = 0;
    database_->write([&](soci::session& sql) {
        sql << "INSERT INTO things (name) VALUES ('a')";
        if (++runs == 2) sql << "INSERT INTO things (name) VALUES ('b')";
    });
    EXPECT_EQ(runs, 2) << "the first never happened, and was done again";
    EXPECT_EQ(count(*database_), 3);
    EXPECT_EQ(schema_.sql("SELECT COUNT(*)::text FROM commit_marks WHERE is_void"), "1");
}

TEST_F(Postgresql, ACommitWhoseAnswerWasLostIsNotDoneTwice) {
    const auto hasty = open(milliseconds(1000), 4);
    std::atomic<int> process = 0;
    // The server's process stands still when the COMMIT comes, and goes on when our side has given
    // its connection up and waits to hear what became of it.
    std::thread waker([&] {
        const auto is_asking = [&] {
            return schema_.sql(
                       "SELECT COUNT(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                       "AND query LIKE '%is_void%' AND application_name = 'strongroom/" +
                       schema_.name() + "'") == "1";
        };
        while (process == 0 || !is_asking()) std::this_thread::yield();
        ::kill(process, SIGCONT);
    });
    int runs = 0;
    hasty->write([&](soci::session& sql) {
        ++runs;
        sql << "INSERT INTO things (name) VALUES ('a')";
        const int own = process_of(sql);
        ASSERT_EQ(::kill(own, SIGSTOP), 0);
        process = own;
    });
    waker.join();
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(count(*database_), 1);
}

TEST_F(Postgresql, EveryConnectionIsMadeAnewAfterTheServerEndedThem) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) threads.emplace_back([&] { count(*database_); });
    for (auto& thread : threads) thread.join();
    end_all_processes();
    add(*database_, "a");
    EXPECT_EQ(count(*database_), 1);
}

TEST_F(Postgresql, KeptStatementsEndWithTheirConnection) {
    struct Find {
        explicit Find(soci::session& sql)
            : statement((sql.prepare << "SELECT value FROM things WHERE name = :name",
                         soci::use(name, "name"), soci::into(value))) {}
        std::string name;
        long long value = -1;
        soci::statement statement;
    };
    const auto one = open(milliseconds(20'000), 2);
    add(*one, "a");
    const auto value = [&] {
        long long found = -1;
        one->read([&](Session& session) {
            auto& find = session.kept<Find>();
            find.name = "a";
            if (find.statement.execute(true)) found = find.value;
        });
        return found;
    };
    EXPECT_EQ(value(), 0);
    EXPECT_EQ(value(), 0);
    end_all_processes();
    EXPECT_EQ(value(), 0);
    EXPECT_ERROR(unavailable, one->read([](soci::session& sql) { sql << "nonsense"; }));
    EXPECT_EQ(value(), 0);
}

TEST_F(Postgresql, AServerThatAnswersTooLateIsUnavailableAtTheDeadline) {
    const auto hasty = open(milliseconds(300), 2);
    const auto begin = steady_clock::now();
    // The server's own limit.
    EXPECT_ERROR(unavailable,
                 hasty->read([](soci::session& sql) { sql << "SELECT pg_sleep(20)"; }));
    // Ours, for a server that does not keep its own.
    EXPECT_ERROR(unavailable, hasty->read([](soci::session& sql) {
        sql << "SET LOCAL statement_timeout = 0";
        sql << "SELECT pg_sleep(20)";
    }));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10));
    EXPECT_EQ(count(*hasty), 0);
}

// The server's processes stand still: what is given up is not waited for either.
TEST_F(Postgresql, AnOldConnectionToAServerThatStandsStillIsGivenUpAtOnce) {
    struct Two {
        explicit Two(soci::session& sql) : statement((sql.prepare << "SELECT 2")) {}
        soci::statement statement;
    };
    const auto hasty = open(milliseconds(500), 4);
    int stopped = 0;
    hasty->read([&](Session& first) {
        first.kept<Two>();
        hasty->read([&](Session& second) {
            second.kept<Two>();
            stopped = process_of(second);
        });
        // The one that was given back stands still; this one breaks, so that both are old.
        ASSERT_EQ(::kill(stopped, SIGSTOP), 0);
        end_process(process_of(first));
    });
    const auto begin = steady_clock::now();
    EXPECT_NO_THROW(hasty->check());
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(5));
    ::kill(stopped, SIGCONT);
}

TEST_F(Postgresql, ALockThatIsHeldTooLongIsUnavailable) {
    const auto hasty = open(milliseconds(300), 2);
    database_->write_in_turn("counter", [&](soci::session&) {
        EXPECT_ERROR(unavailable, hasty->write_in_turn("counter", [](soci::session&) {}));
    });
    EXPECT_NO_THROW(hasty->write_in_turn("counter", [](soci::session&) {}));
}

TEST_F(Postgresql, WhenAllConnectionsAreInUseTheOthersWaitUntilTheDeadline) {
    const auto small = open(milliseconds(300), 2);
    small->read([&](soci::session&) {
        small->read([&](soci::session&) {  // a thread has two, so that the test needs no third
            EXPECT_ERROR(unavailable, small->check());
        });
    });
    EXPECT_NO_THROW(small->check());
}

TEST_F(Postgresql, ANewerDatabaseIsRefusedAndAFailedMigrationChangesNothing) {
    auto more = tables;
    more.push_back({2, "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7", ""});
    auto broken = more;
    broken.push_back({3, "CREATE TABLE extra (id INTEGER); CREATE TABLE broken (;", ""});
    const auto database = schema_.open();
    EXPECT_ERROR_SAYING(failed_precondition, "can't be brought",
                        database->migrate("things", broken));
    EXPECT_EQ(schema_.sql("SELECT COUNT(*)::text FROM information_schema.columns "
                          "WHERE table_schema = current_schema() AND column_name = 'size'"),
              "0");
    database->migrate("things", more);
    EXPECT_ERROR_SAYING(failed_precondition, "newer version", database->migrate("things", tables));
}

TEST_F(Postgresql, NodesThatStartAtOnceMigrateOnce) {
    const tests::PostgresqlSchema fresh;
    std::vector<std::thread> threads;
    std::atomic<int> ready = 0;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            const auto node = fresh.open();
            node->migrate("things", tables);
            ready += count(*node) == 0 ? 1 : 0;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(ready, 4);
}

TEST_F(Postgresql, AServerThatLosesWhatWasAcknowledgedIsRefused) {
    schema_.sql("CREATE ROLE " + schema_.name() + " LOGIN SUPERUSER");
    schema_.sql("ALTER ROLE " + schema_.name() + " SET synchronous_commit = off");
    auto config = schema_.config();
    config.user = schema_.name();
    EXPECT_ERROR_SAYING(failed_precondition, "synchronous_commit",
                        server::open_database(std::move(config), log_));
    schema_.sql("DROP ROLE " + schema_.name());
}

TEST_F(Postgresql, ThePasswordAndTheServersNameAreVerifiedOverTls) {
    const auto over_tls = [&] {
        auto config = schema_.config();
        config.host = "127.0.0.1";
        config.database = "tls";
        config.user = "strongroom";
        const std::string_view password = "p:a\\ss'word";
        config.password = base::SecretBytes(base::as_bytes(password));
        config.ca = tests::postgresql_server().ca();
        return config;
    };
    const auto code = [&](server::PostgresqlConfig given) {
        try {
            server::open_database(std::move(given), log_)->check();
            return std::string("let in");
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
            EXPECT_EQ(error.detail().find("ss'word"), std::string::npos);
            return error.detail();
        }
    };
    EXPECT_EQ(code(over_tls()), "let in");
    auto wrong = over_tls();
    wrong.password = base::SecretBytes(base::as_bytes("wrong"));
    EXPECT_NE(code(std::move(wrong)).find("password authentication failed"), std::string::npos);
    auto none = over_tls();
    none.password = base::SecretBytes();
    EXPECT_NE(code(std::move(none)).find("no password"), std::string::npos);
    auto other_name = over_tls();
    other_name.host = "localhost";
    EXPECT_NE(code(std::move(other_name)).find("does not match host name"), std::string::npos);
    auto plain = over_tls();
    plain.ca.clear();
    EXPECT_NE(code(std::move(plain)).find("no encryption"), std::string::npos);
}

TEST_F(Postgresql, AServerThatIsNotThereIsUnavailableAtOnce) {
    auto config = schema_.config();
    config.port = 1;
    EXPECT_ERROR(unavailable, server::open_database(std::move(config), log_));
}

}  // namespace
