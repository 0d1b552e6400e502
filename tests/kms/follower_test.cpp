#include "kms/follower.h"

#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "kms/lifecycle.h"
#include "kms/making_lock.h"
#include "kms/schedule.h"
#include "kms/service.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/shared_store.h"

namespace tests {
namespace {

// One node of several: its own view of the store, its own catalogue.
struct Node {
    Node(kms::Store& real_store, hsm::Token& token, const base::Clock& clock, base::Log& log)
        : store(real_store),
          usage(store, clock),
          reconciled(kms::reconcile(store, token, usage, clock, log)),
          catalogue(reconciled.keys),
          lifecycle(catalogue, store, token, usage, clock, log),
          service(catalogue, token, usage, log),
          follower(catalogue, store, reconciled.change_count, log) {}

    SharedStore store;
    kms::UsageCounter usage;
    kms::Reconciled reconciled;
    kms::Catalogue catalogue;
    kms::KeyLifecycle lifecycle;
    kms::KeyService service;
    kms::CatalogueFollower follower;
};

class FollowerTest : public testing::Test {
protected:
    server::Grant grant(server::Action action, const std::string& id) {
        server::Resource resource;
        resource.kind = kms::key_kind;
        resource.id = id;
        return authorizer_.authorize(root_, action, resource);
    }
    base::Uuid create(Node& node) {
        return node.lifecycle.create(grant(kms::create_key, "*"), {}).key->id;
    }
    kms::FreshDataKeys wrap(Node& node, const base::Uuid& key) {
        return node.service.create_data_keys(grant(kms::create_data_key, key.to_string()), key,
                                             kms::Context(kms::EncryptionContext{}), {});
    }
    void disable(Node& node, const base::Uuid& key) {
        node.lifecycle.disable(grant(kms::disable_key, key.to_string()), key);
    }
    // Until `condition`, at most `bound`; what was needed.
    template <typename Condition>
    static std::chrono::milliseconds wait_for(Condition condition,
                                              std::chrono::milliseconds bound) {
        const auto begin = std::chrono::steady_clock::now();
        const auto elapsed = [&] {
            return std::chrono::duration_cast<std::chrono::milliseconds>(
                std::chrono::steady_clock::now() - begin);
        };
        while (!condition() && elapsed() < bound) std::this_thread::yield();
        return elapsed();
    }

    template <typename One, typename Other>
    static void at_once(One one, Other other) {
        std::latch start(2);
        std::thread thread([&] {
            start.arrive_and_wait();
            one();
        });
        start.arrive_and_wait();
        other();
        thread.join();
    }

