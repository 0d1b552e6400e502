#include "vault/sql_store.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/twice_database.h"
#include "tests/vault/attributes_contract.h"
#include "tests/vault/store_contract.h"
#include "tests/vault/store_destruction_contract.h"
#include "tests/vault/store_list_contract.h"

namespace tests {
namespace {

// A hand in the database while the vault is stopped.
void change(const TemporaryDirectory& directory, const std::string& sql) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open((directory / "vault.db").c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    sqlite3_close(database);
}

struct SqliteBackend {
    TemporaryDirectory directory;
    void edit(const std::string& sql) const { change(directory, sql); }
    std::unique_ptr<vault::Store> open() const {
        return std::make_unique<OwnSqlite<vault::SqlStore>>(directory / "vault.db");
    }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreContract, SqliteBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, AttributesContract, SqliteBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreListContract, SqliteBackend);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreDestructionContract, SqliteBackend);

// A store whose database ran each work once already.
class WorksRunTwice : public testing::Test {
protected:
    void add(const std::string& name) {
        ASSERT_TRUE(store_.put(new_version({"acme", name}, 1), {}));
    }
    TemporaryDirectory directory_;
    std::unique_ptr<server::Database> inner_ = open_sqlite(directory_ / "vault.db");
    TwiceDatabase database_{*inner_};
    vault::SqlStore store_{database_};
};

TEST_F(WorksRunTwice, ListsHaveEachEntryOnce) {
    add("a");
    add("b");
    EXPECT_EQ(store_.list("acme", "", 10).credentials.size(), 2U);
    EXPECT_EQ(store_.history({"acme", "a"}, 0, 10)->versions.size(), 1U);
    auto expiring = new_version({"acme", "a"}, 2);
    expiring.version.expires_at = at(1);
    ASSERT_TRUE(store_.put(expiring, {1, 1}));
    EXPECT_EQ(store_.expiring({"acme", at(2), std::nullopt, 10}).credentials.size(), 1U);
    ASSERT_TRUE(destroy(store_, {"acme", "a"}, "somebody", at(1)));
    EXPECT_EQ(destructions(store_, {"acme", "a"}).size(), 1U);
    EXPECT_EQ(store_.next_part("acme", 10, 10).credentials.size(), 1U);
}

TEST_F(WorksRunTwice, WhatSomebodyElseDestroyedMeanwhileIsNotReportedAsDestroyed) {
    add("a");
    database_.between = [](server::Session& session) {
        session << "UPDATE credentials SET current_version = 0";
    };
    EXPECT_FALSE(destroy(store_, {"acme", "a"}, "somebody", at(1)));
}

// What stands in all files of the folder.
std::string all_bytes(const TemporaryDirectory& directory) {
    std::string bytes;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
        std::ifstream file(entry.path(), std::ios::binary);
        std::ostringstream content;
        content << file.rdbuf();
        bytes += content.str();
    }
    return bytes;
}

std::string long_secret(char fill) { return "sealed-" + std::string(6000, fill) + "-text"; }

TEST(SqlStore, AfterADestructionNoFileHoldsTheSealedText) {
    const TemporaryDirectory directory;
    OwnSqlite<vault::SqlStore> store(directory / "vault.db");
    for (std::uint64_t number = 1; number <= 3; ++number) {
        auto added =
            new_version(instagram, number, number == 2 ? "short-marker" : long_secret('q'));
        added.metadata = R"({"marker":"metadata-marker"})";
        ASSERT_TRUE(store.put(added, {number - 1, number - 1}));
    }
    EXPECT_NE(all_bytes(directory).find("qqqqqqqq"), std::string::npos);
    EXPECT_NE(all_bytes(directory).find("short-marker"), std::string::npos);
    ASSERT_TRUE(destroy(store, instagram, "somebody", at(1)));
    const std::string left = all_bytes(directory);
    EXPECT_EQ(left.find("qqqqqqqq"), std::string::npos);
    EXPECT_EQ(left.find("short-marker"), std::string::npos);
    EXPECT_EQ(left.find("metadata-marker"), std::string::npos);
}

TEST(SqlStore, RowsThatContradictEachOtherAreAnIntegrityFailure) {
    for (const auto* sql : {
             "UPDATE credentials SET current_version = 2",
             "UPDATE credentials SET current_version = 2, last_version = 2",
             "UPDATE credentials SET last_version = 9",
             "DELETE FROM versions WHERE version = 3",
             "DELETE FROM versions",
             "UPDATE versions SET erased_at = 1 WHERE version = 3",
             "UPDATE versions SET version = 7 WHERE version = 3",
             "UPDATE versions SET key_id = 'x' WHERE version = 3",
             "UPDATE versions SET key_version = 0 WHERE version = 3",
             "UPDATE versions SET expires_at = 1 WHERE version = 3",
             "UPDATE credentials SET expires_at = 1",
         }) {
        const SqliteBackend backend;
        {
            const auto store = backend.open();
            for (std::uint64_t number = 1; number <= 3; ++number) {
                ASSERT_TRUE(store->put(new_version(instagram, number), {number - 1, number - 1}));
            }
        }
        backend.edit(sql);
        const auto store = backend.open();
        SCOPED_TRACE(sql);
        EXPECT_ERROR(integrity_failure, store->find(instagram));
        EXPECT_ERROR(integrity_failure, store->find_version(instagram, std::nullopt));
        EXPECT_EQ(store->list("acme", "", 10).unsound.size(), 1U);
        EXPECT_NO_THROW(store->head(instagram))
            << "the store goes on after a failed query: " << sql;
    }
}

