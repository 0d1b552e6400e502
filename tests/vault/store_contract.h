// What every vault::Store keeps, as one suite for all databases. A database joins by
//     INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreContract, SqliteBackend);
// where the backend has open(): a Store on the same data each time, one at a time; edit(sql): a
// hand in the database while no store is open; and missing(), if it may not be there: why.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/expect_error.h"
#include "vault/store.h"

namespace tests {

inline const vault::CredentialId instagram{"acme", "instagram"};

inline base::Time at(std::int64_t seconds) {
    return base::from_milliseconds(1'800'000'000'000 + seconds * 1000);
}

inline vault::NewVersion new_version(const vault::CredentialId& id, std::uint64_t number,
                                     const std::string& sealed = "sealed") {
    vault::NewVersion added;
    added.id = id;
    added.version.version = number;
    added.version.key_id = *base::Uuid::parse("0f0e0d0c-0b0a-4908-8706-050403020100");
    added.version.key_version = 4;
    added.version.created_at = at(static_cast<std::int64_t>(number));
    added.sealed = sealed;
    return added;
}

// Plans and does the destruction of one credential; empty when there is none, or it was another
// meanwhile.
inline std::optional<vault::Destruction> destroy(vault::Store& store, const vault::CredentialId& id,
                                                 const std::string& by, base::Time now) {
    auto doomed = store.doomed(id);
    if (!doomed) return std::nullopt;
    vault::Destruction wanted{base::Uuid::random(), id.owner, {*doomed}, by, now, std::nullopt};
    if (!store.destroy(wanted, {wanted.id, vault::destruction_text(wanted), std::nullopt})) {
        return std::nullopt;
    }
    return wanted;
}

inline std::vector<vault::DestructionRecord> destructions(vault::Store& store,
                                                          const vault::CredentialId& id) {
    return store.destructions(id.owner, id.name, 0, 100).records;
}

template <typename Backend>
class StoreContract : public ::testing::Test {
protected:
    void SetUp() override {
        if constexpr (requires { Backend::missing(); }) {
            if (!Backend::missing().empty()) GTEST_SKIP() << Backend::missing();
        }
        store_ = backend_.open();
    }
    Backend backend_;
    std::unique_ptr<vault::Store> store_;

    // Stores version after version, as a caller without compare-and-set would.
    vault::CredentialInfo add(const vault::CredentialId& id, const std::string& sealed = "sealed",
                              std::optional<std::string> metadata = std::nullopt) {
        const auto head = store_->head(id);
        auto added = new_version(id, head.last + 1, sealed);
        added.metadata = std::move(metadata);
        auto info = store_->put(added, head);
        EXPECT_TRUE(info.has_value());
        return info.value_or(vault::CredentialInfo{});
    }
    void reopen() {
        store_.reset();
        store_ = backend_.open();
    }
};

TYPED_TEST_SUITE_P(StoreContract);

TYPED_TEST_P(StoreContract, AnUnknownCredentialIsNotThere) {
    EXPECT_EQ(this->store_->head(instagram), vault::Head{});
    EXPECT_FALSE(this->store_->find(instagram));
    EXPECT_FALSE(this->store_->find_version(instagram, std::nullopt));
    EXPECT_FALSE(this->store_->find_version(instagram, 1));
    EXPECT_FALSE(destroy(*this->store_, instagram, "somebody", at(1)));
    EXPECT_TRUE(destructions(*this->store_, instagram).empty());
    EXPECT_TRUE(this->store_->list("acme", "", 10).credentials.empty());
    EXPECT_NO_THROW(this->store_->check());
}

TYPED_TEST_P(StoreContract, WhatWasStoredIsThereAlsoAfterReopening) {
    auto added = new_version(instagram, 1, "the sealed text");
    added.version.expires_at = at(500);
    added.metadata = R"({"account":"17841"})";
    const auto stored = this->store_->put(added, {});
    ASSERT_TRUE(stored);
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(this->store_->head(instagram), (vault::Head{1, 1}));
        const auto found = this->store_->find_version(instagram, std::nullopt);
        ASSERT_TRUE(found);
        EXPECT_EQ(found->sealed, "the sealed text");
        EXPECT_EQ(found->info.id, instagram);
        EXPECT_EQ(found->info.metadata, R"({"account":"17841"})");
        EXPECT_EQ(found->info.created_at, at(1));
        EXPECT_EQ(found->info.updated_at, at(1));
        ASSERT_EQ(found->info.versions.size(), 1U);
        for (const auto& version : {found->version, found->info.current()}) {
            EXPECT_EQ(version.version, 1U);
            EXPECT_EQ(version.key_id, added.version.key_id);
            EXPECT_EQ(version.key_version, 4U);
            EXPECT_EQ(version.expires_at, at(500));
            EXPECT_EQ(version.created_at, at(1));
        }
        this->reopen();
    }
}

