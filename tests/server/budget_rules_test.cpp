// Whom budgets bind, suspend and answer.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "server/answer.h"
#include "server/authorizer.h"
#include "server/policy.h"
#include "server/reload.h"
#include "tests/server/budget_house.h"

namespace {

using std::chrono::hours;
using std::chrono::seconds;

using tests::budget_words;
using tests::BudgetsTest;
using tests::limit_text;
using tests::tiers_text;

TEST_F(BudgetsTest, RepeatedOverrunsSuspendUntilLifted) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":3,"within_seconds":60},)");
    const auto all = budgets(tiers);
    const auto other_node = budgets(tiers);
    EXPECT_FALSE(spend(*all));
    EXPECT_TRUE(spend(*all));
    EXPECT_TRUE(spend(*all));
    clock_.advance(seconds(61));  // too long ago
    EXPECT_TRUE(spend(*all));
    EXPECT_TRUE(spend(*all));
    EXPECT_TRUE(events_.empty());
    EXPECT_TRUE(spend(*all));
    EXPECT_EQ(events_, std::vector<std::string>{"suspend_caller app l hour"});
    clock_.advance(hours(2));
    for (auto* node : {all.get(), other_node.get()}) {
        auto made = operation();
        EXPECT_ERROR(caller_suspended, node->charge(made, {"read"}, record("k"), {}));
    }
    EXPECT_FALSE(spend(*all, 1, "k", {}, "other"));
    const auto suspended = all->suspended();
    ASSERT_EQ(suspended.size(), 1U);
    EXPECT_EQ(suspended[0].caller, "app");
    EXPECT_EQ(suspended[0].limit, "l hour");
    EXPECT_EQ(suspended[0].overruns, 3U);
    EXPECT_TRUE(other_node->lift("app"));
    EXPECT_FALSE(other_node->lift("app"));
    EXPECT_FALSE(spend(*other_node));
    clock_.advance(seconds(1));
    EXPECT_TRUE(spend(*all));  // over the quota, no longer suspended
}

TEST_F(BudgetsTest, OverrunsOfAllNodesSuspendTogether) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":4,"within_seconds":60},)");
    const auto one = budgets(tiers);
    const auto other = budgets(tiers);
    EXPECT_FALSE(spend(*one));
    EXPECT_TRUE(spend(*one));
    EXPECT_TRUE(spend(*other));
    EXPECT_TRUE(spend(*other));
    EXPECT_TRUE(one->suspended().empty());
    EXPECT_TRUE(spend(*one));
    const auto suspended = other->suspended();
    ASSERT_EQ(suspended.size(), 1U);
    EXPECT_EQ(suspended[0].overruns, 4U);
    EXPECT_EQ(events_.size(), 1U);
}

TEST_F(BudgetsTest, OverrunsOfAllNodesAreForgottenTogether) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":3,"within_seconds":60},)");
    const auto one = budgets(tiers);
    const auto other = budgets(tiers);
    EXPECT_FALSE(spend(*one));
    EXPECT_TRUE(spend(*one));
    clock_.advance(seconds(40));
    EXPECT_TRUE(spend(*other));
    clock_.advance(seconds(40));
    EXPECT_TRUE(spend(*other));  // the first is too long ago
    EXPECT_TRUE(spend(*one));
    EXPECT_TRUE(one->suspended().empty());
    EXPECT_TRUE(spend(*one));
    EXPECT_EQ(one->suspended().size(), 1U);
}

// The clocks of nodes differ by a little: one that is behind forgets nothing of the others'.
TEST_F(BudgetsTest, ANodeWhoseClockIsBehindCountsOnFromWhereTheOthersAre) {
    server::BudgetStore store(database_);
    const server::Suspension rule{10, seconds(60)};
    const auto now = clock_.now();
    EXPECT_EQ(store.count_overruns({"app", "l", 4, now, now}, rule, "r").overruns, 4U);
    const auto behind = now - seconds(2);
    EXPECT_EQ(store.count_overruns({"app", "l", 1, behind, behind}, rule, "r").overruns, 5U);
    const auto later = now + seconds(61);
    EXPECT_EQ(store.count_overruns({"app", "l", 1, later, later}, rule, "r").overruns, 1U);
}