    TemporaryDirectory folder_;
    FakeToken token_;
    FakeClock clock_;
    base::Log log_{"kmsd", base::LogLevel::error};
    OwnSqlite<kms::SqlStore> real_store_{folder_ / "kms.db"};
    server::Authorizer authorizer_{server::parse_policy(rig_policy, kms::known_actions())};
    server::Operation root_ = operation_of("root");
};

TEST_F(FollowerTest, ADisableIsHonouredHereAtOnceAndElsewhereWithinASecond) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    const auto key = create(first);
    second.follower.follow();
    EXPECT_NO_THROW(wrap(second, key));
    disable(first, key);
    EXPECT_ERROR(failed_precondition, wrap(first, key));
    const auto refused = [&] {
        try {
            wrap(second, key);
            return false;
        } catch (const base::Error& error) {
            return error.code() == base::ErrorCode::failed_precondition;
        }
    };
    EXPECT_LT(wait_for(refused, std::chrono::seconds(20)), std::chrono::seconds(1));
}

TEST_F(FollowerTest, ANodeThatCantReachTheStoreRefusesWithinASecondAndComesBack) {
    Node node(real_store_, token_, clock_, log_);
    const auto key = create(node);
    node.store.is_away = true;
    const auto code_is = [&](base::ErrorCode wanted) {
        try {
            static_cast<void>(node.catalogue.snapshot());
            return false;
        } catch (const base::Error& error) {
            return error.code() == wanted;
        }
    };
    // As far as the tests' own threads are on time.
    const auto waited =
        wait_for([&] { return code_is(base::ErrorCode::unavailable); }, std::chrono::seconds(20));
    EXPECT_LE(waited, kms::follow_patience + std::chrono::milliseconds(50));
    EXPECT_ERROR(unavailable, wrap(node, key));
    node.store.is_away = false;
    node.follower.follow();
    EXPECT_NO_THROW(wrap(node, key));
}

TEST_F(FollowerTest, ANodeThatLostTheStoreBeforeItsFirstLookRefusesUntilItHasLooked) {
    Node first(real_store_, token_, clock_, log_);
    const auto key = create(first);
    SharedStore store(real_store_);
    kms::UsageCounter usage(store, clock_);
    const auto reconciled = kms::reconcile(store, token_, usage, clock_, log_);
    kms::Catalogue catalogue(reconciled.keys);
    store.is_away = true;
    kms::CatalogueFollower follower(catalogue, store, reconciled.change_count, log_);
    EXPECT_ERROR(unavailable, static_cast<void>(catalogue.snapshot()));
    disable(first, key);
    store.is_away = false;
    EXPECT_TRUE(follower.follow());
    EXPECT_EQ(catalogue.snapshot()->find(key)->state, kms::KeyState::disabled);
}

TEST_F(FollowerTest, EveryChangeAtOneNodeReachesTheOther) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    const auto a = create(first);
    const auto b = create(second);
    first.lifecycle.set_alias(grant(kms::change_alias, a.to_string()), nullptr, "name");
    second.follower.follow();
    const auto from = grant(kms::change_alias, a.to_string());
    second.lifecycle.set_alias(grant(kms::change_alias, b.to_string()), &from, "name");
    second.lifecycle.rotate(grant(kms::rotate_key, a.to_string()), a);
    first.follower.follow();
    EXPECT_EQ(first.catalogue.snapshot()->find_alias("name")->id, b);
    EXPECT_TRUE(first.catalogue.snapshot()->find(a)->aliases.empty());
    EXPECT_EQ(wrap(first, a).key_version, 2U);
}

TEST_F(FollowerTest, TwoNodesNeverHandOutTheSameNumbers) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    const auto key = create(first);
    second.follower.follow();
    for (int i = 0; i < 3; ++i) {
        wrap(first, key);
        wrap(second, key);
    }
    EXPECT_EQ(real_store_.find(key)->primary().wraps_reserved, 2 * kms::wrap_block);
    first.usage.report();
    second.usage.report();
    EXPECT_EQ(real_store_.find(key)->primary().wraps_used, 6U);
}

TEST_F(FollowerTest, WhoseTurnItIsToRotateIsDecidedOnce) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    kms::NewKey wanted;
    wanted.rotation_period_days = 1;
    const auto key = first.lifecycle.create(grant(kms::create_key, "*"), wanted).key->id;
    second.follower.follow();
    clock_.advance(std::chrono::hours(24));
    EXPECT_TRUE(first.lifecycle.rotate_if_due(key, {}));
    EXPECT_FALSE(second.lifecycle.rotate_if_due(key, {}));
    EXPECT_EQ(real_store_.find(key)->primary_version, 2U);
}

TEST_F(FollowerTest, WhatIsDueAtTwoNodesAtOnceIsRotatedOnce) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    kms::NewKey wanted;
    wanted.rotation_period_days = 1;
    const auto key = first.lifecycle.create(grant(kms::create_key, "*"), wanted).key->id;
    for (std::uint32_t round = 1; round <= 10; ++round) {
        second.follower.follow();
        first.follower.follow();
        clock_.advance(std::chrono::hours(24));
        std::atomic<int> rotated{0};
        at_once([&] { rotated += first.lifecycle.rotate_if_due(key, {}) ? 1 : 0; },
                [&] { rotated += second.lifecycle.rotate_if_due(key, {}) ? 1 : 0; });
        EXPECT_EQ(rotated, 1);
        const auto stored = *real_store_.find(key);
        EXPECT_EQ(stored.primary_version, round + 1);
        ASSERT_EQ(stored.versions.size(), round + 1);
        EXPECT_EQ(stored.primary().state, kms::KeyState::enabled);
    }
}

