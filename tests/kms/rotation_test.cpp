// Versions: made by order and by time, and what a death in the middle leaves.
#include <thread>

#include "tests/kms/lifecycle_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

TEST_F(LifecycleTest, ARotationMakesTheNextVersionPrimaryAndAllStillOpen) {
    const auto rig = start();
    const auto key = rig->create_key("a");
    std::vector<base::Bytes> wrapped;
    for (std::uint32_t version = 1; version <= 4; ++version) {
        const auto fresh = rig->create_data_keys(key->id);
        EXPECT_EQ(fresh.key_version, version);
        wrapped.push_back(fresh.keys[0].wrapped);
        const auto rotated = rig->rotate(key->id);
        EXPECT_EQ(rotated->primary_version, version + 1);
        EXPECT_EQ(rotated->revision, version + 1);
        EXPECT_EQ(enabled_versions(*rotated), version + 1);
    }
    for (const auto& each : wrapped) EXPECT_NO_THROW(rig->unwrap(each));
    EXPECT_EQ(rig->store.find(key->id)->primary_version, 5U);
}

TEST_F(LifecycleTest, ARotationForAnotherPrimaryVersionIsRefused) {
    const auto rig = start();
    const auto key = rig->create_key();
    EXPECT_EQ(rig->rotate(key->id, 1)->primary_version, 2U);
    EXPECT_ERROR_SAYING(failed_precondition, "2", rig->rotate(key->id, 1));
    EXPECT_EQ(rig->store.find(key->id)->versions.size(), 2U);
}

TEST_F(LifecycleTest, ARotationThatMadeTheKeyButDiedIsFinishedByTheRetry) {
    const auto rig = start();
    const auto key = rig->create_key();
    token_.dies_after_generate = true;
    EXPECT_ERROR(unavailable, rig->rotate(key->id));
    EXPECT_EQ(rig->store.find(key->id)->primary_version, 1U);
    EXPECT_NO_THROW(rig->create_data_keys(key->id));
    token_.dies_after_generate = false;
    const auto rotated = rig->rotate(key->id);
    EXPECT_EQ(rotated->primary_version, 2U);
    EXPECT_EQ(rotated->versions.size(), 2U);
    EXPECT_EQ(token_.list_keys(nullptr).size(), 2U);
}

TEST_F(LifecycleTest, ARotationThatMadeNothingIsGivenUpAndItsNumberNotUsedAgain) {
    const auto rig = start();
    const auto key = rig->create_key();
    token_.fails_to_generate = true;
    EXPECT_ERROR(unavailable, rig->rotate(key->id));
    token_.fails_to_generate = false;
    const auto rotated = rig->rotate(key->id);
    EXPECT_EQ(rotated->primary_version, 3U);
    EXPECT_EQ(rotated->versions.at(1).state, KeyState::destroyed);
    EXPECT_EQ(enabled_versions(*rotated), 2U);
    const auto described = rig->describe(key->id);
    EXPECT_EQ(described.tombstone, "") << "the key is in service";
    ASSERT_EQ(described.version_tombstones.size(), 1U);
    const std::string& tombstone = described.version_tombstones.at(2);
    EXPECT_NE(tombstone.find(R"("given_up_in_making":"the token has no such key")"),
              std::string::npos)
        << tombstone;
    EXPECT_NE(tombstone.find("\"proven_absent\":true"), std::string::npos) << tombstone;
    EXPECT_NE(tombstone.find(rotated->versions.at(1).token_key_id.to_string()), std::string::npos);
}

TEST_F(LifecycleTest, WhatCantBeWrittenDownIsNotGivenUp) {
    const auto rig = start();
    const auto key = rig->create_key();
    token_.fails_to_generate = true;
    EXPECT_ERROR(unavailable, rig->rotate(key->id));
    token_.fails_to_generate = false;
    kms::UsageCounter usage(rig->store, rig->clock);
    std::vector<kms::GivenUp> seen;
    bool fails = true;
    const auto settle = [&] {
        return kms::reconcile(rig->store, token_, usage, rig->clock, rig->log, {},
                              [&](const kms::GivenUp& given_up) {
                                  if (fails) {
                                      throw base::Error(base::ErrorCode::unavailable,
                                                        "the audit log can't be written");
                                  }
                                  seen.push_back(given_up);
                              });
    };
    EXPECT_ERROR(unavailable, settle());
    EXPECT_EQ(rig->store.find(key->id)->versions.at(1).state, KeyState::pending);
    EXPECT_TRUE(rig->store.version_tombstones(key->id).empty());
    fails = false;
    EXPECT_EQ(settle().abandoned, 1U);
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_EQ(seen[0].name.key_id, key->id);
    EXPECT_EQ(seen[0].name.version, 2U);
    EXPECT_EQ(seen[0].why, "the token has no such key");
    EXPECT_EQ(rig->store.version_tombstones(key->id).size(), 1U);
}