// What a vault of before left: its first version is the oldest one that is not erased.
TEST(SqlStore, OfRowsOfBeforeTheFirstVersionIsKnownFromThen) {
    const SqliteBackend backend;
    const vault::CredentialId once{"acme", "once"};
    const vault::CredentialId gone{"acme", "gone"};
    {
        const auto store = backend.open();
        ASSERT_TRUE(store->put(new_version(once, 1), {}));
        for (const auto& id : {instagram, gone}) {
            ASSERT_TRUE(store->put(new_version(id, 1), {}));
            ASSERT_TRUE(store->put(new_version(id, 2), {1, 1}));
            ASSERT_TRUE(destroy(*store, id, "somebody", at(1)));
        }
        for (const std::uint64_t number : {3U, 4U})
            ASSERT_TRUE(
                store->put(new_version(instagram, number), {number == 3 ? 0 : 3U, number - 1}));
        EXPECT_EQ(store->find(instagram)->first_version, 3U);
    }
    backend.edit(
        "ALTER TABLE credentials DROP COLUMN first_version; "
        "UPDATE room_versions SET version = 7 WHERE room = 'credentials'");
    const auto store = backend.open();
    EXPECT_EQ(store->find(instagram)->first_version, 3U);
    EXPECT_EQ(store->head(instagram).first, 3U);
    EXPECT_EQ(store->find(once)->first_version, 1U);
    EXPECT_EQ(store->head(gone).first, 0U);
    EXPECT_EQ(store->put(new_version(gone, 3), {0, 2})->first_version, 3U);
}

TEST(SqlStore, AVersionIsMadeFromOneThatThereMayBe) {
    for (const auto* none : {"0", "-1"}) {
        const SqliteBackend backend;
        ASSERT_TRUE(backend.open()->put(new_version(instagram, 1), {}));
        backend.edit(std::string("UPDATE versions SET restored_from = ") + none);
        EXPECT_ERROR(integrity_failure, backend.open()->find_version(instagram, 1));
    }
}

TEST(SqlStore, AVersionThatWasTakenAwayShowsInTheHistory) {
    for (const auto* gone : {"1", "2", "3"}) {
        const SqliteBackend backend;
        {
            const auto store = backend.open();
            for (std::uint64_t number = 1; number <= 3; ++number) {
                ASSERT_TRUE(store->put(new_version(instagram, number), {number - 1, number - 1}));
            }
        }
        backend.edit(std::string("DELETE FROM versions WHERE version = ") + gone);
        const auto store = backend.open();
        EXPECT_ERROR(integrity_failure, store->history(instagram, 0, 10));
    }
}

TEST(SqlStore, ADestroyedCredentialThatExpiresIsUnsound) {
    const SqliteBackend backend;
    {
        const auto store = backend.open();
        ASSERT_TRUE(store->put(new_version(instagram, 1), {}));
        ASSERT_TRUE(destroy(*store, instagram, "somebody", at(1)));
    }
    backend.edit("UPDATE credentials SET expires_at = 1");
    const auto page = backend.open()->expiring({"acme", at(1), std::nullopt, 10});
    EXPECT_EQ(page.unsound.size(), 1U);
    EXPECT_TRUE(page.credentials.empty());
}

// PostgreSQL's columns have types.
TEST(SqlStore, AnExpiryThatIsNoNumberIsNamedOnceAndHoldsNoPageUp) {
    for (const auto* value : {"'soon'", "1.5", "x'00'", "''"}) {
        SCOPED_TRACE(value);
        const SqliteBackend backend;
        {
            const auto store = backend.open();
            for (const auto* name : {"a", "b", "c"}) {
                auto added = new_version({"acme", name}, 1);
                added.version.expires_at = at(1);
                ASSERT_TRUE(store->put(added, {}));
            }
        }
        backend.edit(std::string("UPDATE credentials SET expires_at = ") + value +
                     " WHERE name = 'b'");
        const auto store = backend.open();
        EXPECT_TRUE(store->expiring({"globex", at(2), std::nullopt, 1}).unsound.empty());
        for (const auto* owner : {"acme", ""}) {
            const auto first = store->expiring({owner, at(2), std::nullopt, 1});
            ASSERT_EQ(first.unsound.size(), 1U);
            EXPECT_EQ(first.unsound.front().id.name, "b");
            EXPECT_EQ(first.credentials.front().id.name, "a");
            ASSERT_TRUE(first.more);
            const auto second = store->expiring({owner, at(2), first.last, 1});
            EXPECT_TRUE(second.unsound.empty());
            EXPECT_EQ(second.credentials.front().id.name, "c");
            EXPECT_FALSE(second.more);
        }
    }
}

TEST(SqlStore, ARecordOfADestructionThatCantBeReadIsAnIntegrityFailure) {
    for (const auto* sql : {"UPDATE destruction_records SET uuid = 'x'",
                            "UPDATE destruction_records SET signature = '?'",
                            "UPDATE destruction_records SET signature = 'AAAA', key_id = 'x'"}) {
        const SqliteBackend backend;
        {
            const auto store = backend.open();
            ASSERT_TRUE(store->put(new_version(instagram, 1), {}));
            ASSERT_TRUE(destroy(*store, instagram, "somebody", at(1)));
        }
        backend.edit(sql);
        EXPECT_ERROR(integrity_failure, backend.open()->destructions("acme", "", 0, 10));
    }
}

TEST(SqlStore, TheFileIsForTheDaemonAlone) {
    const TemporaryDirectory directory;
    const OwnSqlite<vault::SqlStore> store(directory / "vault.db");
    struct stat status {};
    ASSERT_EQ(::stat((directory / "vault.db").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_ERROR(failed_precondition, OwnSqlite<vault::SqlStore>(directory / "vault.db"));
}

}  // namespace
}  // namespace tests
