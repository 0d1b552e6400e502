// What counts of a caller's overruns once a suspension was lifted.
#include <gtest/gtest.h>

#include "tests/server/budget_house.h"

namespace {

using std::chrono::hours;
using std::chrono::seconds;

using tests::BudgetsTest;
using tests::limit_text;
using tests::tiers_text;

TEST_F(BudgetsTest, LiftingHoldsOnEveryNode) {
    // Four are written down at once.
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":64,"within_seconds":600},)");
    const auto one = budgets(tiers);
    const auto other = budgets(tiers);
    EXPECT_FALSE(spend(*one));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(spend(*other));  // counted there, not written down
    for (int i = 0; i < 64; ++i) EXPECT_TRUE(spend(*one));
    ASSERT_EQ(one->suspended().size(), 1U);
    clock_.advance(seconds(2));
    EXPECT_TRUE(one->lift("app"));
    clock_.advance(seconds(2));
    EXPECT_TRUE(spend(*other));  // the three before it count no more
    for (int i = 0; i < 62; ++i) EXPECT_TRUE(spend(*one));
    EXPECT_TRUE(one->suspended().empty());
    EXPECT_TRUE(spend(*one));  // what comes after counts as before
    ASSERT_EQ(one->suspended().size(), 1U);
    EXPECT_EQ(one->suspended()[0].overruns, 64U);
    EXPECT_EQ(events_.size(), 2U);
}

// A node that did not know of the lift may count one block, of four here, as one.
TEST_F(BudgetsTest, AClockThatIsSetBackAfterALiftHoldsUpNoSuspension) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":64,"within_seconds":600},)");
    const auto one = budgets(tiers);
    const auto other = budgets(tiers);
    clock_.advance(hours(1));
    EXPECT_FALSE(spend(*one));
    for (int i = 0; i < 64; ++i) EXPECT_TRUE(spend(*one));
    EXPECT_TRUE(one->lift("app"));
    clock_.advance(-hours(1));
    for (int i = 0; i < 63; ++i) EXPECT_TRUE(spend(*one));
    EXPECT_TRUE(one->suspended().empty());
    EXPECT_TRUE(spend(*one));
    EXPECT_EQ(one->suspended().size(), 1U);
    clock_.advance(hours(1));
    EXPECT_TRUE(one->lift("app"));
    clock_.advance(-hours(1));
    for (int i = 0; i < 63; ++i) EXPECT_TRUE(spend(*other));
    EXPECT_TRUE(other->suspended().empty());
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(spend(*other));
    EXPECT_EQ(other->suspended().size(), 1U);
}

// Two lifts of one moment are two.
TEST_F(BudgetsTest, WhatWasOverrunBeforeALiftCountsNoMoreWheneverItWas) {
    server::BudgetStore store(database_);
    const server::Suspension rule{10, seconds(60)};
    const auto now = clock_.now();
    EXPECT_FALSE(store.lift("app", now));
    base::Time known{};
    for (int round = 0; round < 2; ++round) {
        const auto before = now - seconds(1);
        store.count_overruns({"app", "l", 10, now, now, known}, rule, "r");
        const auto lifted = store.lift("app", now);
        ASSERT_TRUE(lifted);
        EXPECT_NE(*lifted, known);
        const auto counted =
            store.count_overruns({"app", "l", 9, before, before, known}, rule, "r");
        EXPECT_EQ(counted.overruns, 1U);
        EXPECT_EQ(counted.lift, *lifted);
        known = counted.lift;
        EXPECT_EQ(store.count_overruns({"app", "l", 8, before, before, known}, rule, "r").overruns,
                  9U);
    }
}

TEST_F(BudgetsTest, LiftingForgetsWhatANotYetSuspendedCallerOverran) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":3,"within_seconds":600},)");
    const auto all = budgets(tiers);
    EXPECT_FALSE(spend(*all));
    EXPECT_TRUE(spend(*all));
    EXPECT_TRUE(spend(*all));
    EXPECT_FALSE(all->lift("app"));
    EXPECT_TRUE(spend(*all));
    EXPECT_TRUE(all->suspended().empty());
}

}  // namespace