TYPED_TEST_P(StoreContract, EveryVersionCanBeReadAndTheNewestIsCurrent) {
    for (const auto* sealed : {"one", "two", "three"}) this->add(instagram, sealed);
    EXPECT_EQ(this->store_->find_version(instagram, std::nullopt)->sealed, "three");
    EXPECT_EQ(this->store_->find_version(instagram, 1)->sealed, "one");
    EXPECT_EQ(this->store_->find_version(instagram, 2)->version.version, 2U);
    EXPECT_EQ(this->store_->find_version(instagram, 2)->info.current().version, 3U);
    EXPECT_FALSE(this->store_->find_version(instagram, 4));
    EXPECT_FALSE(this->store_->find_version(instagram, 0));
    EXPECT_FALSE(this->store_->find_version(instagram, UINT64_MAX));
    const auto info = this->store_->find(instagram);
    ASSERT_EQ(info->versions.size(), 3U);
    EXPECT_EQ(info->versions.back().version, 1U);
    EXPECT_EQ(info->created_at, at(1));
    EXPECT_EQ(info->updated_at, at(3));
}

TYPED_TEST_P(StoreContract, AVersionComesWithWhatItWasMadeFromAndAnOlderOneWithTheCurrentSeal) {
    this->add(instagram, "one");
    auto restored = new_version(instagram, 2, "two");
    restored.restored_from = 1;
    ASSERT_TRUE(this->store_->put(restored, {1, 1}));
    for (const auto& wanted : {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(2)}) {
        const auto current = this->store_->find_version(instagram, wanted);
        EXPECT_EQ(current->sealed, "two");
        EXPECT_EQ(current->restored_from, 1U);
        EXPECT_FALSE(current->current);
    }
    const auto old = this->store_->find_version(instagram, 1);
    EXPECT_EQ(old->sealed, "one");
    EXPECT_FALSE(old->restored_from);
    EXPECT_EQ(old->current->sealed, "two");
    EXPECT_EQ(old->current->restored_from, 1U);
}

TYPED_TEST_P(StoreContract, OfWhatBeginsAnewNothingStays) {
    auto added = new_version(instagram, 1);
    added.metadata = R"({"a":1})";
    added.tags = vault::Tags{{"team", "mine"}};
    ASSERT_TRUE(this->store_->put(added, {}));
    EXPECT_EQ(this->add(instagram).created_at, at(1));
    auto anew = new_version(instagram, 3);
    anew.begins_anew = true;
    const auto info = this->store_->put(anew, {2, 2});
    ASSERT_TRUE(info);
    EXPECT_EQ(info->created_at, at(3));
    EXPECT_EQ(info->metadata, "{}");
    EXPECT_TRUE(info->tags.empty());
    EXPECT_EQ(info->versions.size(), 3U);
}

TYPED_TEST_P(StoreContract, MetadataStaysUntilItIsReplaced) {
    EXPECT_EQ(this->add(instagram).metadata, "{}");
    EXPECT_EQ(this->add(instagram, "x", R"({"a":1})").metadata, R"({"a":1})");
    EXPECT_EQ(this->add(instagram).metadata, R"({"a":1})");
    EXPECT_EQ(this->add(instagram, "x", "{}").metadata, "{}");
}

