// What budgets count, on a real database, with a clock that is moved by hand.
#include "server/budget.h"

#include <atomic>
#include <thread>

#include "tests/server/budget_house.h"

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

using tests::BudgetsTest;
using tests::limit_text;
using tests::tiers_text;

TEST_F(BudgetsTest, RateIsATokenBucketOfItems) {
    const auto all = budgets(tiers_text(limit_text(R"("rate":{"per_second":10,"burst":20})")));
    EXPECT_FALSE(spend(*all, 20));
    const auto over = spend(*all, 5);
    ASSERT_TRUE(over);
    EXPECT_EQ(over->limit, "l rate");
    EXPECT_EQ(over->remaining, 0U);
    EXPECT_EQ(over->retry_after, seconds(1));
    clock_.advance(milliseconds(499));
    EXPECT_TRUE(spend(*all, 5));
    clock_.advance(milliseconds(1));
    EXPECT_FALSE(spend(*all, 5));
    // A caller of its own has a bucket of its own.
    EXPECT_FALSE(spend(*all, 20, "k", {}, "other"));
}

TEST_F(BudgetsTest, RetryAfterOfARateIsWhenItWillPass) {
    const auto all = budgets(tiers_text(limit_text(R"("rate":{"per_second":2,"burst":20})")));
    EXPECT_FALSE(spend(*all, 20));
    const auto over = spend(*all, 15);
    ASSERT_TRUE(over);
    EXPECT_EQ(over->retry_after, seconds(8));
    clock_.advance(over->retry_after);
    EXPECT_FALSE(spend(*all, 15));
}

TEST_F(BudgetsTest, BatchAboveTheBurstPassesFromAFullBucketAndIsPaidOff) {
    const auto all = budgets(tiers_text(limit_text(R"("rate":{"per_second":10,"burst":20})")));
    EXPECT_FALSE(spend(*all, 100));
    EXPECT_TRUE(spend(*all, 1));
    clock_.advance(seconds(8));
    EXPECT_TRUE(spend(*all, 1));
    clock_.advance(milliseconds(100));
    EXPECT_FALSE(spend(*all, 1));
}

TEST_F(BudgetsTest, ClockStepsGiveNoTokens) {
    const auto all = budgets(tiers_text(limit_text(R"("rate":{"per_second":1,"burst":5})")));
    EXPECT_FALSE(spend(*all, 5));
    clock_.advance(-hours(1));
    EXPECT_TRUE(spend(*all, 1));
    clock_.advance(seconds(1));
    EXPECT_FALSE(spend(*all, 1));
    EXPECT_TRUE(spend(*all, 1));
    clock_.advance(hours(100));
    EXPECT_FALSE(spend(*all, 5));
    EXPECT_TRUE(spend(*all, 1));
}

TEST_F(BudgetsTest, ConcurrencyIsGivenBackWhenTheOperationEndsHoweverItEnds) {
    const auto all = budgets(tiers_text(limit_text(R"("concurrent":2)")));
    {
        auto first = operation();
        auto second = operation();
        auto third = operation();
        all->charge(first, {"read"}, record("k"), {});
        all->charge(first, {"write"}, record("k"), {});  // one operation takes one place
        all->charge(second, {"read"}, record("k"), {});
        EXPECT_ERROR(resource_exhausted, all->charge(third, {"read"}, record("k"), {}));
        const server::Operation moved = std::move(first);
        EXPECT_TRUE(spend(*all));
    }
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(spend(*all));
        try {
            auto made = operation();
            all->charge(made, {"read"}, record("k"), {});
            throw base::Error(base::ErrorCode::internal, "the work failed");
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::internal);
        }
    }
}

TEST_F(BudgetsTest, PlaceOfConcurrencyMayOutliveTheBudgets) {
    auto all = budgets(tiers_text(limit_text(R"("concurrent":1)")));
    auto made = operation();
    all->charge(made, {"read"}, record("k"), {});
    all.reset();
}

TEST_F(BudgetsTest, QuotasCountItemsAndSayWhatIsLeftAndUntilWhen) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"hour":1000})")));
    EXPECT_FALSE(spend(*all, 900));
    const auto over = spend(*all, 101);
    ASSERT_TRUE(over);
    EXPECT_EQ(over->limit, "l hour");
    EXPECT_EQ(over->remaining, 100U);
    EXPECT_EQ(over->retry_after, minutes(45));
    // All or nothing: the refused batch took nothing.
    EXPECT_FALSE(spend(*all, 100));
    EXPECT_EQ(spend(*all, 1)->remaining, 0U);
    clock_.advance(minutes(45) - milliseconds(1));
    EXPECT_EQ(spend(*all, 1)->retry_after, seconds(1));
    clock_.advance(milliseconds(1));
    EXPECT_FALSE(spend(*all, 1000));
}