// Also before, and afterwards: a refusal does not cost a write.
TEST_F(BudgetsTest, AnOverrunningCallerCostsAWriteForEachBlockOfOverruns) {
    const std::string tiers = tiers_text(limit_text(R"("rate":{"per_second":1,"burst":1})") + "," +
                                             R"({"id":"q","actions":["*"],"quota":{"hour":1}})",
                                         R"("suspension":{"overruns":160,"within_seconds":60},)");
    const auto all = budgets(tiers);
    EXPECT_FALSE(spend(*all));
    EXPECT_TRUE(spend(*all));
    const int before = database_.writes;
    for (int i = 0; i < 158; ++i) EXPECT_TRUE(spend(*all));
    EXPECT_LE(database_.writes - before, 16);
    EXPECT_TRUE(all->suspended().empty());
    EXPECT_TRUE(spend(*all));
    EXPECT_EQ(all->suspended().size(), 1U);
    const int suspended = database_.writes;
    for (int i = 0; i < 50; ++i) {
        auto made = operation();
        EXPECT_ERROR(caller_suspended, all->charge(made, {"read"}, record("k"), {}));
    }
    EXPECT_EQ(database_.writes, suspended);
}

TEST_F(BudgetsTest, WhoStaysWithinTheBudgetCostsNoWriteForOverruns) {
    const auto all = budgets(tiers_text(limit_text(R"("rate":{"per_second":1,"burst":100})"),
                                        R"("suspension":{"overruns":3,"within_seconds":60},)"));
    const int before = database_.writes;
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(spend(*all));
    EXPECT_EQ(database_.writes, before);
}

TEST_F(BudgetsTest, AnOverrunThatCantBeCountedIsRefusedAndCountedLater) {
    const auto all = budgets(tiers_text(limit_text(R"("rate":{"per_second":1,"burst":1})"),
                                        R"("suspension":{"overruns":3,"within_seconds":60},)"));
    EXPECT_FALSE(spend(*all));
    EXPECT_TRUE(spend(*all));
    database_.writes_fail = true;
    auto made = operation();
    EXPECT_ERROR(quota_check_failed, all->charge(made, {"read"}, record("k"), {}));
    database_.writes_fail = false;
    EXPECT_TRUE(spend(*all));
    EXPECT_EQ(all->suspended().size(), 1U);
}

TEST_F(BudgetsTest, NobodyHearsOfASuspensionBeforeItsRecordStands) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":1,"within_seconds":60},)");
    const auto charge = [this](server::Budgets& node) {
        auto made = operation();
        node.charge(made, {"read"}, record("k"), {});
    };
    record_fails_ = true;
    {
        const auto all = budgets(tiers);
        EXPECT_FALSE(spend(*all));
        EXPECT_TRUE(spend(*all));
        ASSERT_EQ(all->suspended().size(), 1U);
        EXPECT_ERROR(quota_check_failed, charge(*all));
        clock_.advance(seconds(5));
        EXPECT_ERROR(quota_check_failed, charge(*all));
        EXPECT_FALSE(spend(*all, 1, "k", {}, "other"));  // it is nobody else's trouble
    }
    EXPECT_TRUE(events_.empty());
    const auto after_restart = budgets(tiers);
    EXPECT_ERROR(quota_check_failed, charge(*after_restart));
    record_fails_ = false;
    EXPECT_ERROR(quota_check_failed, charge(*after_restart));  // it was tried a moment ago
    clock_.advance(seconds(1));
    EXPECT_ERROR(caller_suspended, charge(*after_restart));
    EXPECT_ERROR(caller_suspended, charge(*after_restart));
    clock_.advance(seconds(5));
    EXPECT_ERROR(caller_suspended, charge(*budgets(tiers)));
    EXPECT_EQ(events_, std::vector<std::string>{"suspend_caller app l hour"});
}