TYPED_TEST_P(StoreContract, TagsStayUntilTheyAreReplacedAndGoWithTheCredential) {
    const auto put = [&](std::optional<vault::Tags> tags) {
        const auto head = this->store_->head(instagram);
        auto added = new_version(instagram, head.last + 1);
        added.tags = std::move(tags);
        return this->store_->put(added, head)->tags;
    };
    const vault::Tags payments{{"env", "prod"}, {"team", "payments"}};
    EXPECT_EQ(this->store_->tags(instagram), vault::Tags{});
    EXPECT_EQ(put(std::nullopt), vault::Tags{});
    EXPECT_EQ(put(payments), payments);
    EXPECT_EQ(put(std::nullopt), payments);
    this->reopen();
    EXPECT_EQ(this->store_->tags(instagram), payments);
    EXPECT_EQ(this->store_->find(instagram)->tags, payments);
    EXPECT_EQ(this->store_->list("acme", "", 9).credentials.front().tags, payments);
    EXPECT_EQ(this->store_->tags({"globex", "instagram"}), vault::Tags{});
    EXPECT_EQ(put(vault::Tags{}), vault::Tags{});
    put(payments);
    destroy(*this->store_, instagram, "somebody", at(9));
    EXPECT_EQ(this->store_->tags(instagram), vault::Tags{});
    EXPECT_EQ(put(std::nullopt), vault::Tags{});
    this->store_.reset();
    this->backend_.edit("UPDATE credentials SET tags = '[]'");
    this->store_ = this->backend_.open();
    EXPECT_ERROR(integrity_failure, this->store_->tags(instagram));
    EXPECT_ERROR(integrity_failure, this->store_->find(instagram));
}

TYPED_TEST_P(StoreContract, TagsThatADestroyedCredentialWasGivenByAHandDoNotCount) {
    this->add(instagram);
    destroy(*this->store_, instagram, "somebody", at(9));
    this->store_.reset();
    this->backend_.edit(R"(UPDATE credentials SET tags = '{"team":"mine"}')");
    this->store_ = this->backend_.open();
    EXPECT_EQ(this->store_->tags(instagram), vault::Tags{});
    EXPECT_EQ(this->add(instagram).tags, vault::Tags{});
}

TYPED_TEST_P(StoreContract, APutOnAnotherHeadChangesNothing) {
    this->add(instagram, "one");
    this->add(instagram, "two");
    EXPECT_FALSE(this->store_->put(new_version(instagram, 1), {}));
    EXPECT_FALSE(this->store_->put(new_version(instagram, 2), {1, 1}));
    EXPECT_FALSE(this->store_->put(new_version(instagram, 3), {0, 2}));
    EXPECT_FALSE(this->store_->put(new_version(instagram, 4), {3, 3}));
    EXPECT_EQ(this->store_->head(instagram), (vault::Head{2, 2}));
    EXPECT_EQ(this->store_->find_version(instagram, std::nullopt)->sealed, "two");
    EXPECT_ERROR(internal, this->store_->put(new_version(instagram, 2), {2, 2}));
    EXPECT_ERROR(internal, this->store_->put(new_version(instagram, 4), {2, 2}));
}

TYPED_TEST_P(StoreContract, OfManyPutsAtOnceExactlyOneWins) {
    std::atomic<int> won = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
            if (this->store_->put(new_version(instagram, 1, std::to_string(i)), {})) ++won;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(this->store_->head(instagram), (vault::Head{1, 1}));
}

TYPED_TEST_P(StoreContract, TextOfAnyKindComesBackAsItWent) {
    const vault::CredentialId odd{"o'; DROP TABLE versions; --", "n\"%_\\"};
    const std::string sealed = std::string(90'000, 's') + "'\"\\\n ü";
    this->add(odd, sealed, "{\"k\":\"ü'\"}");
    EXPECT_EQ(this->store_->find_version(odd, std::nullopt)->sealed, sealed);
    EXPECT_EQ(this->store_->find(odd)->metadata, "{\"k\":\"ü'\"}");
}

REGISTER_TYPED_TEST_SUITE_P(StoreContract, AnUnknownCredentialIsNotThere,
                            WhatWasStoredIsThereAlsoAfterReopening,
                            EveryVersionCanBeReadAndTheNewestIsCurrent,
                            AVersionComesWithWhatItWasMadeFromAndAnOlderOneWithTheCurrentSeal,
                            OfWhatBeginsAnewNothingStays, MetadataStaysUntilItIsReplaced,
                            TagsStayUntilTheyAreReplacedAndGoWithTheCredential,
                            TagsThatADestroyedCredentialWasGivenByAHandDoNotCount,
                            APutOnAnotherHeadChangesNothing, OfManyPutsAtOnceExactlyOneWins,
                            TextOfAnyKindComesBackAsItWent);

}  // namespace tests
