// What every kms::Store must hold to, whatever database it is on. A store's test file names a
// factory type with `std::unique_ptr<kms::Store> open()`, which opens the same database each time,
// and instantiates the suite with it. `missing()`, where there is one, says why there is no such
// database here.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "kms/store.h"
#include "kms/usage.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"

namespace tests {

template <typename Factory>
class StoreContract : public testing::Test {
public:
    void SetUp() override {
        if constexpr (requires { Factory::missing(); }) {
            if (!Factory::missing().empty()) GTEST_SKIP() << Factory::missing();
        }
    }
    std::unique_ptr<kms::Store> open() { return factory_.open(); }

    static kms::Key new_key(const std::string& alias = {}) {
        kms::Key key;
        key.id = base::Uuid::random();
        key.profile = hsm::KeyProfile::restorable;
        key.description = "What's \"this\"? \xC3\xA4";
        key.tags = {{"team", "ads"}, {"", "empty name"}};
        key.wanted_alias = alias;
        key.created_at = base::from_milliseconds(1'800'000'000'123);
        kms::KeyVersion version;
        version.version = 1;
        version.token_key_id = base::Uuid::random();
        version.created_at = key.created_at;
        key.versions = {version};
        return key;
    }
    static hsm::Encrypted answer() { return {{1, 2, 3}, base::Bytes(50, 7)}; }
    static kms::Key load_one(kms::Store& store, const base::Uuid& id) {
        for (auto& key : store.load()) {
            if (key.id == id) return key;
        }
        ADD_FAILURE() << "the key is not in the store";
        return {};
    }

private:
    Factory factory_;
};

TYPED_TEST_SUITE_P(StoreContract);

TYPED_TEST_P(StoreContract, StartsEmpty) { EXPECT_TRUE(this->open()->load().empty()); }

TYPED_TEST_P(StoreContract, APendingKeyIsThereAfterReopening) {
    const auto key = this->new_key("credentials");
    this->open()->add_pending_key(key);
    const auto store = this->open();
    const auto loaded = this->load_one(*store, key.id);
    EXPECT_EQ(loaded.state, kms::KeyState::pending);
    EXPECT_EQ(loaded.profile, key.profile);
    EXPECT_EQ(loaded.description, key.description);
    EXPECT_EQ(loaded.tags, key.tags);
    EXPECT_EQ(loaded.wanted_alias, "credentials");
    EXPECT_TRUE(loaded.aliases.empty());
    EXPECT_EQ(loaded.created_at, key.created_at);
    ASSERT_EQ(loaded.versions.size(), 1U);
    EXPECT_EQ(loaded.versions[0].token_key_id, key.versions[0].token_key_id);
    EXPECT_EQ(loaded.versions[0].state, kms::KeyState::pending);
    EXPECT_TRUE(loaded.versions[0].known_answer.ciphertext.empty());
}

TYPED_TEST_P(StoreContract, EnablingGivesStateAliasAndKnownAnswer) {
    const auto key = this->new_key("credentials");
    {
        const auto store = this->open();
        store->add_pending_key(key);
        store->enable_key(key.id, this->answer(), "credentials");
    }
    const auto store = this->open();
    const auto loaded = this->load_one(*store, key.id);
    EXPECT_EQ(loaded.state, kms::KeyState::enabled);
    EXPECT_EQ(loaded.wanted_alias, "");
    EXPECT_EQ(loaded.aliases, std::vector<std::string>{"credentials"});
    EXPECT_EQ(loaded.versions.at(0).state, kms::KeyState::enabled);
    EXPECT_EQ(loaded.versions.at(0).known_answer.iv, this->answer().iv);
    EXPECT_EQ(loaded.versions.at(0).known_answer.ciphertext, this->answer().ciphertext);
}

TYPED_TEST_P(StoreContract, SecondKeyWithTheSameIdAlreadyExists) {
    const auto store = this->open();
    auto key = this->new_key();
    store->add_pending_key(key);
    key.versions[0].token_key_id = base::Uuid::random();
    EXPECT_ERROR(already_exists, store->add_pending_key(key));
    EXPECT_EQ(store->load().size(), 1U);
}

TYPED_TEST_P(StoreContract, ATakenAliasChangesNothing) {
    const auto store = this->open();
    const auto first = this->new_key("a");
    const auto second = this->new_key("a");
    store->add_pending_key(first);
    store->add_pending_key(second);
    store->enable_key(first.id, this->answer(), "a");
    EXPECT_ERROR(already_exists, store->enable_key(second.id, this->answer(), "a"));
    const auto loaded = this->load_one(*store, second.id);
    EXPECT_EQ(loaded.state, kms::KeyState::pending);
    EXPECT_EQ(loaded.wanted_alias, "a");
    EXPECT_EQ(loaded.versions.at(0).state, kms::KeyState::pending);
    store->enable_key(second.id, this->answer(), "");
    EXPECT_TRUE(this->load_one(*store, second.id).aliases.empty());
}

TYPED_TEST_P(StoreContract, OnlyAPendingKeyIsEnabledOrAbandoned) {
    const auto store = this->open();
    const auto key = this->new_key();
    EXPECT_ERROR(failed_precondition, store->enable_key(key.id, this->answer(), ""));
    EXPECT_ERROR(failed_precondition,
                 store->abandon_key(key.id, key.created_at, R"({"was":"begun"})"));
    store->add_pending_key(key);
    store->enable_key(key.id, this->answer(), "");
    EXPECT_ERROR(failed_precondition, store->enable_key(key.id, this->answer(), ""));
    EXPECT_ERROR(failed_precondition,
                 store->abandon_key(key.id, key.created_at, R"({"was":"begun"})"));
    EXPECT_EQ(this->load_one(*store, key.id).state, kms::KeyState::enabled);
}

TYPED_TEST_P(StoreContract, AnAbandonedKeyStaysAsDestroyed) {
    const auto store = this->open();
    const auto key = this->new_key("a");
    store->add_pending_key(key);
    store->abandon_key(key.id, key.created_at, R"({"was":"begun"})");
    const auto loaded = this->load_one(*store, key.id);
    EXPECT_EQ(loaded.state, kms::KeyState::destroyed);
    EXPECT_EQ(loaded.versions.at(0).state, kms::KeyState::destroyed);
    EXPECT_EQ(store->tombstone(key.id), R"({"was":"begun"})");
    EXPECT_TRUE(store->version_tombstones(key.id).empty());
}

TYPED_TEST_P(StoreContract, ReservedWrapsAddUpAndSurviveReopening) {
    const auto key = this->new_key();
    {
        const auto store = this->open();
        store->add_pending_key(key);
        EXPECT_EQ(store->reserve_wraps(key.id, 1, 100).granted, 100U);
    }
    const auto store = this->open();
    EXPECT_EQ(store->reserve_wraps(key.id, 1, 11).total, 111U);
    EXPECT_EQ(this->load_one(*store, key.id).versions.at(0).wraps_reserved, 111U);
    EXPECT_ERROR(not_found, store->reserve_wraps(key.id, 2, 1));
    EXPECT_ERROR(not_found, store->reserve_wraps(base::Uuid::random(), 1, 1));
}

TYPED_TEST_P(StoreContract, NoMoreThanIsSafeIsEverReserved) {
    const auto store = this->open();
    const auto key = this->new_key();
    store->add_pending_key(key);
    const std::uint64_t all = kms::max_wraps_per_version;
    static_assert(kms::max_wraps_per_version + kms::kept_back_for_proofs == 1ULL << 32U);
    EXPECT_EQ(store->reserve_wraps(key.id, 1, all - 10).granted, all - 10);
    EXPECT_EQ(store->reserve_wraps(key.id, 1, 65'536).granted, 10U);
    EXPECT_EQ(store->reserve_wraps(key.id, 1, 65'536).granted, 0U);
    EXPECT_EQ(this->load_one(*store, key.id).versions.at(0).wraps_reserved, all);
}

TYPED_TEST_P(StoreContract, TheCounterStopsExactlyAtTheLimit) {
    const auto store = this->open();
    const auto key = this->new_key();
    store->add_pending_key(key);
    store->reserve_wraps(key.id, 1, kms::max_wraps_per_version - 3);
    const FakeClock clock;
    kms::UsageCounter counter(*store, clock);
    counter.take(key.id, 1, 2);
    EXPECT_ERROR(failed_precondition, counter.take(key.id, 1, 2));
    counter.take(key.id, 1, 1);
    EXPECT_ERROR(failed_precondition, counter.take(key.id, 1, 1));
}

TYPED_TEST_P(StoreContract, ACrashLosesTheRestOfABlockAndNeverCountsTooFew) {
    const auto key = this->new_key();
    {
        const auto store = this->open();
        store->add_pending_key(key);
        const FakeClock clock;
        kms::UsageCounter counter(*store, clock);
        for (int i = 0; i < 5; ++i) counter.take(key.id, 1, 1);
        EXPECT_EQ(this->load_one(*store, key.id).versions.at(0).wraps_reserved, kms::wrap_block);
    }
    const auto store = this->open();
    const FakeClock clock;
    kms::UsageCounter counter(*store, clock);
    counter.take(key.id, 1, 1);
    EXPECT_EQ(this->load_one(*store, key.id).versions.at(0).wraps_reserved, 2 * kms::wrap_block);
}

// An enabled key, ready for orders.
template <typename Test>
kms::Key add_enabled(Test& test, kms::Store& store, const std::string& alias = {}) {
    const auto key = test.new_key(alias);
    store.add_pending_key(key);
    store.enable_key(key.id, test.answer(), alias);
    return *store.find(key.id);
}

TYPED_TEST_P(StoreContract, EverythingOfAKeyIsThereAfterReopening) {
    auto key = this->new_key();
    key.kind = hsm::KeyKind::ecdsa_p384;
    key.rotation_period_days = 90;
    key.next_rotation_at = base::from_milliseconds(1'900'000'000'000);
    key.context_rule.required = {"a", "b"};
    key.context_rule.patterns = {{"env", "prod-*"}};
    key.context_rule.allow_others = false;
    key.context_rule.max_bytes = 100;
    {
        const auto store = this->open();
        store->add_pending_key(key);
        store->enable_key(key.id, this->answer(), "");
        auto changed = *store->find(key.id);
        changed.state = kms::KeyState::pending_deletion;
        changed.deletion_at = base::from_milliseconds(1'800'000'000'001);
        changed.compromised_at = base::from_milliseconds(1'800'000'000'002);
        changed.destruction_begun = true;
        EXPECT_TRUE(store->update(changed));
    }
    const auto store = this->open();
    const auto loaded = this->load_one(*store, key.id);
    EXPECT_EQ(loaded.kind, key.kind);
    EXPECT_EQ(loaded.state, kms::KeyState::pending_deletion);
    EXPECT_EQ(loaded.rotation_period_days, 90);
    EXPECT_EQ(loaded.next_rotation_at, key.next_rotation_at);
    EXPECT_EQ(loaded.context_rule, key.context_rule);
    EXPECT_EQ(loaded.deletion_at, base::from_milliseconds(1'800'000'000'001));
    EXPECT_EQ(loaded.compromised_at, base::from_milliseconds(1'800'000'000'002));
    EXPECT_TRUE(loaded.destruction_begun);
    EXPECT_FALSE(loaded.destroyed_at);
    EXPECT_EQ(loaded.revision, 2U);
}

TYPED_TEST_P(StoreContract, AnUpdateIsForTheRevisionThatWasRead) {
    const auto store = this->open();
    auto key = add_enabled(*this, *store);
    auto other = key;
    key.description = "first";
    EXPECT_TRUE(store->update(key));
    other.description = "second";
    EXPECT_FALSE(store->update(other));
    EXPECT_EQ(store->find(key.id)->description, "first");
    other.id = base::Uuid::random();
    EXPECT_ERROR(not_found, store->update(other));
    EXPECT_FALSE(store->find(other.id));
}

TYPED_TEST_P(StoreContract, TheNextVersionIsPendingThenPrimaryInOneMoment) {
    const auto store = this->open();
    const auto key = add_enabled(*this, *store);
    kms::KeyVersion version;
    version.version = 3;
    version.token_key_id = base::Uuid::random();
    EXPECT_ERROR(failed_precondition, store->add_pending_version(key.id, version));
    version.version = 2;
    store->add_pending_version(key.id, version);
    EXPECT_EQ(store->find(key.id)->primary_version, 1U);
    auto third = version;
    third.version = 3;
    third.token_key_id = base::Uuid::random();
    EXPECT_ERROR_SAYING(failed_precondition, "permitted when that version is finished",
                        store->add_pending_version(key.id, third));
    const auto next = base::from_milliseconds(1'900'000'000'000);
    store->enable_version(key.id, 2, this->answer(), next);
    EXPECT_ERROR(failed_precondition, store->enable_version(key.id, 2, this->answer(), next));
    auto loaded = *store->find(key.id);
    EXPECT_EQ(loaded.primary_version, 2U);
    EXPECT_EQ(loaded.next_rotation_at, next);
    EXPECT_EQ(loaded.revision, 2U);
    EXPECT_EQ(loaded.versions.at(1).state, kms::KeyState::enabled);
    store->add_pending_version(key.id, third);
    store->abandon_version(key.id, 3, next, R"({"was":"third"})");
    EXPECT_ERROR(failed_precondition,
                 store->abandon_version(key.id, 3, next, R"({"was":"third"})"));
    loaded = *store->find(key.id);
    EXPECT_EQ(loaded.primary_version, 2U);
    EXPECT_EQ(loaded.versions.at(2).state, kms::KeyState::destroyed);
    EXPECT_EQ(loaded.versions.at(2).destroyed_at, next);
    EXPECT_EQ(store->version_tombstones(key.id),
              (std::map<std::uint32_t, std::string>{{3, R"({"was":"third"})"}}));
    EXPECT_EQ(store->tombstone(key.id), "");
    auto disabled = loaded;
    disabled.state = kms::KeyState::disabled;
    EXPECT_TRUE(store->update(disabled));
    auto fourth = third;
    fourth.version = 4;
    fourth.token_key_id = base::Uuid::random();
    EXPECT_ERROR_SAYING(failed_precondition,
                        "in state disabled, which forbids rotate; it is permitted in state enabled",
                        store->add_pending_version(key.id, fourth));
}

TYPED_TEST_P(StoreContract, AnAliasMovesOnlyFromWhereItIs) {
    const auto store = this->open();
    const auto first = add_enabled(*this, *store, "a");
    const auto second = add_enabled(*this, *store);
    EXPECT_FALSE(store->move_alias("a", base::Uuid(), second.id));
    EXPECT_FALSE(store->move_alias("a", second.id, second.id));
    EXPECT_ERROR(not_found, store->move_alias("a", first.id, base::Uuid::random()));
    EXPECT_TRUE(store->move_alias("a", first.id, second.id));
    EXPECT_TRUE(store->find(first.id)->aliases.empty());
    EXPECT_EQ(store->find(second.id)->aliases, std::vector<std::string>{"a"});
    EXPECT_EQ(store->find(first.id)->revision, first.revision + 1);
    EXPECT_TRUE(store->move_alias("a", second.id, base::Uuid()));
    EXPECT_TRUE(store->find(second.id)->aliases.empty());
}

TYPED_TEST_P(StoreContract, ADestroyedKeyLeavesItsRecordAndATombstone) {
    const auto store = this->open();
    auto key = add_enabled(*this, *store, "a");
    EXPECT_EQ(store->tombstone(key.id), "");
    key.destroyed_at = base::from_milliseconds(1'800'000'000'009);
    auto stale = key;
    stale.revision += 1;
    EXPECT_FALSE(store->finish_destruction(stale, "{}"));
    EXPECT_TRUE(store->finish_destruction(key, R"({"was":"here"})"));
    const auto loaded = *store->find(key.id);
    EXPECT_EQ(loaded.state, kms::KeyState::destroyed);
    EXPECT_EQ(loaded.destroyed_at, key.destroyed_at);
    EXPECT_EQ(loaded.versions.at(0).state, kms::KeyState::destroyed);
    EXPECT_EQ(loaded.versions.at(0).destroyed_at, key.destroyed_at);
    EXPECT_TRUE(loaded.aliases.empty());
    EXPECT_EQ(store->tombstone(key.id), R"({"was":"here"})");
    EXPECT_NO_THROW(add_enabled(*this, *store, "a"));
}

TYPED_TEST_P(StoreContract, EveryChangeIsFoundByItsNumber) {
    const auto store = this->open();
    const auto quiet = add_enabled(*this, *store);
    const auto key = add_enabled(*this, *store, "a");
    const auto other = add_enabled(*this, *store);
    const auto expect_changed = [&](const std::string& what, auto work,
                                    std::vector<base::Uuid> changed) {
        const auto before = store->change_count();
        work();
        EXPECT_GT(store->change_count(), before) << what;
        const auto changes = store->load_changed(before);
        EXPECT_EQ(changes.count, store->change_count()) << what;
        std::vector<base::Uuid> ids;
        for (const auto& each : changes.keys) {
            ids.push_back(each.id);
            EXPECT_GT(each.change, before) << what;
        }
        std::sort(ids.begin(), ids.end());
        std::sort(changed.begin(), changed.end());
        EXPECT_EQ(ids, changed) << what;
        EXPECT_TRUE(store->load_changed(store->change_count()).keys.empty()) << what;
    };
    expect_changed("update", [&] { store->update(*store->find(key.id)); }, {key.id});
    expect_changed("reserve", [&] { store->reserve_wraps(key.id, 1, 5); }, {key.id});
    expect_changed("alias", [&] { store->move_alias("a", key.id, other.id); }, {key.id, other.id});
    kms::KeyVersion version;
    version.version = 2;
    version.token_key_id = base::Uuid::random();
    expect_changed("add", [&] { store->add_pending_version(key.id, version); }, {key.id});
    expect_changed("enable",
                   [&] { store->enable_version(key.id, 2, this->answer(), std::nullopt); },
                   {key.id});
    const std::vector<kms::UsageReport> reports = {{key.id, 1, 3, 1, key.created_at}};
    expect_changed("usage", [&] { store->add_usage(reports); }, {key.id});
    EXPECT_EQ(store->find(quiet.id)->change, quiet.change);
    EXPECT_EQ(store->load_changed(0).keys.size(), 3U);
}

TYPED_TEST_P(StoreContract, UsageAddsUpAndTheLatestMomentStays) {
    const auto key = this->new_key();
    const auto late = base::from_milliseconds(1'800'000'000'500);
    const auto early = base::from_milliseconds(1'800'000'000'100);
    {
        const auto store = this->open();
        store->add_pending_key(key);
        const std::vector<kms::UsageReport> reports = {{key.id, 1, 10, 0, late},
                                                       {key.id, 1, 5, 3, early},
                                                       {base::Uuid::random(), 1, 1, 1, late}};
        store->add_usage(reports);
    }
    const auto store = this->open();
    const kms::KeyVersion version = this->load_one(*store, key.id).versions.at(0);
    EXPECT_EQ(version.wraps_used, 15U);
    EXPECT_EQ(version.rewrapped_away, 3U);
    EXPECT_EQ(version.last_used_at, late);
}

TYPED_TEST_P(StoreContract, ARequestIsAppliedInTheMomentOfItsChange) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    const auto begin = [&](const std::string& id) {
        store->begin_request({id, "digest", "node", now, false, 0, ""});
    };
    const auto is_applied = [&](const std::string& id) { return store->find_request(id)->applied; };
    EXPECT_FALSE(store->find_request("create"));
    for (const auto* id : {"create", "rotate", "update", "alias", "too-late"}) begin(id);
    EXPECT_ERROR(already_exists, begin("create"));
    auto key = this->new_key();
    key.versions[0].request = "create";
    store->add_pending_key(key);
    EXPECT_FALSE(is_applied("create"));
    EXPECT_EQ(store->find_version_of("create")->key_id, key.id);
    EXPECT_FALSE(store->find_version_of(""));
    store->enable_key(key.id, this->answer(), "");
    EXPECT_TRUE(is_applied("create"));
    kms::KeyVersion version;
    version.version = 2;
    version.token_key_id = base::Uuid::random();
    version.request = "rotate";
    store->add_pending_version(key.id, version);
    EXPECT_FALSE(is_applied("rotate"));
    store->enable_version(key.id, 2, this->answer(), std::nullopt);
    EXPECT_TRUE(is_applied("rotate"));
    EXPECT_EQ(store->find_version_of("rotate")->version, 2U);
    const auto record = *store->find(key.id);
    EXPECT_TRUE(store->update(record, "update"));
    EXPECT_TRUE(is_applied("update"));
    EXPECT_FALSE(store->update(record, "too-late"));
    EXPECT_FALSE(is_applied("too-late"));
    EXPECT_TRUE(store->move_alias("a", base::Uuid(), key.id, "alias"));
    EXPECT_TRUE(is_applied("alias"));
}

TYPED_TEST_P(StoreContract, ARequestHasOneHolderAnAnswerAndAnEnd) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    const auto later = now + std::chrono::hours(1);
    store->begin_request({"id", "digest", "a", now, false, 0, "its own"});
    EXPECT_EQ(store->find_request("id")->answer, "its own");
    EXPECT_FALSE(store->take_over_request("id", "b", "c", later));
    EXPECT_TRUE(store->take_over_request("id", "a", "b", later));
    EXPECT_EQ(store->find_request("id")->node, "b");
    EXPECT_EQ(store->find_request("id")->begun_at, later);
    EXPECT_EQ(store->find_request("id")->answer, "its own");
    store->finish_request("id", 201, "answer");
    EXPECT_EQ(store->find_request("id")->status, 201U);
    EXPECT_EQ(store->find_request("id")->answer, "answer");
    EXPECT_FALSE(store->take_over_request("id", "", "c", later));
    auto key = this->new_key();
    key.versions[0].request = "id";
    store->add_pending_key(key);
    EXPECT_EQ(store->forget_requests(later), 0U);
    EXPECT_EQ(store->forget_requests(later + std::chrono::milliseconds(1)), 1U);
    EXPECT_FALSE(store->find_request("id"));
    EXPECT_FALSE(store->find_version_of("id"));
}

TYPED_TEST_P(StoreContract, AliasesAreInTheOrderOfTheirBytes) {
    const auto store = this->open();
    const auto key = add_enabled(*this, *store);
    for (const auto* alias : {"b", "B", "a-b", "ab", "a"}) {
        ASSERT_TRUE(store->move_alias(alias, base::Uuid(), key.id));
    }
    EXPECT_EQ(store->find(key.id)->aliases, (std::vector<std::string>{"B", "a", "a-b", "ab", "b"}));
}

TYPED_TEST_P(StoreContract, ATextThatNoDatabaseKeepsWholeIsRefused) {
    const auto store = this->open();
    auto key = this->new_key();
    key.description = std::string("a\0b", 3);
    EXPECT_ERROR(invalid_argument, store->add_pending_key(key));
    auto changed = add_enabled(*this, *store);
    changed.description = key.description;
    EXPECT_ERROR(invalid_argument, store->update(changed));
    EXPECT_EQ(store->find(changed.id)->revision, changed.revision);
}

TYPED_TEST_P(StoreContract, AnswersCheck) { EXPECT_NO_THROW(this->open()->check()); }

REGISTER_TYPED_TEST_SUITE_P(
    StoreContract, StartsEmpty, APendingKeyIsThereAfterReopening,
    EnablingGivesStateAliasAndKnownAnswer, SecondKeyWithTheSameIdAlreadyExists,
    ATakenAliasChangesNothing, OnlyAPendingKeyIsEnabledOrAbandoned, AnAbandonedKeyStaysAsDestroyed,
    ReservedWrapsAddUpAndSurviveReopening, NoMoreThanIsSafeIsEverReserved,
    TheCounterStopsExactlyAtTheLimit, ACrashLosesTheRestOfABlockAndNeverCountsTooFew, AnswersCheck,
    EverythingOfAKeyIsThereAfterReopening, AnUpdateIsForTheRevisionThatWasRead,
    TheNextVersionIsPendingThenPrimaryInOneMoment, AnAliasMovesOnlyFromWhereItIs,
    ADestroyedKeyLeavesItsRecordAndATombstone, EveryChangeIsFoundByItsNumber,
    UsageAddsUpAndTheLatestMomentStays, ARequestIsAppliedInTheMomentOfItsChange,
    ARequestHasOneHolderAnAnswerAndAnEnd, AliasesAreInTheOrderOfTheirBytes,
    ATextThatNoDatabaseKeepsWholeIsRefused);

}  // namespace tests