// Also when the caller does not come back: anybody's request is the occasion.
TEST_F(BudgetsTest, ASuspensionIsRecordedAsSoonAsItCanBe) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"hour":1})"),
                                        R"("suspension":{"overruns":1,"within_seconds":60},)"));
    record_fails_ = true;
    EXPECT_FALSE(spend(*all));
    EXPECT_TRUE(spend(*all));
    EXPECT_TRUE(events_.empty());
    record_fails_ = false;
    clock_.advance(seconds(2));
    EXPECT_FALSE(spend(*all, 1, "k", {}, "other"));
    EXPECT_EQ(events_, std::vector<std::string>{"suspend_caller app l hour"});
}

// What a caller is told who is over a quota of 1 and suspended by the first overrun.
class RecordedOnceTest : public BudgetsTest {
protected:
    std::string asked(server::Budgets& node, const std::string& who = "app") {
        auto made = operation(1, who);
        try {
            node.charge(made, {"read"}, record("k"), {});
            return "ok";
        } catch (const base::Error& error) {
            return std::string(base::to_string(error.code()));
        }
    }
    void expect_one_record() {
        EXPECT_EQ(events_, std::vector<std::string>{"suspend_caller app l hour"});
    }
    const std::string tiers_ = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                          R"("suspension":{"overruns":1,"within_seconds":60},)");
    std::unique_ptr<server::Budgets> one_ = budgets(tiers_);
    std::unique_ptr<server::Budgets> other_ = budgets(tiers_);
};

TEST_F(RecordedOnceTest, WhoReadsOfASuspensionWhileItIsRecordedDoesNotRecordItToo) {
    while_recording_ = [this] {
        while_recording_ = nullptr;
        clock_.advance(seconds(5));
        EXPECT_EQ(asked(*other_), "quota_check_failed");
        EXPECT_EQ(asked(*one_), "quota_check_failed");
    };
    EXPECT_EQ(asked(*one_), "ok");
    EXPECT_EQ(asked(*one_), "resource_exhausted");
    clock_.advance(seconds(1));
    EXPECT_EQ(asked(*one_), "caller_suspended");
    EXPECT_EQ(asked(*other_), "caller_suspended");
    expect_one_record();
}

TEST_F(RecordedOnceTest, NodesThatFindItUnrecordedRecordItOneAtATime) {
    record_fails_ = true;
    EXPECT_EQ(asked(*one_), "ok");
    EXPECT_EQ(asked(*one_), "resource_exhausted");
    record_fails_ = false;
    clock_.advance(seconds(1));
    while_recording_ = [this] {
        while_recording_ = nullptr;
        clock_.advance(seconds(5));
        EXPECT_EQ(asked(*one_), "quota_check_failed");
    };
    EXPECT_EQ(asked(*other_, "else"), "ok");
    clock_.advance(seconds(1));
    EXPECT_EQ(asked(*one_), "caller_suspended");
    expect_one_record();
}

TEST_F(RecordedOnceTest, ARecordThatTheStoreWasNotToldOfIsNotMadeAgain) {
    while_recording_ = [this] { database_.writes_fail = true; };
    EXPECT_EQ(asked(*one_), "ok");
    EXPECT_EQ(asked(*one_), "resource_exhausted");
    EXPECT_EQ(asked(*one_), "quota_check_failed");
    while_recording_ = nullptr;
    database_.writes_fail = false;
    clock_.advance(seconds(60));
    EXPECT_EQ(asked(*one_), "caller_suspended");
    expect_one_record();
}

