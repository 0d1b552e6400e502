#include "server/database.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/log.h"
#include "server/backup.h"
#include "tests/support/expect_error.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace {

using server::Migration;
using server::Session;

// A database with the tables of one room.
class Database {
public:
    Database(const std::filesystem::path& file, std::span<const Migration> migrations)
        : database_(tests::open_sqlite(file)) {
        database_->migrate("things", migrations);
    }
    void write(const server::Database::Work& work) { database_->write(work); }
    void read(const server::Database::Work& work) { database_->read(work); }
    void check() { database_->check(); }

private:
    std::unique_ptr<server::Database> database_;
};

const std::vector<Migration> first = {
    {1,
     "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
     "CREATE TABLE parts (thing INTEGER NOT NULL REFERENCES things(id));"}};
const std::vector<Migration> second = {
    first[0], {2, "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7;"}};

class DatabaseTest : public ::testing::Test {
protected:
    std::filesystem::path file() const { return folder_ / "a folder's store.db"; }

    static void add(Database& database, const std::string& name) {
        database.write([&name](soci::session& session) {
            session << "INSERT INTO things (name) VALUES (:name)", soci::use(name);
        });
    }
    static int count(Database& database) {
        int result = 0;
        database.read([&result](soci::session& session) {
            session << "SELECT count(*) FROM things", soci::into(result);
        });
        return result;
    }

    tests::TemporaryDirectory folder_;
};

TEST_F(DatabaseTest, CommittedRowsSurviveReopening) {
    {
        Database database(file(), first);
        add(database, "a");
        EXPECT_EQ(count(database), 1);
        EXPECT_NO_THROW(database.check());
    }
    Database database(file(), first);
    EXPECT_EQ(count(database), 1);
}

TEST_F(DatabaseTest, FileIsPrivate) {
    const mode_t before = ::umask(0);
    const Database database(file(), first);
    ::umask(before);
    struct stat status {};
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
        ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0077U, 0U) << entry.path();
    }
}

TEST_F(DatabaseTest, SettingsAreTheDurableOnes) {
    Database database(file(), first);
    const std::vector<std::pair<std::string, std::string>> settings = {
        {"journal_mode", "delete"},    {"synchronous", "3"},   {"foreign_keys", "1"},
        {"locking_mode", "exclusive"}, {"secure_delete", "1"}, {"trusted_schema", "0"}};
    for (const auto& [name, expected] : settings) {
        std::string value;
        database.read([&, pragma = name](soci::session& session) {
            session << "PRAGMA " + pragma, soci::into(value);
        });
        EXPECT_EQ(value, expected) << name;
    }
}

TEST_F(DatabaseTest, ThrowingWorkIsRolledBack) {
    Database database(file(), first);
    EXPECT_ERROR(not_found, database.write([](soci::session& session) {
        session << "INSERT INTO things (name) VALUES ('a')";
        throw base::Error(base::ErrorCode::not_found, "no");
    }));
    EXPECT_EQ(count(database), 0);
    add(database, "b");
    EXPECT_EQ(count(database), 1);
}

TEST_F(DatabaseTest, ViolatedConstraintAlreadyExists) {
    Database database(file(), first);
    add(database, "a");
    EXPECT_ERROR(already_exists, add(database, "a"));
    EXPECT_ERROR(already_exists, database.write([](soci::session& session) {
        session << "INSERT INTO parts VALUES (99)";
    }));
    EXPECT_EQ(count(database), 1);
}

TEST_F(DatabaseTest, OtherTroubleIsUnavailableAndShowsNoSql) {
    Database database(file(), first);
    try {
        database.read([](soci::session& session) { session << "SELECT nothing FROM nowhere"; });
        FAIL() << "nothing was thrown";
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
        EXPECT_EQ(error.message().find("nowhere"), std::string::npos);
    }
}

TEST_F(DatabaseTest, ErrorsNeverQuoteABoundValue) {
    Database database(file(), first);
    const auto detail_of = [&](const std::string& sql) {
        const std::string value = "row contents";
        try {
            database.write(
                [&](soci::session& session) { session << sql, soci::use(value, "value"); });
        } catch (const base::Error& error) {
            EXPECT_EQ(std::string(error.what()).find(value), std::string::npos) << error.what();
            EXPECT_EQ(error.detail().find(value), std::string::npos) << error.detail();
            return error.detail();
        }
        return std::string();
    };
    const std::string insert = "INSERT INTO things (name) VALUES (:value)";
    EXPECT_EQ(detail_of(insert), "");
    const std::string taken = detail_of(insert);
    EXPECT_NE(taken.find("things.name"), std::string::npos) << taken;
    EXPECT_NE(detail_of("INSERT INTO parts (thing) VALUES (:value)"), "");
    EXPECT_NE(detail_of("INSERT INTO things (id, name) VALUES (:value, 'x')"), "");
    EXPECT_NE(detail_of("INSERT INTO nowhere VALUES (:value)"), "");
}

