// An application's own table, on a real server.
#include "server/application_table.h"

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
    std::uint64_t estimate() {
        const auto config = schema_->config();
        const std::string connection = "host=" + config.host +
                                       " port=" + std::to_string(config.port) +
                                       " user=postgres dbname=postgres";
        server::ApplicationTable table(
            base::SecretBytes(base::as_bytes(connection)),
            {.table = schema_->name() + ".accounts", .key = "id", .column = "secret"});
        return table.estimate();
    }
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

}  // namespace
}  // namespace tests
