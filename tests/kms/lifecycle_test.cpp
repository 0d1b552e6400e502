#include "kms/lifecycle.h"

#include <gtest/gtest.h>

#include <thread>

#include "kms/schedule.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using kms::KeyState;
using std::chrono::hours;
using std::chrono::milliseconds;

constexpr hours day{24};

// A caller with every right, and the shortest way to each order.
class LifecycleRig : public KeyServiceRig {
public:
    using KeyServiceRig::KeyServiceRig;

    server::Grant grant_for(server::Action action, const base::Uuid& id) {
        return grant(root_, action, id.to_string());
    }
    kms::KeyPointer create(const kms::NewKey& wanted, const kms::OrderContext& order = {}) {
        return lifecycle.create(grant(root_, kms::create_key, "*"), wanted, order).key;
    }
    kms::KeyPointer rotate(const base::Uuid& id, std::optional<std::uint32_t> if_primary = {},
                           const kms::OrderContext& order = {}) {
        return lifecycle.rotate(grant_for(kms::rotate_key, id), id, if_primary, order);
    }
    kms::KeyPointer enable(const base::Uuid& id) {
        return lifecycle.enable(grant_for(kms::enable_key, id), id);
    }
    kms::KeyPointer disable(const base::Uuid& id) {
        return lifecycle.disable(grant_for(kms::disable_key, id), id);
    }
    kms::KeyPointer schedule_deletion(const base::Uuid& id, int days = 30) {
        return lifecycle.schedule_deletion(grant_for(kms::schedule_key_deletion, id), id, days);
    }
    kms::KeyPointer cancel_deletion(const base::Uuid& id) {
        return lifecycle.cancel_deletion(grant_for(kms::cancel_key_deletion, id), id);
    }
    kms::KeyPointer mark_compromised(const base::Uuid& id) {
        return lifecycle.mark_compromised(grant_for(kms::mark_key_compromised, id), id);
    }
    kms::KeyPointer change(const base::Uuid& id, const kms::KeyChange& wanted) {
        const auto tagging = grant_for(kms::tag_key, id);
        return lifecycle.change(grant_for(kms::change_key, id), wanted.tags ? &tagging : nullptr,
                                id, wanted);
    }
    kms::KeyPointer set_alias(const std::string& alias, const base::Uuid& to,
                              const base::Uuid& from = {}) {
        const auto grant_to = grant_for(kms::change_alias, to);
        if (from.is_nil()) return lifecycle.set_alias(grant_to, nullptr, alias);
        const auto grant_from = grant_for(kms::change_alias, from);
        return lifecycle.set_alias(grant_to, &grant_from, alias);
    }
    kms::KeyDescription describe(const base::Uuid& id) {
        return lifecycle.describe(grant_for(kms::describe_key, id), id);
    }

private:
    server::Operation root_ = operation_of("root");
};

class LifecycleTest : public testing::Test {
protected:
    std::unique_ptr<LifecycleRig> start() {
        return std::make_unique<LifecycleRig>(token_, folder_.path());
    }
    static std::size_t enabled_versions(const kms::Key& key) {
        std::size_t count = 0;
        for (const auto& version : key.versions) {
            if (version.state == KeyState::enabled) ++count;
        }
        return count;
    }

    TemporaryDirectory folder_;
    FakeToken token_;
};

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

TEST_F(LifecycleTest, TheIntentStandsBeforeTheTokenIsAskedAndWithoutItNothingIs) {
    const auto rig = start();
    std::vector<std::size_t> keys_at_intent;
    const kms::RecordIntent note = [&](const std::map<std::string, std::string>& facts) {
        EXPECT_EQ(facts.count("key_id"), 1U);
        keys_at_intent.push_back(token_.list_keys(nullptr).size());
    };
    const kms::RecordIntent fail = [](const auto&) {
        throw base::Error(base::ErrorCode::unavailable, "the audit log can't be written");
    };
    const auto key = rig->create({}, {"", note});
    rig->rotate(key->id, {}, {"", note});
    EXPECT_ERROR(unavailable, rig->create({}, {"", fail}));
    EXPECT_ERROR(unavailable, rig->rotate(key->id, {}, {"", fail}));
    rig->schedule_deletion(key->id, 7);
    rig->clock.advance(7 * day);
    EXPECT_ERROR(unavailable, rig->lifecycle.destroy_if_due(key->id, fail));
    EXPECT_EQ(token_.list_keys(nullptr).size(), 2U);
    EXPECT_EQ(rig->store.load().size(), 1U);
    EXPECT_EQ(rig->store.find(key->id)->versions.size(), 2U);
    EXPECT_TRUE(rig->lifecycle.destroy_if_due(key->id, note));
    EXPECT_EQ(keys_at_intent, (std::vector<std::size_t>{0, 1, 2}));
    EXPECT_TRUE(token_.list_keys(nullptr).empty());
}

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

