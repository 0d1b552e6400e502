// An application's own table, on a real server.
#include "server/application_table.h"

#include "tests/support/expect_error.h"
#include "tests/support/postgresql.h"

namespace tests {
namespace {

class ApplicationTableTest : public testing::Test {
protected:
    void SetUp() override {
        SKIP_WITHOUT_POSTGRESQL();
        schema_ = std::make_unique<PostgresqlSchema>();
        schema_->sql("CREATE SCHEMA " + schema_->name());
        schema_->sql("CREATE TABLE accounts (id INTEGER PRIMARY KEY, secret TEXT)");
    }
    // With a secret in all rows but the first ten.
    void fill(int rows) {
        schema_->sql(
            "INSERT INTO accounts SELECT i, CASE WHEN i > 10 THEN 's' END FROM "
            "generate_series(1, " +
            std::to_string(rows) + ") AS i");
    }
    std::unique_ptr<server::ApplicationTable> open(std::vector<std::string> more = {},
                                                   const std::string& keywords = {}) {
        const auto config = schema_->config();
        const std::string connection = "host=" + config.host +
                                       " port=" + std::to_string(config.port) +
                                       " user=postgres dbname=postgres " + keywords;
        return std::make_unique<server::ApplicationTable>(
            base::SecretBytes(base::as_bytes(connection)),
            server::ApplicationColumns{schema_->name() + ".accounts", "id", "secret",
                                       std::move(more)});
    }
    std::uint64_t estimate() { return open()->estimate(); }
    std::unique_ptr<PostgresqlSchema> schema_;
};

TEST_F(ApplicationTableTest, ASmallTableThatWasNeverAnalysedIsCounted) {
    fill(30);
    EXPECT_EQ(estimate(), 20U);
}

TEST_F(ApplicationTableTest, ALargeOneThatWasNeverAnalysedHasNoTotal) {
    fill(static_cast<int>(server::ApplicationTable::max_counted_rows) + 10);
    EXPECT_EQ(estimate(), 0U);
    schema_->sql("ANALYZE accounts");
    EXPECT_NEAR(static_cast<double>(estimate()),
                static_cast<double>(server::ApplicationTable::max_counted_rows), 5000);
}

TEST_F(ApplicationTableTest, ARowIsReplacedOnlyWhileAllThatWasReadOfItStands) {
    schema_->sql("ALTER TABLE accounts ADD ends TIMESTAMPTZ, ADD plan TEXT");
    schema_->sql("INSERT INTO accounts VALUES (1, 's', '2030-01-31 12:00:00+00', NULL)");
    const auto table = open({"ends", "plan"});
    const auto replace = [&](const server::ApplicationRow& row, const std::string& after) -> bool {
        const server::ApplicationChange change{row.key, *row.value, after, row.more};
        return table->replace({&change, 1}).front();
    };
    const auto read = [&] { return table->page(std::nullopt, 1).front(); };
    auto row = read();
    EXPECT_EQ(row.more[1], std::nullopt);
    for (const char* change : {"plan = 'p'", "ends = NULL", "plan = NULL"}) {
        schema_->sql(std::string("UPDATE accounts SET ") + change);
        EXPECT_FALSE(replace(row, "sealed")) << change;
        row = read();
        EXPECT_EQ(*row.value, "s") << change;
    }
    EXPECT_TRUE(replace(row, "sealed"));
    EXPECT_FALSE(replace(row, "sealed again"));
    EXPECT_EQ(*read().value, "sealed");
    const server::ApplicationChange unsaid{"1", "sealed", "x"};
    EXPECT_ERROR(internal, table->replace({&unsaid, 1}));
}

TEST_F(ApplicationTableTest, TypesThatAreWrittenAsJsonAreKnown) {
    schema_->sql(
        "ALTER TABLE accounts ADD n NUMERIC(9, 2), ADD f REAL, ADD b BOOLEAN, ADD j JSONB, "
        "ADD t TIMESTAMPTZ, ADD v VARCHAR(9), ADD l INTEGER[]");
    const auto table = open();
    for (const char* column : {"id", "n", "f", "b", "j"})
        EXPECT_TRUE(table->has_json_form(column)) << column;
    for (const char* column : {"secret", "t", "v", "l", "nowhere"})
        EXPECT_FALSE(table->has_json_form(column)) << column;
}

TEST_F(ApplicationTableTest, TimesComeInOneFormWhateverTheDatabaseWrites) {
    schema_->sql("ALTER TABLE accounts ADD ends TIMESTAMPTZ");
    schema_->sql("INSERT INTO accounts VALUES (1, 's', '2030-01-31 12:00:00+00')");
    const auto table = open({"ends"}, "options='-c datestyle=German -c timezone=Asia/Kolkata'");
    EXPECT_EQ(*table->page(std::nullopt, 1).front().more[0], "2030-01-31 17:30:00+05:30");
}

}  // namespace
}  // namespace tests
