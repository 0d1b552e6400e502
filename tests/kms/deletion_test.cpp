// The end of a key: scheduled, cancelled, done; and compromised keys.
#include "kms/known_answer.h"
#include "tests/kms/lifecycle_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

TEST_F(LifecycleTest, ADeletionIsCancellableToTheLastMomentAndGivesADisabledKey) {
    const auto rig = start();
    const auto key = rig->create_key("a");
    const auto wrapped = rig->create_data_keys(key->id).keys[0].wrapped;
    EXPECT_ERROR(invalid_argument, rig->schedule_deletion(key->id, 6));
    EXPECT_ERROR(invalid_argument, rig->schedule_deletion(key->id, 31));
    const auto scheduled = rig->schedule_deletion(key->id, 7);
    EXPECT_EQ(scheduled->state, KeyState::pending_deletion);
    EXPECT_EQ(scheduled->deletion_at, rig->clock.now() + 7 * day);
    EXPECT_ERROR_SAYING(failed_precondition, "pending_deletion", rig->unwrap(wrapped));
    rig->clock.advance(7 * day - milliseconds(1));
    EXPECT_FALSE(rig->lifecycle.destroy_if_due(key->id, {}));
    rig->clock.advance(milliseconds(1));  // due, but not begun
    const auto kept = rig->cancel_deletion(key->id);
    EXPECT_EQ(kept->state, KeyState::disabled);
    EXPECT_FALSE(kept->deletion_at);
    EXPECT_FALSE(rig->lifecycle.destroy_if_due(key->id, {}));
    rig->enable(key->id);
    EXPECT_NO_THROW(rig->unwrap(wrapped));
}

TEST_F(LifecycleTest, DestroyingTakesAllVersionsFromTheTokenAndLeavesATombstone) {
    const auto rig = start();
    const auto key = rig->create_key("a");
    const auto wrapped = rig->create_data_keys(key->id).keys[0].wrapped;
    rig->rotate(key->id);
    const auto other = rig->create_key();
    rig->schedule_deletion(key->id, 7);
    rig->clock.advance(7 * day);
    EXPECT_TRUE(rig->lifecycle.destroy_if_due(key->id, {}));
    EXPECT_FALSE(rig->lifecycle.destroy_if_due(key->id, {}));
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
    const auto described = rig->describe(key->id);
    EXPECT_EQ(described.key->state, KeyState::destroyed);
    EXPECT_EQ(described.key->destroyed_at, rig->clock.now());
    EXPECT_NE(described.tombstone.find("\"proven_absent\":true"), std::string::npos);
    EXPECT_NE(described.tombstone.find("\"deletion_ordered_by\":\"root\""), std::string::npos)
        << described.tombstone;
    EXPECT_NE(described.tombstone.find(key->primary().token_key_id.to_string()), std::string::npos);
    for (const auto& version : described.key->versions) {
        EXPECT_EQ(version.state, KeyState::destroyed);
        EXPECT_TRUE(version.destroyed_at);
    }
    EXPECT_ERROR_SAYING(failed_precondition, "destroyed", rig->unwrap(wrapped));
    EXPECT_ERROR(failed_precondition, rig->cancel_deletion(key->id));
    EXPECT_EQ(rig->create_key("a")->aliases, std::vector<std::string>{"a"});
    EXPECT_TRUE(rig->describe(other->id).tombstone.empty());
}

TEST_F(LifecycleTest, WhatTheTokenStillHasIsNotDestroyedWhateverItSaid) {
    const auto rig = start();
    const auto key = rig->create_key("a");
    rig->rotate(key->id);
    rig->schedule_deletion(key->id, 7);
    rig->clock.advance(7 * day);
    token_.keeps_the_destroyed = true;
    EXPECT_ERROR_SAYING(unavailable, "still has a key", rig->lifecycle.destroy_if_due(key->id, {}));
    EXPECT_EQ(rig->store.find(key->id)->state, KeyState::pending_deletion);
    EXPECT_EQ(rig->describe(key->id).tombstone, "");
    EXPECT_EQ(token_.list_keys(nullptr).size(), 2U);
    token_.keeps_the_destroyed = false;
    EXPECT_TRUE(rig->lifecycle.destroy_if_due(key->id, {}));
    EXPECT_TRUE(token_.list_keys(nullptr).empty());
    EXPECT_NE(rig->describe(key->id).tombstone, "");
}