TEST_F(LifecycleTest, AfterACrashInTheMiddleThereIsExactlyOnePrimary) {
    for (const bool made : {true, false}) {
        base::Uuid id;
        {
            const auto rig = start();
            id = rig->create_key()->id;
            (made ? token_.dies_after_generate : token_.fails_to_generate) = true;
            EXPECT_ERROR(unavailable, rig->rotate(id));
            token_.dies_after_generate = token_.fails_to_generate = false;
        }
        const auto rig = start();
        const auto key = rig->catalogue.snapshot()->find(id);
        EXPECT_EQ(key->primary_version, made ? 2U : 1U);
        EXPECT_EQ(enabled_versions(*key), made ? 2U : 1U);
        EXPECT_EQ(rig->reconciled.finished, made ? 1U : 0U);
        EXPECT_EQ(rig->reconciled.abandoned, made ? 0U : 1U);
        EXPECT_EQ(rig->reconciled.unknown_objects, 0U);
        EXPECT_NO_THROW(rig->create_data_keys(id));
    }
}

TEST_F(LifecycleTest, AVersionThatCantBeProvenNowStandsInTheWayAndTheOldOneWorksOn) {
    const auto rig = start();
    const auto key = rig->create_key();
    token_.dies_after_generate = true;
    EXPECT_ERROR(unavailable, rig->rotate(key->id));
    token_.dies_after_generate = false;
    token_.fails_to_be_durable = true;
    EXPECT_ERROR(unavailable, rig->rotate(key->id));
    EXPECT_EQ(rig->create_data_keys(key->id).key_version, 1U);
    token_.fails_to_be_durable = false;
    EXPECT_EQ(rig->rotate(key->id)->primary_version, 2U);
}

// Version 2 of a key was made, and then its maker died: what is wrong with it comes to light at the
// next rotation.
class SpoiltVersionTest : public LifecycleTest {
protected:
    SpoiltVersionTest() : rig_(start()), id_(rig_->create_key()->id) {
        token_.dies_after_generate = true;
        EXPECT_ERROR(unavailable, rig_->rotate(id_));
        token_.dies_after_generate = false;
        object_ = rig_->store.find(id_)->versions.at(1).token_key_id;
    }
    void expect_in_nobodys_way() {
        const auto rotated = rig_->rotate(id_);
        EXPECT_EQ(rotated->primary_version, 3U);
        EXPECT_EQ(rotated->versions.at(1).state, KeyState::destroyed);
        EXPECT_NO_THROW(rig_->create_data_keys(id_));
        EXPECT_TRUE(token_.find_key(object_)) << "a rotation deletes nothing";
        rig_->schedule_deletion(id_);
        rig_->clock.advance(30 * day);
        EXPECT_TRUE(rig_->lifecycle.destroy_if_due(id_, {}));
        EXPECT_TRUE(token_.list_keys(nullptr).empty());
    }
    std::unique_ptr<LifecycleRig> rig_;
    base::Uuid id_;
    hsm::KeyId object_;
};

TEST_F(SpoiltVersionTest, OneWhoseMakingWasCutShortWithinTheTokenStandsInNobodysWay) {
    token_.attributes(object_).local = false;
    expect_in_nobodys_way();
}

TEST_F(SpoiltVersionTest, OneThatIsNotAsOrderedStandsInNobodysWay) {
    token_.attributes(object_).extractable = true;
    expect_in_nobodys_way();
}

TEST_F(SpoiltVersionTest, OneThatASecondProcessDoesNotFindStandsInNobodysWay) {
    token_.not_durable = object_;
    expect_in_nobodys_way();
}

