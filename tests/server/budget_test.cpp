// Budgets on a real database, with a clock that is moved by hand.
#include "server/budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "server/answer.h"
#include "server/authorizer.h"
#include "server/database.h"
#include "server/policy.h"
#include "server/reload.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temporary_directory.h"

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

const std::vector<std::string_view> budget_words = {"read", "write", "open"};

std::string tiers_text(const std::string& limits, const std::string& more = "") {
    return R"({"version":1,)" + more + R"("tiers":{"t":[)" + limits +
           R"(]},"bindings":[],"default":"t"})";
}

std::string limit_text(const std::string& what, const std::string& actions = R"("*")") {
    return R"({"id":"l","actions":[)" + actions + "]," + what + "}";
}

// A database whose writes or reads can be made to fail.
class BreakableDatabase final : public server::Database {
public:
    explicit BreakableDatabase(server::Database& inner) : inner_(inner) {}
    server::Dialect dialect() const override { return inner_.dialect(); }
    bool is_shared() const override { return true; }  // by the two budgets of a test
    void migrate(std::string_view room, std::span<const server::Migration> migrations,
                 Unnamed unnamed) override {
        inner_.migrate(room, migrations, unnamed);
    }
    void write(const Work& work) override {
        ++writes;
        refuse_when(writes_fail);
        inner_.write(work);
    }
    void write_in_turn(std::string_view table, const Work& work) override {
        ++writes;
        refuse_when(writes_fail);
        inner_.write_in_turn(table, work);
    }
    void read(const Work& work) override {
        refuse_when(reads_fail);
        inner_.read(work);
    }
    void check() override { inner_.check(); }
    server::DatabaseBackup back_up(const std::string& name) override {
        return inner_.back_up(name);
    }

    bool writes_fail = false;
    bool reads_fail = false;
    std::atomic<int> writes = 0;

private:
    static void refuse_when(bool fail) {
        if (fail) throw base::Error(base::ErrorCode::unavailable, "the store is not available");
    }
    server::Database& inner_;
};

class BudgetsTest : public ::testing::Test {
protected:
    BudgetsTest() { start(clock_now()); }

    static base::Time clock_now() { return *base::parse_rfc3339("2026-11-25T10:15:00Z"); }
    void start(base::Time now) { clock_.advance(now - clock_.now()); }

    std::unique_ptr<server::Budgets> budgets(const std::string& tiers) {
        return std::make_unique<server::Budgets>(
            server::parse_budgets(tiers, budget_words),
            server::BudgetParts{database_, clock_,
                                [this](std::string_view action, const auto& facts) {
                                    events_.push_back(std::string(action) + " " +
                                                      facts.at("caller") + " " + facts.at("limit"));
                                }});
    }

    server::Operation operation(std::uint64_t work = 1, const std::string& who = "app") {
        server::Caller caller;
        caller.id = who;
        caller.method = server::AuthenticationMethod::client_certificate;
        server::Operation made(base::Uuid::random(), clock_.now(), caller);
        made.set_work(work);
        return made;
    }

    static server::Resource record(const std::string& id) {
        server::Resource resource;
        resource.kind = "key";
        resource.id = id;
        return resource;
    }

    // Charges one operation that ends at once. Empty when it passed, else what it was over.
    std::optional<base::Overrun> spend(server::Budgets& from, std::uint64_t work = 1,
                                       const std::string& id = "k",
                                       const std::map<std::string, std::string>& context = {},
                                       const std::string& who = "app",
                                       std::string_view action = "read") {
        auto made = operation(work, who);
        try {
            from.charge(made, {action}, record(id), context);
            return std::nullopt;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::resource_exhausted) << error.what();
            EXPECT_TRUE(error.overrun());
            return error.overrun();
        }
    }

    tests::TemporaryDirectory folder_;
    tests::FakeClock clock_;
    base::Log log_{"budget_test", base::LogLevel::error};
    std::unique_ptr<server::Database> sqlite_ =
        server::open_database(server::SqliteConfig{folder_ / "budget.db"}, log_);
    BreakableDatabase database_{*sqlite_};
    std::vector<std::string> events_;
};

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