TEST_F(LifecycleTest, ADestructionThatIsCutShortGoesOnAndCantBeCancelled) {
    base::Uuid id;
    {
        const auto rig = start();
        const auto key = rig->create_key();
        id = key->id;
        rig->rotate(id);
        rig->schedule_deletion(id, 7);
        rig->clock.advance(7 * day);
        // As a crash leaves it between the first version and the second.
        kms::Key record = *rig->store.find(id);
        record.destruction_begun = true;
        ASSERT_TRUE(rig->store.update(record));
        token_.destroy_key(key->primary().token_key_id);
        EXPECT_ERROR_SAYING(failed_precondition, "begun", rig->cancel_deletion(id));
        EXPECT_ERROR_SAYING(failed_precondition, "pending_deletion before that",
                            rig->cancel_deletion(id));
    }
    const auto rig = start();
    EXPECT_TRUE(rig->reconciled.unproven.empty());
    rig->clock.advance(7 * day);
    EXPECT_TRUE(rig->lifecycle.destroy_if_due(id, {}));
    EXPECT_TRUE(token_.list_keys(nullptr).empty());
    EXPECT_EQ(rig->store.find(id)->state, KeyState::destroyed);
}

TEST_F(LifecycleTest, AnotherKeyUnderTheIdIsNotDestroyed) {
    const auto rig = start();
    const auto key = rig->create_key();
    rig->schedule_deletion(key->id, 7);
    rig->clock.advance(7 * day);
    token_.replace_key(key->primary().token_key_id);
    EXPECT_ERROR(failed_precondition, rig->lifecycle.destroy_if_due(key->id, {}));
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
    EXPECT_EQ(rig->store.find(key->id)->state, KeyState::pending_deletion);
}

// A real token refuses to use what it is not held to: that must not hide the reason.
TEST(SoftHsmDeletion, AnotherKeyUnderTheIdIsNotDestroyedAndSaysWhy) {
    const TemporaryDirectory folder;
    const SoftHsmToken fixture;
    base::Log log("kmsd", base::LogLevel::error);
    const auto token = hsm::open_token(fixture.config(), fixture.pin(), log);
    LifecycleRig rig(*token, folder.path());
    const auto key = rig.create_key();
    const hsm::KeyId token_key = key->primary().token_key_id;
    rig.schedule_deletion(key->id, 7);
    rig.clock.advance(7 * day);
    token->destroy_key(token_key);
    token->generate_aes_key(token_key, "", hsm::KeyProfile::sealed);
    EXPECT_EQ(kms::hold_to_known_answer(*token, *key, key->primary()), kms::KeyProof::different);
    EXPECT_ERROR_SAYING(failed_precondition, "another key under the id",
                        rig.lifecycle.destroy_if_due(key->id, {}));
    EXPECT_TRUE(token->find_key(token_key));
}

TEST_F(LifecycleTest, CompromisedIsForGoodAlsoThroughADeletion) {
    const auto rig = start();
    const auto key = rig->create_key();
    EXPECT_EQ(rig->mark_compromised(key->id)->state, KeyState::compromised);
    EXPECT_EQ(rig->mark_compromised(key->id)->revision, 2U);
    EXPECT_ERROR(failed_precondition, rig->enable(key->id));
    EXPECT_ERROR(failed_precondition, rig->rotate(key->id));
    rig->schedule_deletion(key->id);
    EXPECT_EQ(rig->cancel_deletion(key->id)->state, KeyState::compromised);
    // Marked while it is to be deleted: it stays so, and is compromised afterwards.
    const auto late = rig->create_key();
    rig->schedule_deletion(late->id);
    const auto marked = rig->mark_compromised(late->id);
    EXPECT_EQ(marked->state, KeyState::pending_deletion);
    EXPECT_TRUE(marked->compromised_at);
    EXPECT_EQ(rig->cancel_deletion(late->id)->state, KeyState::compromised);
}

}  // namespace
}  // namespace tests
