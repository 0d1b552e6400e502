// What goes for all orders in the life of a key, and changes of its record.
#include "tests/kms/lifecycle_rig.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

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

}  // namespace
}  // namespace tests
