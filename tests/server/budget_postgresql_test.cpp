// Budgets of two nodes on one PostgreSQL.
#include <gtest/gtest.h>

#include <thread>

#include "server/budget.h"
#include "server/database.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/postgresql.h"

namespace {

constexpr std::string_view node_tiers = R"({"version":1,
  "suspension":{"overruns":1000,"within_seconds":60},
  "tiers":{"t":[{"id":"l","actions":["read"],"quota":{"month":1000},
                 "records":{"per":"month","limit":300}}]},
  "bindings":[],"default":"t"})";

class BudgetNode {
public:
    BudgetNode(const tests::PostgresqlSchema& schema, const base::Clock& clock)
        : database_(schema.open()),
          budgets_(std::make_unique<server::Budgets>(
              server::parse_budgets(node_tiers, {"read"}),
              server::BudgetParts{*database_, clock, [](auto, const auto&) {}})) {}

    bool spend(const base::Clock& clock, std::uint64_t items, const std::string& record) {
        server::Caller caller;
        caller.id = "app";
        caller.method = server::AuthenticationMethod::client_certificate;
        server::Operation operation(base::Uuid::random(), clock.now(), caller);
        operation.set_work(items);
        operation.add_record(record);
        try {
            budgets_->charge(operation, {"read"}, {"key", "k", {}, {}, {}}, {});
            return true;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::resource_exhausted) << error.what();
            return false;
        }
    }
    server::Budgets& budgets() { return *budgets_; }

private:
    std::unique_ptr<server::Database> database_;
    std::unique_ptr<server::Budgets> budgets_;
};

class PostgresqlBudgets : public testing::Test {
protected:
    void SetUp() override {
        SKIP_WITHOUT_POSTGRESQL();
        schema_ = std::make_unique<tests::PostgresqlSchema>();
    }
    tests::FakeClock clock_;
    std::unique_ptr<tests::PostgresqlSchema> schema_;
};

TEST_F(PostgresqlBudgets, TwoNodesNeverGrantMoreThanTheQuota) {
    BudgetNode one(*schema_, clock_);
    BudgetNode two(*schema_, clock_);
    std::atomic<std::uint64_t> granted = 0;
    const auto work = [&](BudgetNode& node) {
        for (int i = 0; i < 250; ++i) {
            if (node.spend(clock_, 3, "r")) granted += 3;
        }
    };
    std::thread other([&] { work(two); });
    work(one);
    other.join();
    EXPECT_LE(granted, 1000U);
    EXPECT_GE(granted, 1000U - 2 * 10U);
}

TEST_F(PostgresqlBudgets, OverrunsOfTwoNodesAtOnceSuspendOnce) {
    const auto one = schema_->open();
    const auto other = schema_->open();
    server::BudgetStore first(*one);
    server::BudgetStore second(*other);
    const server::Suspension rule{100, std::chrono::seconds(60)};
    std::atomic<int> suspended = 0;
    std::atomic<std::uint64_t> most = 0;
    const auto work = [&](server::BudgetStore& store) {
        for (int i = 0; i < 60; ++i) {
            const auto now = clock_.now();
            const auto counted = store.count_overruns({"app", "l", 1, now, now}, rule, "r");
            if (counted.suspended == server::CountedOverruns::Suspended::now) {
                ++suspended;
                most = counted.overruns;
            }
        }
    };
    std::thread thread([&] { work(second); });
    work(first);
    thread.join();
    EXPECT_EQ(suspended, 1);
    EXPECT_EQ(most, 100U);
    ASSERT_EQ(first.suspended().size(), 1U);
}

// The other's clock is an hour behind.
TEST_F(PostgresqlBudgets, ALiftByANodeWhoseClockIsAheadIsKnownToTheOtherFromItsNextBlockOn) {
    const auto one = schema_->open();
    const auto other = schema_->open();
    server::BudgetStore ahead(*one);
    server::BudgetStore behind(*other);
    const server::Suspension rule{10, std::chrono::seconds(60)};
    const auto now = clock_.now();
    const auto later = now + std::chrono::hours(1);
    ahead.count_overruns({"app", "l", 10, later, later}, rule, "r");
    const auto lifted = ahead.lift("app", later);
    ASSERT_TRUE(lifted);
    const auto first = behind.count_overruns({"app", "l", 4, now, now}, rule, "r");
    EXPECT_EQ(first.overruns, 1U);
    EXPECT_EQ(first.lift, *lifted);
    const auto next = behind.count_overruns({"app", "l", 9, now, now, first.lift}, rule, "r");
    EXPECT_EQ(next.suspended, server::CountedOverruns::Suspended::now);
    EXPECT_NE(behind.lift("app", later), lifted);
}

TEST_F(PostgresqlBudgets, NodesShareRecordsAndSuspensionsAndKeepThem) {
    auto one = std::make_unique<BudgetNode>(*schema_, clock_);
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(one->spend(clock_, 1, std::to_string(i)));
    one.reset();
    BudgetNode two(*schema_, clock_);
    EXPECT_TRUE(two.spend(clock_, 1, "7"));
    EXPECT_FALSE(two.spend(clock_, 1, "new"));
    const auto usage = two.budgets().usage("app");
    ASSERT_EQ(usage.size(), 2U);
    EXPECT_EQ(usage[0].used, 301U);
    EXPECT_EQ(usage[1].used, 300U);
    EXPECT_FALSE(two.budgets().lift("app"));
    EXPECT_TRUE(two.budgets().suspended().empty());
}

}  // namespace