TEST_F(FollowerTest, ADeletionIsEitherCancelledAtOneNodeOrDoneAtTheOther) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    for (int round = 0; round < 20; ++round) {
        const auto key = create(first);
        first.lifecycle.schedule_deletion(grant(kms::schedule_key_deletion, key.to_string()), key,
                                          7);
        second.follower.follow();
        clock_.advance(std::chrono::hours(7 * 24));
        bool was_cancelled = false;
        bool was_destroyed = false;
        const auto cancel = grant(kms::cancel_key_deletion, key.to_string());
        at_once(
            [&] {
                try {
                    first.lifecycle.cancel_deletion(cancel, key);
                    was_cancelled = true;
                } catch (const base::Error& error) {
                    EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition) << error.what();
                }
            },
            [&] { was_destroyed = second.lifecycle.destroy_if_due(key, {}); });
        EXPECT_NE(was_cancelled, was_destroyed);
        const auto stored = *real_store_.find(key);
        EXPECT_EQ(stored.state, was_destroyed ? kms::KeyState::destroyed : kms::KeyState::disabled);
        EXPECT_EQ(token_.find_key(stored.primary().token_key_id).has_value(), was_cancelled);
    }
}

TEST_F(FollowerTest, ADeletionThatIsCancelledElsewhereBeforeItBeganIsNotDone) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    const auto key = create(first);
    first.lifecycle.schedule_deletion(grant(kms::schedule_key_deletion, key.to_string()), key, 7);
    second.follower.follow();
    clock_.advance(std::chrono::hours(7 * 24));
    EXPECT_FALSE(second.lifecycle.destroy_if_due(key, [&](const auto&) {
        first.lifecycle.cancel_deletion(grant(kms::cancel_key_deletion, key.to_string()), key);
    }));
    EXPECT_EQ(real_store_.find(key)->state, kms::KeyState::disabled);
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
}

// From the counter of the node that wraps, over the store and the follower, to the other node's
// schedule.
TEST_F(FollowerTest, AVersionThatReaches2To30WrapsIsRotatedByTheNodeThatSeesIt) {
    Node first(real_store_, token_, clock_, log_);
    Node second(real_store_, token_, clock_, log_);
    server::AuditConfig config;
    config.directory = folder_ / "audit";
    config.daemon = "kmsd";
    config.node = "second";
    config.bound = std::chrono::minutes(1);  // a busy disk is no reason to refuse
    server::AuditLog audit(config, clock_, log_);
    const auto run_schedule = [&] {
        kms::Schedule schedule(
            {second.lifecycle, second.catalogue, second.store, second.usage, audit, clock_, log_});
        schedule.run_due();
    };
    const auto key = create(second);
    first.follower.follow();
    const auto reserved = real_store_.find(key)->primary().wraps_reserved;
    real_store_.reserve_wraps(key, 1, kms::wraps_before_rotation - kms::wrap_block - reserved);
    second.follower.follow();
    run_schedule();
    EXPECT_EQ(real_store_.find(key)->primary_version, 1U);
    EXPECT_EQ(wrap(first, key).key_version, 1U);  // its first of a block of its own
    EXPECT_EQ(real_store_.find(key)->primary().wraps_reserved, kms::wraps_before_rotation);
    second.follower.follow();
    run_schedule();
    EXPECT_EQ(real_store_.find(key)->primary_version, 2U);
    first.follower.follow();
    EXPECT_EQ(wrap(first, key).key_version, 2U);
}

TEST_F(FollowerTest, ANodeWaitsForTheOneThatMakesAKeyAndOutlivesADeadOne) {
    Node node(real_store_, token_, clock_, log_);
    const auto now = clock_.now();
    ASSERT_TRUE(real_store_.take_lock("another node", now, now + kms::making_lease));
    std::thread release([&] { real_store_.release_lock("another node"); });
    EXPECT_NO_THROW(create(node));
    release.join();
    // One that never comes back: its lease ends.
    ASSERT_TRUE(real_store_.take_lock("a dead node", now, now + kms::making_lease));
    clock_.advance(kms::making_lease);
    EXPECT_NO_THROW(create(node));
}

}  // namespace
}  // namespace tests
