// Several nodes on one PostgreSQL: each with connections, counters and a catalogue of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "kms/follower.h"
#include "kms/lifecycle.h"
#include "kms/making_lock.h"
#include "kms/service.h"
#include "kms/sql_store.h"
#include "server/idempotency.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/postgresql.h"
#include "tests/support/shared_store.h"
#include "tests/support/slow_token.h"

namespace tests {
namespace {

struct PostgresqlNode {
    PostgresqlNode(server::PostgresqlConfig config, hsm::Token& token, const base::Clock& clock,
                   base::Log& log)
        : database(server::open_database(std::move(config), log)),
          store(*database),
          usage(store, clock),
          reconciled(kms::reconcile(store, token, usage, clock, log)),
          catalogue(reconciled.keys),
          lifecycle(catalogue, store, token, usage, clock, log),
          service(catalogue, token, usage, log),
          follower(catalogue, store, reconciled.change_count, log) {}

    std::unique_ptr<server::Database> database;
    kms::SqlStore store;
    kms::UsageCounter usage;
    kms::Reconciled reconciled;
    kms::Catalogue catalogue;
    kms::KeyLifecycle lifecycle;
    kms::KeyService service;
    kms::CatalogueFollower follower;
};

class NodesTest : public testing::Test {
protected:
    void SetUp() override {
        SKIP_WITHOUT_POSTGRESQL();
        // A user of the test's own, who can be locked out.
        schema_.sql("CREATE ROLE " + schema_.name() + " LOGIN SUPERUSER");
        first_ = node();
        second_ = node();
    }
    void TearDown() override {
        first_.reset();
        second_.reset();
        if (!postgresql_server().missing().empty()) return;
        schema_.sql("DROP OWNED BY " + schema_.name() + " CASCADE");
        schema_.sql("DROP ROLE " + schema_.name());
    }
    std::unique_ptr<PostgresqlNode> node() {
        auto config = schema_.config();
        config.user = schema_.name();
        config.connections = 4;
        return std::make_unique<PostgresqlNode>(std::move(config), token_, clock_, log_);
    }
    void lock_out() {
        schema_.sql("ALTER ROLE " + schema_.name() + " NOLOGIN");
        schema_.sql(
            "SELECT COUNT(pg_terminate_backend(pid, 20000))::text FROM pg_stat_activity "
            "WHERE usename = '" +
            schema_.name() + "'");
    }
    void let_in() { schema_.sql("ALTER ROLE " + schema_.name() + " LOGIN"); }

    server::Grant grant(server::Action action, const std::string& id) {
        server::Resource resource;
        resource.kind = kms::key_kind;
        resource.id = id;
        return authorizer_.authorize(root_, action, resource);
    }
    kms::Key pending_key() {
        kms::Key key;
        key.id = base::Uuid::random();
        key.created_at = clock_.now();
        kms::KeyVersion version;
        version.version = 1;
        version.token_key_id = base::Uuid::random();
        version.created_at = clock_.now();
        key.versions.push_back(version);
        return key;
    }
    // What others do while the node of that view can't renew its lock, and the lease ends.
    template <typename Others>
    void stand_still(SharedStore& store, Others others) {
        store.is_away = true;
        clock_.advance(kms::making_lease + std::chrono::seconds(1));
        others();
        store.is_away = false;
    }
    base::Uuid create(PostgresqlNode& node) {
        return node.lifecycle.create(grant(kms::create_key, "*"), {}).key->id;
    }
    void wrap(PostgresqlNode& node, const base::Uuid& key) {
        node.service.create_data_keys(grant(kms::create_data_key, key.to_string()), key,
                                      kms::Context(kms::EncryptionContext{}), {});
    }
    std::optional<base::ErrorCode> code_of_wrap(PostgresqlNode& node, const base::Uuid& key) {
        try {
            wrap(node, key);
            return std::nullopt;
        } catch (const base::Error& error) {
            return error.code();
        }
    }
    template <typename Condition>
    static std::chrono::milliseconds wait_for(Condition condition) {
        const auto begin = std::chrono::steady_clock::now();
        const auto elapsed = [&] {
            return std::chrono::duration_cast<std::chrono::milliseconds>(
                std::chrono::steady_clock::now() - begin);
        };
        while (!condition() && elapsed() < std::chrono::seconds(20)) std::this_thread::yield();
        return elapsed();
    }