TEST_F(RecordedOnceTest, WhatANodeThatWasKilledLeftUnrecordedAnotherRecordsLater) {
    server::BudgetStore store(database_);
    const auto now = clock_.now();
    ASSERT_EQ(
        store.count_overruns({"app", "l hour", 1, now, now}, {1, seconds(60)}, "killed").suspended,
        server::CountedOverruns::Suspended::now);
    EXPECT_EQ(asked(*one_), "quota_check_failed");
    clock_.advance(seconds(29));
    EXPECT_EQ(asked(*one_), "quota_check_failed");
    EXPECT_TRUE(events_.empty()) << "it may be at it still";
    clock_.advance(seconds(1));
    EXPECT_EQ(asked(*other_), "caller_suspended");
    expect_one_record();
    store.mark_recorded("app", "killed");
    EXPECT_TRUE(one_->lift("app"));
}

TEST_F(RecordedOnceTest, ThreadsOfTwoNodesThatOverrunAtOnceMakeOneSuspensionAndOneRecord) {
    EXPECT_EQ(asked(*one_), "ok");
    std::atomic<bool> go = false;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
            while (!go) std::this_thread::yield();
            for (int k = 0; k < 5; ++k) asked(i % 2 == 0 ? *one_ : *other_);
        });
    }
    go = true;
    for (auto& each : threads) each.join();
    clock_.advance(seconds(5));
    EXPECT_EQ(asked(*one_), "caller_suspended");
    EXPECT_EQ(asked(*other_), "caller_suspended");
    expect_one_record();
}

TEST_F(RecordedOnceTest, OfTwoStoresThatClaimARecordingAtOnceOneHasIt) {
    server::BudgetStore first(database_);
    server::BudgetStore second(database_);
    for (int round = 0; round < 20; ++round) {
        const std::string who = "app" + std::to_string(round);
        const auto now = clock_.now();
        first.count_overruns({who, "l hour", 1, now, now}, {1, seconds(60)}, "");
        const auto as_read = first.suspended().back();
        std::atomic<int> claimed = 0;
        std::thread thread([&] { claimed += second.claim_recording(as_read, "second", now); });
        claimed += first.claim_recording(as_read, "first", now);
        thread.join();
        EXPECT_EQ(claimed, 1);
        first.lift(who, now);
    }
}

TEST_F(BudgetsTest, SuspensionSurvivesARestart) {
    const std::string tiers = tiers_text(limit_text(R"("quota":{"hour":1})"),
                                         R"("suspension":{"overruns":1,"within_seconds":60},)");
    {
        const auto all = budgets(tiers);
        EXPECT_FALSE(spend(*all));
        EXPECT_TRUE(spend(*all));
    }
    const auto all = budgets(tiers);
    auto made = operation();
    EXPECT_ERROR(caller_suspended, all->charge(made, {"read"}, record("k"), {}));
}

TEST_F(BudgetsTest, UsageIsWhatWasUsedNotWhatIsReserved) {
    const auto all = budgets(
        tiers_text(limit_text(R"("quota":{"day":100000},"records":{"per":"hour","limit":1000})")));
    EXPECT_FALSE(spend(*all, 7, "a"));
    EXPECT_FALSE(spend(*all, 5, "b"));
    const auto usage = all->usage("app");
    ASSERT_EQ(usage.size(), 2U);
    EXPECT_EQ(usage[0].counted, "items/day");
    EXPECT_EQ(usage[0].used, 12U);
    EXPECT_EQ(base::to_rfc3339(usage[0].period.end), "2026-11-26T00:00:00.000Z");
    EXPECT_EQ(usage[1].counted, "records/hour");
    EXPECT_EQ(usage[1].used, 2U);
    EXPECT_TRUE(all->usage("nobody").empty());
}

