#include "kms/follower.h"

#include <gtest/gtest.h>

#include "kms/lifecycle.h"
#include "kms/making_lock.h"
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