TEST_F(LifecycleTest, AChangeIsForTheRevisionThatTheCallerHasSeen) {
    const auto rig = start();
    const auto key = rig->create_key();
    kms::KeyChange wanted;
    wanted.if_revision = 1;
    wanted.description = "new";
    wanted.tags = std::map<std::string, std::string>{{"team", "ads"}};
    wanted.rotation_period_days = std::optional<int>(30);
    kms::ContextRule rule;
    rule.required = {"tenant"};
    wanted.context_rule = rule;
    const auto changed = rig->change(key->id, wanted);
    EXPECT_EQ(changed->revision, 2U);
    EXPECT_EQ(changed->description, "new");
    EXPECT_EQ(changed->tags.at("team"), "ads");
    EXPECT_EQ(changed->next_rotation_at, rig->clock.now() + 30 * day);
    EXPECT_EQ(changed->context_rule, rule);
    EXPECT_ERROR_SAYING(failed_precondition, "revision 2", rig->change(key->id, wanted));
    kms::KeyChange off;
    off.if_revision = 2;
    off.rotation_period_days = std::optional<int>();
    const auto without = rig->change(key->id, off);
    EXPECT_FALSE(without->rotation_period_days);
    EXPECT_FALSE(without->next_rotation_at);
    EXPECT_EQ(without->description, "new");
    // It is in the store, not only in memory.
    EXPECT_EQ(rig->store.find(key->id)->context_rule, rule);
}

TEST_F(LifecycleTest, TheContextRuleIsHonouredFromTheAnswerOn) {
    const auto rig = start();
    const auto key = rig->create_key();
    kms::KeyChange wanted;
    wanted.if_revision = 1;
    kms::ContextRule rule;
    rule.required = {"tenant"};
    rule.allow_others = false;
    wanted.context_rule = rule;
    rig->change(key->id, wanted);
    EXPECT_ERROR_SAYING(invalid_argument, "tenant", rig->create_data_keys(key->id));
    EXPECT_ERROR_SAYING(invalid_argument, "extra",
                        rig->create_data_keys(key->id, {{"tenant", "t"}, {"extra", "x"}}));
    EXPECT_NO_THROW(rig->create_data_keys(key->id, {{"tenant", "t"}}));
}

TEST_F(LifecycleTest, OnlyKeysForEncryptionRotateByThemselvesAndHaveContextRules) {
    const auto rig = start();
    kms::NewKey wanted;
    wanted.kind = hsm::KeyKind::ecdsa_p256;
    wanted.rotation_period_days = 1;
    EXPECT_ERROR(invalid_argument, rig->create(wanted));
    wanted.rotation_period_days.reset();
    wanted.context_rule.allow_others = false;
    EXPECT_ERROR(invalid_argument, rig->create(wanted));
    wanted.context_rule = {};
    wanted.profile = hsm::KeyProfile::restorable;
    EXPECT_ERROR(invalid_argument, rig->create(wanted));
    wanted.profile = hsm::KeyProfile::sealed;
    const auto key = rig->create(wanted);
    EXPECT_EQ(key->use(), kms::KeyUse::sign);
    EXPECT_EQ(rig->rotate(key->id)->primary_version, 2U);
    kms::KeyChange change;
    change.if_revision = 2;
    change.rotation_period_days = std::optional<int>(5);
    EXPECT_ERROR(invalid_argument, rig->change(key->id, change));
    EXPECT_TRUE(token_.list_keys(nullptr).size() == 2U);
}

TEST_F(LifecycleTest, AnAliasMovesInOneStepAndOnlyFromWhereItIs) {
    const auto rig = start();
    const auto first = rig->create_key("a");
    const auto second = rig->create_key();
    EXPECT_ERROR(failed_precondition, rig->set_alias("a", second->id));
    EXPECT_ERROR(failed_precondition, rig->set_alias("free", first->id, second->id));
    rig->set_alias("a", second->id, first->id);
    EXPECT_EQ(rig->catalogue.snapshot()->find_alias("a")->id, second->id);
    EXPECT_TRUE(rig->catalogue.snapshot()->find(first->id)->aliases.empty());
    rig->set_alias("b", second->id);
    EXPECT_EQ(rig->store.find(second->id)->aliases, (std::vector<std::string>{"a", "b"}));
    rig->lifecycle.remove_alias(rig->grant_for(kms::change_alias, second->id), "a");
    EXPECT_EQ(rig->catalogue.snapshot()->find_alias("a"), nullptr);
    EXPECT_EQ(rig->catalogue.snapshot()->find_alias("b")->id, second->id);
    EXPECT_ERROR(failed_precondition,
                 rig->lifecycle.remove_alias(rig->grant_for(kms::change_alias, second->id), "a"));
}

TEST_F(LifecycleTest, TheFiguresOfUseAreShownAndOutliveARestart) {
    base::Uuid id;
    {
        const auto rig = start();
        id = rig->create_key()->id;
        rig->create_data_keys(id, {}, {32, 7, false});
        EXPECT_EQ(rig->describe(id).key->primary().wraps_used, 7U);
        EXPECT_TRUE(rig->describe(id).key->primary().last_used_at);
        rig->usage.report();
    }
    const auto rig = start();
    EXPECT_EQ(rig->describe(id).key->primary().wraps_used, 7U);
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