TEST_F(BudgetsTest, TierOfTheFirstBindingThatFitsElseTheDefaultElseNoLimit) {
    const std::string limits = R"("tiers":{"small":[{"id":"l","actions":["*"],"quota":{"day":1}}],
        "large":[{"id":"l","actions":["*"],"quota":{"day":3}}],"none":[]},)";
    const auto all = budgets(R"({"version":1,)" + limits +
                             R"("bindings":[{"caller":"vip","tier":"none"},
        {"claims":{"plan":["pro*"]},"tier":"large"},{"caller":"app*","tier":"small"}]})");
    const auto tier = [&](const std::string& id, const std::string& plan) {
        server::Caller caller;
        caller.id = id;
        if (!plan.empty()) caller.claims["plan"] = {plan};
        const auto tiers = server::parse_budgets(R"({"version":1,)" + limits +
                                                     R"("bindings":[{"caller":"vip","tier":"none"},
        {"claims":{"plan":["pro*"]},"tier":"large"},{"caller":"app*","tier":"small"}]})",
                                                 budget_words);
        const auto* found = tiers.tier_of(caller);
        return found == nullptr ? std::string("-") : found->name;
    };
    EXPECT_EQ(tier("vip", "pro"), "none");
    EXPECT_EQ(tier("app1", "pro-2"), "large");
    EXPECT_EQ(tier("app1", "free"), "small");
    EXPECT_EQ(tier("other", ""), "-");
    for (int i = 0; i < 10; ++i) EXPECT_FALSE(spend(*all, 100, "k", {}, "vip"));
    EXPECT_FALSE(spend(*all, 100, "k", {}, "other"));
    EXPECT_FALSE(spend(*all, 1, "k", {}, "app1"));
    EXPECT_TRUE(spend(*all, 1, "k", {}, "app1"));
}

TEST_F(BudgetsTest, OtherTiersKeepWhatIsUsed) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"day":5})")));
    EXPECT_FALSE(spend(*all, 5));
    const std::string before = all->hash();
    all->replace(
        server::parse_budgets(tiers_text(limit_text(R"("quota":{"day":8})")), budget_words));
    EXPECT_NE(all->hash(), before);
    EXPECT_EQ(spend(*all, 4)->remaining, 3U);
    EXPECT_FALSE(spend(*all, 3));
}

TEST_F(BudgetsTest, ReloadPutsTiersInForceWholeOrNotAtAll) {
    const auto file = folder_.write("b.json", tiers_text(limit_text(R"("quota":{"day":5})")), 0600);
    const auto all = server::open_budgets(
        file, budget_words, {database_, clock_, [](std::string_view, const auto&) {}});
    ASSERT_NE(all, nullptr);
    const std::string before = all->hash();
    const auto step = server::budgets_step(all.get(), file, budget_words);
    folder_.write("b.json", tiers_text(limit_text(R"("quota":{"day":6})")), 0600);
    const auto facts = step.run();
    EXPECT_EQ(facts.at("budgets_hash_before"), before);
    EXPECT_EQ(facts.at("budgets_hash"), all->hash());
    EXPECT_NE(all->hash(), before);
    folder_.write("b.json", "{", 0600);
    EXPECT_ERROR_SAYING(invalid_argument, "b.json", step.run());
    EXPECT_FALSE(spend(*all, 6));
    // Nobody has a budget where no file is configured.
    EXPECT_EQ(server::open_budgets({}, budget_words,
                                   {database_, clock_, [](std::string_view, const auto&) {}}),
              nullptr);
    EXPECT_TRUE(server::budgets_step(nullptr, {}, budget_words).run().empty());
}

TEST_F(BudgetsTest, AuthorizerChargesWhatItAllowsAndNothingElse) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"day":3})")));
    const server::Authorizer authorizer(
        server::parse_policy(R"({"version":1,"roles":{"r":[{"id":"a","effect":"allow",
            "actions":["read"],"resources":["*"]}]},"bindings":[{"caller":"app","roles":["r"]}]})",
                             budget_words),
        nullptr, {nullptr, nullptr, all.get()});
    auto first = operation(2);
    EXPECT_ERROR(permission_denied, authorizer.authorize(first, {"write"}, record("k")));
    EXPECT_TRUE(authorizer.would_allow(first, {"read"}, record("k")));
    EXPECT_NO_THROW(authorizer.authorize(first, {"read"}, record("k")));
    EXPECT_NO_THROW(authorizer.authorize(first, {"read"}, record("other")));
    auto second = operation(2);
    EXPECT_ERROR(resource_exhausted, authorizer.authorize(second, {"read"}, record("k")));
    EXPECT_EQ(second.facts().at("over_budget"), "l day");
    auto third = operation(1);
    EXPECT_NO_THROW(authorizer.authorize(third, {"read"}, record("k")));
}