    PostgresqlSchema schema_;
    FakeToken token_;
    FakeClock clock_;
    base::Log log_{"tests", base::LogLevel::error};
    server::Authorizer authorizer_{server::parse_policy(rig_policy, kms::known_actions())};
    server::Operation root_ = operation_of("root");
    std::unique_ptr<PostgresqlNode> first_;
    std::unique_ptr<PostgresqlNode> second_;
};

TEST_F(NodesTest, ADisableIsHonouredByTheOtherNodeWithinASecond) {
    EXPECT_TRUE(first_->store.is_shared());
    const auto key = create(*first_);
    EXPECT_LT(wait_for([&] { return !code_of_wrap(*second_, key); }), std::chrono::seconds(1));
    first_->lifecycle.disable(grant(kms::disable_key, key.to_string()), key);
    EXPECT_EQ(code_of_wrap(*first_, key), base::ErrorCode::failed_precondition);
    EXPECT_LT(wait_for([&] {
                  return code_of_wrap(*second_, key) == base::ErrorCode::failed_precondition;
              }),
              std::chrono::seconds(1));
}

TEST_F(NodesTest, ANodeWithoutTheStoreRefusesWithinASecondAndComesBackByItself) {
    const auto key = create(*first_);
    EXPECT_FALSE(code_of_wrap(*first_, key));
    lock_out();
    const auto refused =
        wait_for([&] { return code_of_wrap(*first_, key) == base::ErrorCode::unavailable; });
    EXPECT_LE(refused, kms::follow_patience + std::chrono::milliseconds(200));
    EXPECT_ERROR(unavailable, create(*first_));
    let_in();
    EXPECT_LT(wait_for([&] { return !code_of_wrap(*first_, key); }), std::chrono::seconds(4));
    EXPECT_NO_THROW(create(*first_));
}

TEST_F(NodesTest, NoNumberIsReservedTwice) {
    const auto key = create(*first_);
    const auto before = first_->store.find(key)->versions.at(0).wraps_reserved;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            auto& store = (t % 2 == 0 ? first_ : second_)->store;
            for (int i = 0; i < 5; ++i) EXPECT_EQ(store.reserve_wraps(key, 1, 10).granted, 10U);
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(second_->store.find(key)->versions.at(0).wraps_reserved, before + 200);
}

TEST_F(NodesTest, KeysMadeAtTwoNodesAtOnceAreAllThereOnBoth) {
    std::vector<std::thread> threads;
    for (auto* node : {first_.get(), second_.get()}) {
        threads.emplace_back([&, node] {
            auto operation = operation_of("root");
            server::Resource any;
            any.kind = kms::key_kind;
            any.id = "*";
            for (int i = 0; i < 5; ++i) {
                node->lifecycle.create(authorizer_.authorize(operation, kms::create_key, any), {});
            }
        });
    }
    for (auto& thread : threads) thread.join();
    for (auto* node : {first_.get(), second_.get()}) {
        EXPECT_TRUE(node->follower.follow());
        EXPECT_EQ(node->catalogue.snapshot()->page(std::nullopt, 100).size(), 10U);
    }
}

TEST_F(NodesTest, AnAliasThatTwoNodesWantGoesToOne) {
    const auto key = create(*first_);
    const auto other = create(*second_);
    std::atomic<int> moved = 0;
    std::vector<std::thread> threads;
    threads.emplace_back([&] { moved += first_->store.move_alias("a", {}, key) ? 1 : 0; });
    threads.emplace_back([&] { moved += second_->store.move_alias("a", {}, other) ? 1 : 0; });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(moved, 1);
}

TEST_F(NodesTest, AStartingNodeLeavesWhatTheOthersHold) {
    const auto until = clock_.now() + kms::making_lease;
    ASSERT_TRUE(first_->store.take_lock("first", clock_.now(), until));
    first_->store.begin_request({"id", "digest", "first", clock_.now(), false, 0, ""});
    const auto database = schema_.open();
    kms::SqlStore third(*database);
    EXPECT_FALSE(third.take_lock("third", clock_.now(), until));
    EXPECT_EQ(third.find_request("id")->node, "first");
    first_->store.release_lock("first");
}

TEST_F(NodesTest, ALiveNodeKeepsTheLockForAsLongAsItTakes) {
    const base::SystemClock clock;
    const kms::MakingLock held(first_->store, clock, "first");
    std::string expires = schema_.sql("SELECT expires_at::text FROM locks");
    EXPECT_LT(
        wait_for([&] { return schema_.sql("SELECT expires_at::text FROM locks") != expires; }),
        kms::making_lease);
    EXPECT_FALSE(second_->store.take_lock("second", clock.now(), clock.now() + kms::making_lease));
}

// A node whose database does not answer for a while, as one that stands still: it can't keep its
// lock.
class StalledNode {
public:
    StalledNode(kms::Store& real, hsm::Token& token, const base::Clock& clock, base::Log& log)
        : store(real),
          usage(store, clock),
          catalogue(real.load()),
          lifecycle(catalogue, store, token, usage, clock, log) {}