TEST_F(BudgetsTest, EachPeriodHasItsOwnEnd) {
    const auto all = budgets(tiers_text(
        R"({"id":"d","actions":["read"],"quota":{"day":1}},{"id":"m","actions":["write"],"quota":{"month":1}})",
        R"("billing_anchor_day":20,)"));
    EXPECT_FALSE(spend(*all));
    EXPECT_EQ(spend(*all)->retry_after, hours(13) + minutes(45));
    EXPECT_FALSE(spend(*all, 1, "k", {}, "app", "write"));
    // From 25 November, 10:15, to 20 December, 00:00.
    EXPECT_EQ(spend(*all, 1, "k", {}, "app", "write")->retry_after,
              hours(24 * 24 + 13) + minutes(45));
}

TEST_F(BudgetsTest, MonthsBeginOnTheAnchorDay) {
    const auto begin = [](const char* now, unsigned anchor) {
        return base::to_rfc3339(
            server::period_of(server::Window::month, *base::parse_rfc3339(now), anchor).begin);
    };
    EXPECT_EQ(begin("2026-11-25T10:00:00Z", 1), "2026-11-01T00:00:00.000Z");
    EXPECT_EQ(begin("2026-11-25T10:00:00Z", 25), "2026-11-25T00:00:00.000Z");
    EXPECT_EQ(begin("2026-11-25T10:00:00Z", 26), "2026-10-26T00:00:00.000Z");
    EXPECT_EQ(begin("2027-01-03T10:00:00Z", 28), "2026-12-28T00:00:00.000Z");
    EXPECT_EQ(begin("2028-02-29T10:00:00Z", 28), "2028-02-28T00:00:00.000Z");
}

TEST_F(BudgetsTest, RestartKeepsQuotasAndACrashGrantsNoMore) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"day":1000})"));
    {
        const auto all = budgets(tiers);
        EXPECT_FALSE(spend(*all, 300));
    }
    // A stop gives back what was only reserved.
    auto crashing = budgets(tiers);
    EXPECT_FALSE(spend(*crashing, 695));
    // A crash does not: the block of 10 with five in use is gone.
    database_.writes_fail = true;
    crashing.reset();
    database_.writes_fail = false;
    const auto after = budgets(tiers);
    const auto over = spend(*after, 5);
    ASSERT_FALSE(over);
    EXPECT_TRUE(spend(*after, 1));
}

TEST_F(BudgetsTest, NodesOnOneStoreNeverGrantMoreThanTheQuota) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"day":1000})"));
    const auto one = budgets(tiers);
    const auto two = budgets(tiers);
    std::atomic<std::uint64_t> granted = 0;
    const auto work = [&](server::Budgets& node) {
        for (int i = 0; i < 400; ++i) {
            const std::uint64_t items = 1 + static_cast<std::uint64_t>(i) % 3;
            if (!spend(node, items)) granted += items;
        }
    };
    std::thread other([&] { work(*two); });
    work(*one);
    other.join();
    // Each may still hold less than a block that the other can't use.
    EXPECT_LE(granted, 1000U);
    EXPECT_GE(granted, 1000U - 2 * 10U);
}

TEST_F(BudgetsTest, QuotaCostsAWriteForABlockNotForARequest) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"day":100000})")));
    for (int i = 0; i < 2000; ++i) EXPECT_FALSE(spend(*all));
    EXPECT_LE(database_.writes, 3);
}

TEST_F(BudgetsTest, WhoIsOverAQuotaCostsAWriteInASecondNotForARequest) {
    const std::string tiers =
        tiers_text(limit_text(R"("quota":{"day":20},"records":{"per":"day","limit":2})"));
    const auto all = budgets(tiers);
    for (int i = 0; i < 2; ++i) EXPECT_FALSE(spend(*all, 10, std::to_string(i)));
    EXPECT_TRUE(spend(*all, 1, "2"));
    const int before = database_.writes;
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(spend(*all, 1, "2"));
    EXPECT_EQ(database_.writes, before);
    clock_.advance(std::chrono::seconds(1));
    EXPECT_TRUE(spend(*all, 1, "2"));
    EXPECT_GT(database_.writes, before);
    // What is given back elsewhere is seen then, and what an operator adds at once.
    all->replace(server::parse_budgets(
        tiers_text(limit_text(R"("quota":{"day":21},"records":{"per":"day","limit":3})")),
        budget_words));
    EXPECT_FALSE(spend(*all, 1, "2"));
}

TEST_F(BudgetsTest, ClockThatGoesBackGivesNoQuotaAnew) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"hour":10})")));
    EXPECT_FALSE(spend(*all, 10));
    clock_.advance(hours(1));
    EXPECT_FALSE(spend(*all, 10));
    clock_.advance(-hours(1));
    EXPECT_TRUE(spend(*all, 1));
    clock_.advance(hours(1));
    EXPECT_TRUE(spend(*all, 1));
    // A node whose clock is behind meets the newest period in the store.
    clock_.advance(-hours(1));
    const auto behind = budgets(tiers_text(limit_text(R"("quota":{"hour":10})")));
    EXPECT_TRUE(spend(*behind, 1));
}