TEST_F(BudgetsTest, AnswerSaysWhatIsLeftAndWhenToComeBack) {
    const auto all = budgets(tiers_text(limit_text(R"("quota":{"hour":10})")));
    EXPECT_FALSE(spend(*all, 6));
    auto made = operation(5);
    try {
        all->charge(made, {"read"}, record("k"), {});
        FAIL();
    } catch (const base::Error& error) {
        const auto answer = server::error_answer(error, base::Uuid());
        EXPECT_EQ(answer.status, 429U);
        EXPECT_NE(answer.body.find(R"("limit":"l hour","remaining":4)"), std::string::npos)
            << answer.body;
        EXPECT_EQ(answer.headers,
                  (std::vector<std::pair<std::string, std::string>>{{"Retry-After", "2700"}}));
    }
    EXPECT_EQ(server::http_status(base::ErrorCode::quota_check_failed), 503U);
    EXPECT_EQ(server::http_status(base::ErrorCode::caller_suspended), 403U);
}

TEST(BudgetTiers, EveryMistakeIsNamed) {
    const std::string good = limit_text(R"("concurrent":1)");
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"{}", "version"},
        {R"({"version":1,"bindings":[]})", "tiers"},
        {R"({"version":1,"tiers":{}})", "bindings"},
        {tiers_text(good, R"("extra":1,)"), "extra"},
        {tiers_text(good, R"("billing_anchor_day":29,)"), "billing_anchor_day"},
        {tiers_text(good, R"("suspension":{"overruns":0,"within_seconds":1},)"),
         "suspension.overruns"},
        {tiers_text(good, R"("suspension":{"overruns":1},)"), "suspension.within_seconds"},
        {tiers_text(good + "," + good), "tiers.t[1].id"},
        {tiers_text(R"({"id":"l","actions":["*"]})"), "limits nothing"},
        {tiers_text(R"({"id":"l","concurrent":1})"), "tiers.t[0].actions"},
        {tiers_text(limit_text(R"("concurrent":1)", R"("fly")")), "unknown action \"fly\""},
        {tiers_text(limit_text(R"("concurrent":0)")), "tiers.t[0].concurrent"},
        {tiers_text(limit_text(R"("rate":{"per_second":1})")), "tiers.t[0].rate.burst"},
        {tiers_text(limit_text(R"("quota":{"week":1})")), "tiers.t[0].quota.week"},
        {tiers_text(limit_text(R"("records":{"per":"week","limit":1})")), "tiers.t[0].records.per"},
        {tiers_text(limit_text(R"("records":{"per":"day","limit":1000001})")),
         "tiers.t[0].records.limit"},
        {R"({"version":1,"tiers":{},"bindings":[],"default":"t"})", "unknown tier \"t\""},
        {R"({"version":1,"tiers":{},"bindings":[{"caller":"a","tier":"t"}]})", "bindings[0].tier"},
        {R"({"version":1,"tiers":{"t":[]},"bindings":[{"tier":"t"}]})", "bindings[0].caller"},
    };
    for (const auto& [text, part] : cases) {
        SCOPED_TRACE(text);
        EXPECT_ERROR_SAYING(invalid_argument, part, server::parse_budgets(text, budget_words));
    }
    const tests::TemporaryDirectory folder;
    EXPECT_ERROR_SAYING(invalid_argument, "b.json",
                        server::load_budgets(folder.write("b.json", "{}", 0600), budget_words));
}

}  // namespace