TEST_F(SpoiltVersionTest, OneThatDoesNotOpenWhatItHasMadeStandsInNobodysWay) {
    token_.flips_left = 1;
    expect_in_nobodys_way();
}

TEST_F(LifecycleTest, AKeyRotatesByItselfWhenItsPeriodIsOver) {
    const auto rig = start();
    kms::NewKey wanted;
    wanted.rotation_period_days = 10;
    const auto key = rig->create(wanted);
    EXPECT_EQ(key->next_rotation_at, rig->clock.now() + 10 * day);
    rig->clock.advance(10 * day - milliseconds(1));
    EXPECT_FALSE(rig->lifecycle.rotate_if_due(key->id, {}));
    rig->clock.advance(milliseconds(1));
    EXPECT_TRUE(rig->lifecycle.rotate_if_due(key->id, {}));
    EXPECT_FALSE(rig->lifecycle.rotate_if_due(key->id, {}));
    const auto rotated = rig->catalogue.snapshot()->find(key->id);
    EXPECT_EQ(rotated->primary_version, 2U);
    EXPECT_EQ(rotated->next_rotation_at, rig->clock.now() + 10 * day);
}

TEST_F(LifecycleTest, ADisabledKeyWaitsWithItsRotationUntilItIsEnabled) {
    const auto rig = start();
    kms::NewKey wanted;
    wanted.rotation_period_days = 1;
    const auto key = rig->create(wanted);
    rig->disable(key->id);
    rig->clock.advance(3 * day);
    EXPECT_FALSE(rig->lifecycle.rotate_if_due(key->id, {}));
    rig->enable(key->id);
    EXPECT_TRUE(rig->lifecycle.rotate_if_due(key->id, {}));
}

TEST_F(LifecycleTest, AKeyRotatesByItselfAt2To30Wraps) {
    const auto rig = start();
    const auto key = rig->create_key();
    rig->store.reserve_wraps(key->id, 1, (1ULL << 30U) - kms::wrap_block - 1);
    rig->catalogue.put(*rig->store.find(key->id));
    EXPECT_FALSE(rig->lifecycle.rotate_if_due(key->id, {}));
    rig->store.reserve_wraps(key->id, 1, 1);
    rig->catalogue.put(*rig->store.find(key->id));
    EXPECT_TRUE(rig->lifecycle.rotate_if_due(key->id, {}));
    EXPECT_FALSE(rig->lifecycle.rotate_if_due(key->id, {}));
    EXPECT_EQ(rig->catalogue.snapshot()->find(key->id)->primary_version, 2U);
}

// On the token that can take threads.
TEST(SoftHsmLifecycle, RotationAndWrappingAtOnceLoseNoWrappedKey) {
    TemporaryDirectory folder;
    SoftHsmToken fixture;
    base::Log log{"kmsd", base::LogLevel::error};
    const auto token = hsm::open_token(fixture.config(), fixture.pin(), log);
    LifecycleRig rig(*token, folder.path());
    const base::Uuid key = rig.create_key()->id;
    std::atomic<bool> is_over{false};
    std::mutex mutex;
    std::map<std::uint32_t, std::vector<kms::FreshDataKey>> made;
    std::vector<std::thread> writers;
    for (int i = 0; i < 3; ++i) {
        writers.emplace_back([&] {
            while (!is_over) {
                auto fresh = rig.create_data_keys(key, {}, {32, 2, true});
                const std::lock_guard lock(mutex);
                for (auto& one : fresh.keys) made[fresh.key_version].push_back(std::move(one));
            }
        });
    }
    constexpr std::uint32_t rotations = 8;
    for (std::uint32_t i = 0; i < rotations; ++i) rig.rotate(key);
    is_over = true;
    for (auto& writer : writers) writer.join();
    std::size_t opened = 0;
    for (const auto& [version, keys] : made) {
        for (const auto& one : keys) {
            EXPECT_TRUE(rig.unwrap(one.wrapped).equals(one.plaintext.expose())) << version;
            ++opened;
        }
    }
    EXPECT_GT(opened, 0U);
    EXPECT_EQ(rig.store.find(key)->primary_version, rotations + 1);
    EXPECT_EQ(rig.create_data_keys(key).key_version, rotations + 1);
}

}  // namespace
}  // namespace tests