// How a store keeps a statement.
struct FindThing {
    explicit FindThing(soci::session& sql)
        : statement((sql.prepare << "SELECT id FROM things WHERE name = :name", soci::use(name),
                     soci::into(id))) {
        ++made;
    }
    int run(const std::string& wanted) {
        name = wanted;
        return statement.execute(true) ? id : -1;
    }
    inline static int made = 0;
    std::string name;
    int id = 0;
    soci::statement statement;
};

TEST_F(DatabaseTest, KeptStatementsAreMadeOnceUntilAWorkThrows) {
    Database database(file(), first);
    add(database, "a");
    add(database, "b");
    FindThing::made = 0;
    const auto id_of = [&](const std::string& name) {
        int id = 0;
        database.read([&](Session& session) { id = session.kept<FindThing>().run(name); });
        return id;
    };
    EXPECT_EQ(id_of("a"), 1);
    EXPECT_EQ(id_of("b"), 2);
    EXPECT_EQ(id_of("c"), -1);
    add(database, "c");
    EXPECT_EQ(id_of("c"), 3);
    EXPECT_EQ(FindThing::made, 1);
    EXPECT_ERROR(unavailable, database.read([](soci::session& session) { session << "nonsense"; }));
    EXPECT_EQ(id_of("c"), 3);
    EXPECT_EQ(FindThing::made, 2);
}

TEST_F(DatabaseTest, MigrationsRunOnceAndInOrder) {
    {
        Database database(file(), first);
        add(database, "a");
    }
    Database database(file(), second);
    int size = 0;
    database.read([&size](soci::session& session) {
        session << "SELECT size FROM things", soci::into(size);
    });
    EXPECT_EQ(size, 7);
}

TEST_F(DatabaseTest, FailedMigrationLeavesTheOldVersion) {
    { Database database(file(), first); }
    const std::vector<Migration> broken = {
        first[0], {2, "CREATE TABLE extra (id INTEGER); CREATE TABLE broken (;"}};
    EXPECT_ERROR_SAYING(failed_precondition, file().string(), Database(file(), broken));
    Database database(file(), first);
    EXPECT_NO_THROW(database.write(
        [](soci::session& session) { session << "CREATE TABLE extra (id INTEGER)"; }));
}

TEST_F(DatabaseTest, NewerDatabaseIsRefused) {
    { Database database(file(), second); }
    EXPECT_ERROR_SAYING(failed_precondition, "newer version", Database(file(), first));
}

TEST_F(DatabaseTest, EveryRoomHasAVersionOfItsOwn) {
    const std::vector<Migration> other = {{1, "CREATE TABLE others (id INTEGER PRIMARY KEY)"}};
    for (int round = 0; round < 2; ++round) {
        const auto database = tests::open_sqlite(file());
        database->migrate("things", second);
        database->migrate("others", other);
        database->write([](soci::session& session) {
            session << "INSERT INTO others DEFAULT VALUES";
            session << "SELECT size FROM things";
        });
    }
}

// What the first release left: one count for the whole file.
void leave_unnamed_tables(const std::filesystem::path& file) {
    soci::session session("sqlite3", "dbname=\"" + file.string() + "\"");
    session << "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)";
    session << "INSERT INTO things (name) VALUES ('old')";
    session << "PRAGMA user_version=1";
    ::chmod(file.c_str(), 0600);
}

TEST_F(DatabaseTest, TablesOfTheFirstReleaseCarryOver) {
    leave_unnamed_tables(file());
    {
        const auto database = tests::open_sqlite(file());
        database->migrate("new", std::vector<Migration>{{1, "CREATE TABLE news (id INTEGER)"}});
        database->migrate("things", second, server::Database::Unnamed::this_rooms);
        int size = 0;
        database->read([&size](soci::session& session) {
            session << "SELECT size FROM things WHERE name = 'old'", soci::into(size);
        });
        EXPECT_EQ(size, 7);
    }
    Database again(file(), second);
    EXPECT_EQ(count(again), 1);
    // The first release refuses any version that is higher than its own.
    int version = 0;
    again.read([&](soci::session& sql) { sql << "PRAGMA user_version", soci::into(version); });
    EXPECT_GT(version, 2);
}