TEST_F(BudgetsTest, ClockThatWasFarAheadDoesNotBlockForever) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"hour":10})")));
    clock_.advance(hours(24 * 365));
    EXPECT_FALSE(spend(*all, 10));
    clock_.advance(-hours(24 * 365));
    EXPECT_TRUE(spend(*all, 1));  // what was used stays used
    clock_.advance(hours(1));
    EXPECT_FALSE(spend(*all, 10));
}

TEST_F(BudgetsTest, DifferentRecordsAreCountedOnceEach) {
    const auto all = budgets(tiers_text(limit_text(R"("records":{"per":"day","limit":3})")));
    for (int round = 0; round < 3; ++round) {
        EXPECT_FALSE(spend(*all, 1, "a"));
        EXPECT_FALSE(spend(*all, 1, "a", {{"owner", "x"}}));
        EXPECT_FALSE(spend(*all, 1, "b", {{"owner", "x"}}));
    }
    const auto over = spend(*all, 1, "b", {{"owner", "y"}});
    ASSERT_TRUE(over);
    EXPECT_EQ(over->limit, "l records/day");
    EXPECT_EQ(over->remaining, 0U);
    EXPECT_EQ(over->retry_after, hours(13) + minutes(45));
    EXPECT_FALSE(spend(*all, 1, "b", {{"owner", "x"}}));
    clock_.advance(over->retry_after);
    EXPECT_FALSE(spend(*all, 1, "b", {{"owner", "y"}}));
}

TEST_F(BudgetsTest, EachRecordOfABatchCounts) {
    const auto all = budgets(tiers_text(limit_text(R"("records":{"per":"day","limit":3})")));
    auto made = operation(4);
    for (const char* id : {"a", "b", "c", "a"}) all->charge(made, {"read"}, record(id), {});
    EXPECT_ERROR(resource_exhausted, all->charge(made, {"read"}, record("d"), {}));
}

TEST_F(BudgetsTest, RecordsThatAnOperationNamesCountAllOrNone) {
    const auto all = budgets(tiers_text(limit_text(R"("records":{"per":"day","limit":5})")));
    const auto open = [&](const std::vector<std::string>& names) {
        auto made = operation(names.size());
        for (const auto& name : names) made.add_record(name);
        all->charge(made, {"read"}, record("k"), {});
        all->charge(made, {"read"}, record("other"), {});  // named once, whatever is asked about
    };
    open({"a", "b", "a"});
    open({"b", "c"});
    EXPECT_ERROR(resource_exhausted, open({"a", "d", "e", "f"}));
    open({"d", "e", "a"});
    EXPECT_ERROR(resource_exhausted, open({"f"}));
}

TEST_F(BudgetsTest, RecordsSurviveARestartAndAreSharedByNodes) {
    const std::string tiers = tiers_text(limit_text(R"("records":{"per":"month","limit":500})"));
    {
        const auto all = budgets(tiers);
        for (int i = 0; i < 490; ++i) EXPECT_FALSE(spend(*all, 1, std::to_string(i)));
    }
    const auto one = budgets(tiers);
    const auto two = budgets(tiers);
    for (int i = 0; i < 490; ++i) {
        EXPECT_FALSE(spend(*one, 1, std::to_string(i)));
        EXPECT_FALSE(spend(*two, 1, std::to_string(i)));
    }
    int opened = 0;
    for (int i = 490; i < 520; ++i) opened += spend(*one, 1, std::to_string(i)) ? 0 : 1;
    EXPECT_EQ(opened, 10);
}

TEST_F(BudgetsTest, FailureOfTheStoreRefuses) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"day":10})")));
    auto made = operation();
    database_.writes_fail = true;
    EXPECT_ERROR(quota_check_failed, all->charge(made, {"read"}, record("k"), {}));
    database_.writes_fail = false;
    all->charge(made, {"read"}, record("k"), {});
    // Within a second it is noticed by everybody, reserve or not.
    clock_.advance(seconds(1));
    database_.reads_fail = true;
    auto next = operation();
    EXPECT_ERROR(quota_check_failed, all->charge(next, {"read"}, record("k"), {}));
    auto stranger = operation(1, "other");
    EXPECT_ERROR(quota_check_failed, all->charge(stranger, {"read"}, record("k"), {}));
    EXPECT_ERROR(unavailable, all->usage("app"));
    EXPECT_ERROR(unavailable, all->suspended());
    EXPECT_ERROR(unavailable, all->check());
}

TEST_F(BudgetsTest, APeriodThatBeganWhileTheStoreFailedGivesNoRecordForFree) {
    const auto all = budgets(tiers_text(limit_text(R"("records":{"per":"hour","limit":1})")));
    clock_.advance(std::chrono::minutes(44) + milliseconds(59'500));
    EXPECT_FALSE(spend(*all, 1, "a"));
    clock_.advance(milliseconds(600));  // the next hour, while what was asked a moment ago holds
    database_.reads_fail = true;
    auto refused = operation();
    EXPECT_ERROR(quota_check_failed, all->charge(refused, {"read"}, record("a"), {}));
    database_.reads_fail = false;
    EXPECT_FALSE(spend(*all, 1, "a"));  // the one record of this hour
    EXPECT_TRUE(spend(*all, 1, "b"));
}

}  // namespace
