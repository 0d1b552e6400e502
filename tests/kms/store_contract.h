// What every kms::Store must hold to, whatever database it is on. A store's test file names a
// factory type with `std::unique_ptr<kms::Store> open()`, which opens the same database each time,
// and instantiates the suite with it.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "kms/store.h"
#include "kms/usage.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"

namespace tests {

template <typename Factory>
class StoreContract : public testing::Test {
protected:
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
    EXPECT_ERROR(failed_precondition, store->abandon_key(key.id, key.created_at));
    store->add_pending_key(key);
    store->enable_key(key.id, this->answer(), "");
    EXPECT_ERROR(failed_precondition, store->enable_key(key.id, this->answer(), ""));
    EXPECT_ERROR(failed_precondition, store->abandon_key(key.id, key.created_at));
    EXPECT_EQ(this->load_one(*store, key.id).state, kms::KeyState::enabled);
}

TYPED_TEST_P(StoreContract, AnAbandonedKeyStaysAsDestroyed) {
    const auto store = this->open();
    const auto key = this->new_key("a");
    store->add_pending_key(key);
    store->abandon_key(key.id, key.created_at);
    const auto loaded = this->load_one(*store, key.id);
    EXPECT_EQ(loaded.state, kms::KeyState::destroyed);
    EXPECT_EQ(loaded.versions.at(0).state, kms::KeyState::destroyed);
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

TYPED_TEST_P(StoreContract, NoMoreThan2To32WrapsAreEverReserved) {
    const auto store = this->open();
    const auto key = this->new_key();
    store->add_pending_key(key);
    const std::uint64_t all = 1ULL << 32U;
    EXPECT_EQ(store->reserve_wraps(key.id, 1, all - 10).granted, all - 10);
    EXPECT_EQ(store->reserve_wraps(key.id, 1, 65'536).granted, 10U);
    EXPECT_EQ(store->reserve_wraps(key.id, 1, 65'536).granted, 0U);
    EXPECT_EQ(this->load_one(*store, key.id).versions.at(0).wraps_reserved, all);
}

TYPED_TEST_P(StoreContract, TheCounterStopsExactlyAtTheLimit) {
    const auto store = this->open();
    const auto key = this->new_key();
    store->add_pending_key(key);
    store->reserve_wraps(key.id, 1, (1ULL << 32U) - 3);
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

TYPED_TEST_P(StoreContract, AnswersCheck) { EXPECT_NO_THROW(this->open()->check()); }

REGISTER_TYPED_TEST_SUITE_P(StoreContract, StartsEmpty, APendingKeyIsThereAfterReopening,
                            EnablingGivesStateAliasAndKnownAnswer,
                            SecondKeyWithTheSameIdAlreadyExists, ATakenAliasChangesNothing,
                            OnlyAPendingKeyIsEnabledOrAbandoned, AnAbandonedKeyStaysAsDestroyed,
                            ReservedWrapsAddUpAndSurviveReopening,
                            NoMoreThan2To32WrapsAreEverReserved, TheCounterStopsExactlyAtTheLimit,
                            ACrashLosesTheRestOfABlockAndNeverCountsTooFew, AnswersCheck);

}  // namespace tests
