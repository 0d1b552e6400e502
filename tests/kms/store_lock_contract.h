// What every kms::Store must hold to of the lock that serialises the making of keys. Like
// store_contract.h, beside which a store's test file instantiates it.
#pragma once

#include "tests/kms/store_contract.h"

namespace tests {

template <typename Factory>
class StoreLockContract : public StoreContract<Factory> {};

TYPED_TEST_SUITE_P(StoreLockContract);

TYPED_TEST_P(StoreLockContract, TheLockHasOneHolderUntilHisTimeIsOver) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    const auto until = now + std::chrono::minutes(2);
    EXPECT_TRUE(store->take_lock("a", now, until));
    EXPECT_TRUE(store->take_lock("a", now, until));
    EXPECT_FALSE(store->take_lock("b", now, until));
    store->release_lock("b");
    EXPECT_FALSE(store->take_lock("b", now, until));
    EXPECT_TRUE(store->take_lock("b", until, until + std::chrono::minutes(2)));
    store->release_lock("b");
    EXPECT_TRUE(store->take_lock("c", until, until + std::chrono::minutes(2)));
}

TYPED_TEST_P(StoreLockContract, OfManyThatWantTheLockAtOnceOneGetsIt) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    std::atomic<int> taken = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&, i] {
            if (store->take_lock(std::to_string(i), now, now + std::chrono::minutes(2))) ++taken;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(taken, 1);
}

TYPED_TEST_P(StoreLockContract, WhatANodeLeftFromAnotherTimeIsFreeForItAlone) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    const auto until = now + std::chrono::minutes(2);
    EXPECT_TRUE(store->take_lock("node/1", now, until));
    EXPECT_FALSE(store->take_lock("node", now, until));
    EXPECT_FALSE(store->take_lock("nod/1", now, until));
    EXPECT_FALSE(store->take_lock("another/1", now, until));
    EXPECT_TRUE(store->take_lock("node/2", now, until));
    store->release_lock("node/1");
    EXPECT_FALSE(store->take_lock("another/1", now, until));
}

TYPED_TEST_P(StoreLockContract, OnlyWhoHasTheLockKeepsIt) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    const auto until = now + std::chrono::minutes(2);
    const auto later = until + std::chrono::minutes(2);
    EXPECT_FALSE(store->keep_lock("a/1", until));
    ASSERT_TRUE(store->take_lock("a/1", now, until));
    EXPECT_TRUE(store->keep_lock("a/1", later));
    EXPECT_FALSE(store->keep_lock("a/2", later));
    EXPECT_FALSE(store->take_lock("b/1", until, later));
    store->release_lock("a/1");
    EXPECT_FALSE(store->keep_lock("a/1", later));
}

// Fencing: who lost the lock, and does not know, changes nothing; who has it does.
TYPED_TEST_P(StoreLockContract, AChangeUnderALostLockIsRefused) {
    const auto store = this->open();
    const auto now = base::from_milliseconds(1'800'000'000'000);
    const auto until = now + std::chrono::minutes(2);
    ASSERT_TRUE(store->take_lock("new/1", now, until));
    const std::string lost = "old/1";
    const std::string held = "new/1";

    const auto key = this->new_key();
    const auto given_up = this->new_key();
    EXPECT_ERROR(unavailable, store->add_pending_key(key, lost));
    EXPECT_TRUE(store->load().empty());
    store->add_pending_key(key, held);
    store->add_pending_key(given_up, held);
    EXPECT_ERROR(unavailable, store->enable_key(key.id, this->answer(), "", lost));
    EXPECT_ERROR(unavailable, store->abandon_key(given_up.id, now, "{}", lost));
    store->enable_key(key.id, this->answer(), "", held);
    store->abandon_key(given_up.id, now, "{}", held);

    auto version = key.versions.front();
    version.version = 2;
    version.token_key_id = base::Uuid::random();
    EXPECT_ERROR(unavailable, store->add_pending_version(key.id, version, lost));
    store->add_pending_version(key.id, version, held);
    EXPECT_ERROR(unavailable, store->enable_version(key.id, 2, this->answer(), {}, lost));
    EXPECT_ERROR(unavailable, store->abandon_version(key.id, 2, now, "{}", lost));
    store->abandon_version(key.id, 2, now, "{}", held);
    EXPECT_EQ(store->find(key.id)->primary_version, 1U);

    auto destroyed = *store->find(key.id);
    destroyed.destroyed_at = now;
    EXPECT_ERROR(unavailable, store->finish_destruction(destroyed, "{}", lost));
    EXPECT_TRUE(store->finish_destruction(destroyed, "{}", held));
}

REGISTER_TYPED_TEST_SUITE_P(StoreLockContract, TheLockHasOneHolderUntilHisTimeIsOver,
                            OfManyThatWantTheLockAtOnceOneGetsIt,
                            WhatANodeLeftFromAnotherTimeIsFreeForItAlone, OnlyWhoHasTheLockKeepsIt,
                            AChangeUnderALostLockIsRefused);

}  // namespace tests
