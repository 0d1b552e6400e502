#include "kms/usage.h"

#include <gtest/gtest.h>

#include <thread>

#include "kms/sql_store.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace tests {
namespace {

class Usage : public testing::Test {
protected:
    Usage() {
        key_.id = base::Uuid::random();
        key_.versions.emplace_back();
        key_.versions[0].version = 1;
        key_.versions[0].token_key_id = base::Uuid::random();
        store_.add_pending_key(key_);
    }
    kms::KeyVersion stored() { return store_.find(key_.id)->versions.at(0); }
    kms::UsageFigures figures() { return usage_.figures(key_.id, key_.versions[0]); }

    TemporaryDirectory folder_;
    FakeClock clock_;
    OwnSqlite<kms::SqlStore> store_{folder_ / "kms.db"};
    kms::UsageCounter usage_{store_, clock_};
    kms::Key key_;
};

TEST_F(Usage, WhatWasNotedIsShownAtOnceAndStoredWithTheReport) {
    usage_.note(key_.id, 1, {10, 0});
    clock_.advance(std::chrono::seconds(5));
    usage_.note(key_.id, 1, {0, 4});
    EXPECT_EQ(figures().wraps_used, 10U);
    EXPECT_EQ(figures().rewrapped_away, 4U);
    EXPECT_EQ(figures().last_used_at, clock_.now());
    EXPECT_EQ(stored().wraps_used, 0U);
    usage_.report();
    EXPECT_EQ(stored().wraps_used, 10U);
    EXPECT_EQ(stored().rewrapped_away, 4U);
    EXPECT_EQ(stored().last_used_at, clock_.now());
    EXPECT_EQ(figures().wraps_used, 10U);
    // Neither the version as it was loaded before nor one that was loaded since counts anything
    // twice.
    EXPECT_EQ(usage_.figures(key_.id, stored()).wraps_used, 10U);
    usage_.report();
    EXPECT_EQ(stored().wraps_used, 10U);
}

TEST_F(Usage, AUseWithoutAnEncryptionMovesTheDateOnly) {
    usage_.note(key_.id, 1);
    usage_.report();
    EXPECT_EQ(stored().wraps_used, 0U);
    EXPECT_EQ(stored().last_used_at, clock_.now());
    clock_.advance(std::chrono::seconds(1));
    usage_.note(key_.id, 1);
    usage_.report();
    EXPECT_EQ(stored().last_used_at, clock_.now());
}

TEST_F(Usage, TwoNodesAddUp) {
    kms::UsageCounter second(store_, clock_);
    usage_.note(key_.id, 1, {3, 1});
    second.note(key_.id, 1, {4, 1});
    usage_.report();
    second.report();
    EXPECT_EQ(stored().wraps_used, 7U);
    EXPECT_EQ(second.figures(key_.id, key_.versions[0]).wraps_used, 7U);
    usage_.note(key_.id, 1, {1, 0});
    usage_.report();
    EXPECT_EQ(figures().wraps_used, 8U);
    EXPECT_EQ(figures().rewrapped_away, 2U);
}

TEST_F(Usage, NotesFromManyThreadsAreAllCounted) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < 1000; ++n) {
                usage_.note(key_.id, 1, {1, 0});
                if (n % 250 == 0) usage_.report();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    usage_.report();
    EXPECT_EQ(stored().wraps_used, 4000U);
    EXPECT_EQ(figures().wraps_used, 4000U);
}

TEST_F(Usage, NumbersAreNeverGivenTwiceToTwoNodes) {
    kms::UsageCounter second(store_, clock_);
    usage_.take(key_.id, 1, 1);
    second.take(key_.id, 1, 1);
    EXPECT_EQ(stored().wraps_reserved, 2 * kms::wrap_block);
    store_.reserve_wraps(key_.id, 1, kms::max_wraps_per_version);
    // Each has what is left of its own block, exactly.
    usage_.take(key_.id, 1, kms::wrap_block - 1);
    second.take(key_.id, 1, kms::wrap_block - 1);
    EXPECT_ERROR(failed_precondition, usage_.take(key_.id, 1, 1));
    EXPECT_ERROR(failed_precondition, second.take(key_.id, 1, 1));
}

}  // namespace
}  // namespace tests