    SharedStore store;
    kms::UsageCounter usage;
    kms::Catalogue catalogue;
    kms::KeyLifecycle lifecycle;
};

// What it was at is settled by the other node meanwhile; the token answers too late.
TEST_F(NodesTest, AHolderThatStoodStillForLongerThanItsLeaseAcknowledgesNothing) {
    SlowToken slow(token_);
    StalledNode stalled(first_->store, slow, clock_, log_);
    slow.before_generating = [&](const hsm::KeyId&) {
        stand_still(stalled.store, [&] {
            // The token has made nothing yet, so the other node gives the first one's key up.
            const auto reconciled =
                kms::reconcile(second_->store, token_, second_->usage, clock_, log_);
            EXPECT_EQ(reconciled.abandoned, 1U);
        });
    };
    const kms::OrderContext order{"order", {}};
    EXPECT_ERROR(unavailable, stalled.lifecycle.create(grant(kms::create_key, "*"), {}, order));
    slow.before_generating = nullptr;
    // The order, sent again, is done once; of the first attempt there is what is left in the token.
    const auto made = stalled.lifecycle.create(grant(kms::create_key, "*"), {}, order);
    EXPECT_EQ(made.key->state, kms::KeyState::enabled);
    const auto keys = first_->store.load();
    EXPECT_EQ(std::count_if(keys.begin(), keys.end(),
                            [](const auto& key) { return key.state == kms::KeyState::enabled; }),
              1);
    EXPECT_EQ(keys.size(), 2U);
    const auto again = kms::reconcile(second_->store, token_, second_->usage, clock_, log_);
    EXPECT_EQ(again.leftover_objects, 1U);
    EXPECT_EQ(again.unknown_objects, 0U);
}

// The other node had the lock and gave it back: that it is free again does not make it the first's.
TEST_F(NodesTest, ALockThatWasAnothersMeanwhileIsNotTakenBack) {
    SharedStore store(first_->store);
    const kms::MakingLock held(store, clock_, "first");
    stand_still(store, [&] { const kms::MakingLock others(second_->store, clock_, "second"); });
    EXPECT_FALSE(first_->store.keep_lock(held.holder(), clock_.now() + kms::making_lease));
    EXPECT_ERROR(unavailable, first_->store.add_pending_key(pending_key(), held.holder()));
    EXPECT_TRUE(first_->store.load().empty());
    wait_for([&] {
        try {
            held.require_held();
            return false;
        } catch (const base::Error& error) {
            return error.code() == base::ErrorCode::unavailable;
        }
    });
    EXPECT_ERROR(unavailable, held.require_held());
}

TEST_F(NodesTest, ARotationThatStoodStillMakesNoPrimaryVersion) {
    const auto key = create(*first_);
    SlowToken slow(token_);
    StalledNode stalled(first_->store, slow, clock_, log_);
    slow.before_generating = [&](const hsm::KeyId&) {
        stand_still(stalled.store, [&] {
            second_->follower.follow();
            second_->lifecycle.rotate(grant(kms::rotate_key, key.to_string()), key);
        });
    };
    EXPECT_ERROR(unavailable,
                 stalled.lifecycle.rotate(grant(kms::rotate_key, key.to_string()), key));
    const auto stored = *first_->store.find(key);
    EXPECT_EQ(stored.primary_version, 3U);
    EXPECT_EQ(stored.versions.at(1).state, kms::KeyState::destroyed);
    EXPECT_EQ(stored.versions.at(2).state, kms::KeyState::enabled);
}

TEST_F(NodesTest, AnOrderSentToBothNodesIsDoneOnce) {
    server::Idempotency here(first_->store, clock_);
    server::Idempotency there(second_->store, clock_);
    server::Request request;
    request.method = server::Method::POST;
    request.path = "/v1/keys";
    request.headers["idempotency-key"] = "order";
    std::atomic<int> done = 0;
    const auto send = [&](server::Idempotency& idempotency) {
        auto operation = operation_of("root");
        return idempotency.once(operation, request, [&](const std::string&) {
            server::Response response;
            response.status = 201;
            response.body = "made " + std::to_string(++done);
            return response;
        });
    };
    std::vector<std::thread> threads;
    for (auto* idempotency : {&here, &there}) {
        threads.emplace_back([&, idempotency] {
            for (;;) {
                try {
                    EXPECT_EQ(send(*idempotency).body, "made 1");
                    return;
                } catch (const base::Error& error) {
                    ASSERT_EQ(error.code(), base::ErrorCode::failed_precondition) << error.what();
                }
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(done, 1);
}

}  // namespace
}  // namespace tests
