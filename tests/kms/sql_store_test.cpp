#include "kms/sql_store.h"

#include <sstream>

#include "tests/kms/store_lock_contract.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace tests {
namespace {

struct SqliteFactory {
    std::unique_ptr<kms::Store> open() const {
        return std::make_unique<OwnSqlite<kms::SqlStore>>(directory / "kms.db");
    }
    TemporaryDirectory directory;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreContract, SqliteFactory);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreLockContract, SqliteFactory);

// As rules stood in the store when they permitted other keys unless they said the opposite.
TEST(SqlStore, ARuleOfBeforeKeepsItsMeaning) {
    const TemporaryDirectory directory;
    const auto database = open_sqlite(directory / "kms.db");
    kms::SqlStore store(*database);
    kms::Key key;
    key.id = base::Uuid::random();
    key.context_rule.required = {"tenant"};
    kms::KeyVersion version;
    version.version = 1;
    version.token_key_id = base::Uuid::random();
    key.versions.push_back(version);
    store.add_pending_key(key);
    for (const std::string only_known : {"false", "true"}) {
        const std::string rule =
            R"({"required":["tenant"],"patterns":{},"only_known":)" + only_known + "}";
        database->write([&](soci::session& sql) {
            sql << "UPDATE keys SET context_rule = :rule", soci::use(rule, "rule");
        });
        const auto read = store.find(key.id)->context_rule;
        EXPECT_EQ(read.required, key.context_rule.required);
        EXPECT_EQ(read.allow_others, only_known == "false");
    }
}

// Tags are what policies go by: none may be passed over.
TEST(SqlStore, TagsThatCanNotBeReadAreNamedAndNotLeftOut) {
    const TemporaryDirectory directory;
    const auto database = open_sqlite(directory / "kms.db");
    kms::SqlStore store(*database);
    kms::Key key;
    key.id = base::Uuid::random();
    key.tags = {{"team", "payments"}};
    kms::KeyVersion version;
    version.version = 1;
    version.token_key_id = base::Uuid::random();
    key.versions.push_back(version);
    store.add_pending_key(key);
    EXPECT_EQ(store.find(key.id)->tags, key.tags);
    for (const std::string tags : {"", "[]", R"({"team":7})", R"({"team":"a","team":"b"})"}) {
        database->write([&](soci::session& sql) {
            sql << "UPDATE keys SET tags = :tags", soci::use(tags, "tags");
        });
        try {
            static_cast<void>(store.find(key.id));
            ADD_FAILURE() << "read: " << tags;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition) << tags;
            EXPECT_EQ(error.detail(), "key " + key.id.to_string() + ", column tags");
        }
    }
}

// Ten thousand keys as rows: whatever is asked for one key, or for what changed, is found by index,
// not by reading all rows. The statements are those that the store runs; SQLite says how.
TEST(SqlStore, OneOfTenThousandKeysIsFoundByIndex) {
    const TemporaryDirectory directory;
    const auto database = open_sqlite(directory / "kms.db");
    kms::SqlStore store(*database);
    database->write([](soci::session& sql) {
        const std::string numbers =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) ";
        sql << "INSERT INTO keys (id, state, profile, description, tags, wanted_alias, "
               "primary_version, created_at, change) " +
                   numbers +
                   "SELECT printf('%08x-0000-4000-8000-000000000000', i), 'enabled', 'sealed', '', "
                   "'{}', '', 1, 1, i FROM n";
        sql << "INSERT INTO key_versions (key_id, version, state, token_key_id, created_at, "
               "wraps_reserved, known_answer) " +
                   numbers +
                   "SELECT printf('%08x-0000-4000-8000-000000000000', i), 1, 'enabled', "
                   "printf('%08x-0000-4000-8000-000000000001', i), 1, 0, '' FROM n";
        sql << "INSERT INTO aliases (name, key_id) " + numbers +
                   "SELECT 'alias-' || i, printf('%08x-0000-4000-8000-000000000000', i) FROM n";
        sql << "UPDATE change_counter SET value = 10000";
    });
    std::ostringstream statements;
    database->read([&](soci::session& sql) { sql.set_log_stream(&statements); });
    const auto id = *base::Uuid::parse("00001f40-0000-4000-8000-000000000000");
    ASSERT_EQ(store.find(id)->aliases, std::vector<std::string>{"alias-8000"});
    EXPECT_EQ(store.load_changed(9'995).keys.size(), 5U);
    EXPECT_TRUE(store.move_alias("alias-8000", id, {}));
    EXPECT_EQ(store.reserve_wraps(id, 1, 5).granted, 5U);
    EXPECT_EQ(store.tombstone(id), "");
    EXPECT_FALSE(store.find_version_of("request"));
    EXPECT_FALSE(store.find_request("request"));
    EXPECT_TRUE(store.update(*store.find(id)));
    database->read([&](soci::session& sql) { sql.set_log_stream(nullptr); });

    std::istringstream lines(statements.str());
    int judged = 0;
    for (std::string statement; std::getline(lines, statement);) {
        const std::string word = statement.substr(0, statement.find(' '));
        if (word != "SELECT" && word != "UPDATE" && word != "DELETE") continue;
        std::replace(statement.begin(), statement.end(), ':', '$');  // bound to nothing
        database->read([&](soci::session& sql) {
            const soci::rowset<soci::row> plan = (sql.prepare << "EXPLAIN QUERY PLAN " + statement);
            for (const auto& step : plan) {
                const auto text = step.get<std::string>(3);
                EXPECT_EQ(text.find("SCAN"), std::string::npos) << statement << ": " << text;
            }
        });
        ++judged;
    }
    EXPECT_GT(judged, 12) << statements.str();
}

}  // namespace
}  // namespace tests