TEST_F(DatabaseTest, ABackupIsADatabaseOfItsOwnAndIsNeverWrittenOver) {
    base::Log log("tests", base::LogLevel::error);
    const auto open = [&](const std::filesystem::path& backups) {
        auto database = server::open_database(server::SqliteConfig{file(), backups}, log);
        database->migrate("things", first);
        return database;
    };
    EXPECT_ERROR_SAYING(failed_precondition, "backup_directory", open({})->back_up("a.db"));
    std::filesystem::path backup;
    {
        const auto database = open(folder_ / "backups");
        const auto fill = [&](const std::string& name) {
            database->write([&](soci::session& sql) {
                for (int i = 0; i < 400; ++i) {
                    const std::string text = name + std::string(2000, 'x') + std::to_string(i);
                    sql << "INSERT INTO things (name) VALUES (:name)", soci::use(text, "name");
                }
            });
        };
        fill("before");
        std::thread writer([&] { fill("during"); });
        const auto made = database->back_up("a.db");
        writer.join();
        backup = made.file;
        EXPECT_EQ(made.bytes, std::filesystem::file_size(backup));
        EXPECT_EQ(made.sha256.size(), 64U);
        struct stat status {};
        ASSERT_EQ(::stat(backup.c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777U, 0600U);
        EXPECT_ERROR(failed_precondition, database->back_up("a.db"));
        EXPECT_EQ(std::filesystem::file_size(backup), made.bytes) << "it is still there";
    }
    const auto restored = folder_ / "restored.db";
    EXPECT_EQ(server::restore_backup(backup, restored).bytes, std::filesystem::file_size(backup));
    EXPECT_ERROR_SAYING(failed_precondition, "there already",
                        server::restore_backup(backup, restored));
    Database database(restored, first);
    const int rows = count(database);
    EXPECT_TRUE(rows == 400 || rows == 800) << rows;
    EXPECT_ERROR(failed_precondition, server::restore_backup(folder_ / "none.db", folder_ / "n"));
    folder_.write("x.db", std::string(5000, 'x'));
    EXPECT_ERROR(failed_precondition, server::restore_backup(folder_ / "x.db", folder_ / "n"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "n"));
}

TEST_F(DatabaseTest, FileThatIsNoDatabaseIsRefused) {
    folder_.write("x.db", std::string(5000, 'x'));
    EXPECT_ERROR_SAYING(failed_precondition, "no SQLite database",
                        Database(folder_ / "x.db", first));
}

TEST_F(DatabaseTest, DamagedDatabaseIsRefused) {
    {
        Database database(file(), first);
        for (int i = 0; i < 500; ++i) add(database, std::string(100, 'x') + std::to_string(i));
    }
    std::fstream(file(), std::ios::in | std::ios::out | std::ios::binary).seekp(8192)
        << std::string(8192, '\x55');
    EXPECT_ERROR_SAYING(failed_precondition, "damaged", Database(file(), first));
}

TEST_F(DatabaseTest, FileOpenToOthersOrMissingFolderIsRefused) {
    { Database database(file(), first); }
    ASSERT_EQ(::chmod(file().c_str(), 0644), 0);
    EXPECT_ERROR_SAYING(failed_precondition, "chmod 0600", Database(file(), first));
    EXPECT_ERROR_SAYING(failed_precondition, "can't be opened",
                        Database(folder_ / "no" / "such.db", first));
    EXPECT_ERROR_SAYING(failed_precondition, "can't be opened", Database(folder_.path(), first));
}

TEST_F(DatabaseTest, SecondProcessIsRefused) {
    const Database database(file(), first);
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 1;
        try {
            const Database other(file(), first);
        } catch (const base::Error& error) {
            code = error.message().find("in use by another process") != std::string::npos ? 42 : 2;
        }
        ::_exit(code);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST_F(DatabaseTest, FullDiskIsUnavailableAndHeals) {
    ::signal(SIGXFSZ, SIG_IGN);
    Database database(file(), first);
    add(database, "before");
    rlimit unlimited{};
    ::getrlimit(RLIMIT_FSIZE, &unlimited);
    const rlimit limit{std::filesystem::file_size(file()), unlimited.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_ERROR(unavailable, add(database, std::string(100000, 'x')));
    ::setrlimit(RLIMIT_FSIZE, &unlimited);
    EXPECT_EQ(count(database), 1);
    EXPECT_NO_THROW(add(database, std::string(100000, 'x')));
    EXPECT_EQ(count(database), 2);
}

TEST_F(DatabaseTest, ThreadsTakeTurns) {
    Database database(file(), first);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&database, t] {
            for (int i = 0; i < 10; ++i) {
                add(database, std::to_string(t) + "/" + std::to_string(i));
                count(database);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(count(database), 40);
}

}  // namespace
