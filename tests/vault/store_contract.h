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

TYPED_TEST_P(StoreContract, ListsOneOwnersCredentialsByNamePageByPage) {
    for (const auto* name : {"d", "a", "c", "b", "B"}) this->add({"acme", name});
    this->add({"acme2", "a"});
    this->add({"acm", "z"});
    this->add({"acme", "gone"});
    destroy(*this->store_, {"acme", "gone"}, "somebody", at(9));
    const auto names = [&](const std::string& after, std::size_t limit, bool more) {
        const auto page = this->store_->list("acme", after, limit);
        EXPECT_EQ(page.more, more) << after;
        std::string joined;
        for (const auto& info : page.credentials) {
            EXPECT_EQ(info.id.owner, "acme");
            EXPECT_EQ(info.versions.size(), 1U);
            joined += info.id.name;
        }
        return joined;
    };
    EXPECT_EQ(names("", 100, false), "Babcd");
    EXPECT_EQ(names("", 5, false), "Babcd");
    EXPECT_EQ(names("", 2, true), "Ba");
    EXPECT_EQ(names("a", 2, true), "bc");
    EXPECT_EQ(names("c", 2, false), "d");
    EXPECT_EQ(names("d", 2, false), "");
}

TYPED_TEST_P(StoreContract, ShowsTheNewestVersionsOnly) {
    for (std::size_t i = 0; i < vault::max_versions_shown + 2; ++i) this->add(instagram);
    const auto info = this->store_->find(instagram);
    ASSERT_EQ(info->versions.size(), vault::max_versions_shown);
    EXPECT_EQ(info->current().version, vault::max_versions_shown + 2);
    EXPECT_TRUE(this->store_->find_version(instagram, 1)) << "older ones can still be read";
}

TYPED_TEST_P(StoreContract, TheHistoryHasEveryVersionEverWithWhatIsKnownOfIt) {
    EXPECT_FALSE(this->store_->history(instagram, 0, 10)) << "never stored";
    auto first = new_version(instagram, 1, "one");
    first.version.expires_at = at(500);
    ASSERT_TRUE(this->store_->put(first, {}));
    this->add(instagram, "two");
    destroy(*this->store_, instagram, "somebody", at(9));
    auto third = new_version(instagram, 3, "three");
    third.restored_from = 1;
    ASSERT_TRUE(this->store_->put(third, {0, 2}));
    this->add({"acme", "other"});
    this->reopen();
    const auto page = this->store_->history(instagram, 0, 10);
    ASSERT_TRUE(page);
    EXPECT_EQ(page->current, 3U);
    EXPECT_FALSE(page->more);
    ASSERT_EQ(page->versions.size(), 3U);
    EXPECT_EQ(page->versions[0].version.version, 3U);
    EXPECT_EQ(page->versions[0].restored_from, 1U);
    EXPECT_FALSE(page->versions[0].erased_at);
    EXPECT_EQ(page->versions[1].version.version, 2U);
    EXPECT_EQ(page->versions[1].erased_at, at(9));
    EXPECT_FALSE(page->versions[1].restored_from);
    EXPECT_FALSE(page->versions[1].version.expires_at);
    const auto& oldest = page->versions[2];
    EXPECT_EQ(oldest.version.version, 1U);
    EXPECT_EQ(oldest.version.key_id, first.version.key_id);
    EXPECT_EQ(oldest.version.key_version, 4U);
    EXPECT_EQ(oldest.version.created_at, at(1));
    EXPECT_EQ(oldest.version.expires_at, at(500));
    EXPECT_EQ(oldest.erased_at, at(9));
    destroy(*this->store_, instagram, "somebody", at(10));
    EXPECT_EQ(this->store_->history(instagram, 0, 10)->current, 0U);
}

TYPED_TEST_P(StoreContract, TheHistoryComesPageByPage) {
    for (int i = 0; i < 5; ++i) this->add(instagram);
    const auto numbers = [&](std::uint64_t before, std::size_t limit, bool more) {
        const auto page = this->store_->history(instagram, before, limit);
        EXPECT_EQ(page->more, more) << before;
        std::string joined;
        for (const auto& record : page->versions) joined += std::to_string(record.version.version);
        return joined;
    };
    EXPECT_EQ(numbers(0, 5, false), "54321");
    EXPECT_EQ(numbers(0, 2, true), "54");
    EXPECT_EQ(numbers(4, 2, true), "32");
    EXPECT_EQ(numbers(2, 2, false), "1");
    EXPECT_EQ(numbers(1, 2, false), "");
    EXPECT_EQ(numbers(99, 2, true), "54");
}

TYPED_TEST_P(StoreContract, WhatExpiresIsListedByExpiryPageByPage) {
    const auto add = [&](const vault::CredentialId& id, std::optional<base::Time> expiry) {
        const auto head = this->store_->head(id);
        auto added = new_version(id, head.last + 1);
        added.version.expires_at = expiry;
        EXPECT_TRUE(this->store_->put(added, head));
    };
    add({"acme", "never"}, std::nullopt);
    add({"acme", "late"}, at(900));
    add({"acme", "b"}, at(-500));
    add({"acme", "a"}, at(200));
    add({"acme", "c"}, at(200));
    add({"acme", "renewed"}, at(100));
    add({"acme", "renewed"}, at(2000));
    add({"acme", "gone"}, at(100));
    destroy(*this->store_, {"acme", "gone"}, "somebody", at(9));
    add({"globex", "a"}, at(200));
    const auto names = [&](const std::string& owner, base::Time before, std::size_t limit) {
        vault::ExpiryQuestion question{owner, before, std::nullopt, limit};
        std::string joined;
        for (bool more = true; more;) {
            const auto page = this->store_->expiring(question);
            EXPECT_LE(page.credentials.size(), limit);
            for (const auto& info : page.credentials) joined += info.id.owner[0] + info.id.name;
            more = page.more;
            joined += more ? "|" : "";
            if (!more) break;
            question.after = page.last;
        }
        return joined;
    };
    EXPECT_EQ(names("acme", at(1000), 100), "abaaacalate");
    EXPECT_EQ(names("acme", at(1000), 1), "ab|aa|ac|alate");
    EXPECT_EQ(names("acme", at(1000), 2), "abaa|acalate");
    EXPECT_EQ(names("acme", at(200), 100), "ab") << "before, not at";
    EXPECT_EQ(names("acme", at(-500), 100), "");
    EXPECT_EQ(names("", at(1000), 100), "abaaacgaalate");
    EXPECT_EQ(names("", at(1000), 1), "ab|aa|ac|ga|alate");
    EXPECT_EQ(names("globex", at(1000), 100), "ga");
    EXPECT_EQ(names("acm", at(1000), 100), "");
}

TYPED_TEST_P(StoreContract, DestructionTakesAllVersionsAndLeavesARecord) {
    this->add(instagram, "one", R"({"a":1})");
    this->add(instagram, "two");
    this->add({"acme", "other"}, "stays");
    const auto record = destroy(*this->store_, instagram, "spiffe://strongroom/app", at(77));
    ASSERT_TRUE(record);
    EXPECT_EQ(record->versions(), 2U);
    EXPECT_FALSE(destroy(*this->store_, instagram, "again", at(78))) << "it is gone";
    this->reopen();
    EXPECT_FALSE(this->store_->find(instagram));
    EXPECT_FALSE(this->store_->find_version(instagram, std::nullopt));
    EXPECT_FALSE(this->store_->find_version(instagram, 1));
    const auto records = destructions(*this->store_, instagram);
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].id, record->id);
    EXPECT_EQ(records[0].text, vault::destruction_text(*record));
    EXPECT_FALSE(records[0].signature);
    EXPECT_EQ(this->store_->find_version({"acme", "other"}, std::nullopt)->sealed, "stays");
}

TYPED_TEST_P(StoreContract, ADestructionOfWhatChangedMeanwhileChangesNothing) {
    this->add(instagram, "one");
    this->add({"acme", "other"}, "other");
    const auto plan = [&] {
        return vault::Destruction{
            base::Uuid::random(),
            "acme",
            {*this->store_->doomed({"acme", "other"}), *this->store_->doomed(instagram)},
            "somebody",
            at(9),
            std::nullopt};
    };
    const auto refused = [&](const vault::Destruction& wanted) {
        EXPECT_FALSE(this->store_->destroy(
            wanted, {wanted.id, vault::destruction_text(wanted), std::nullopt}));
        EXPECT_EQ(this->store_->find_version({"acme", "other"}, std::nullopt)->sealed, "other");
        EXPECT_TRUE(this->store_->destructions("acme", "", 0, 10).records.empty());
    };
    auto wanted = plan();
    this->add(instagram, "two");
    refused(wanted);
    wanted = plan();
    wanted.credentials.back().versions = 1;
    refused(wanted);
    wanted = plan();
    wanted.erasure = vault::Erasure{wanted.id, 1, 2, 3, true};
    this->add({"acme", "third"});
    refused(wanted);
    wanted.erasure->complete = false;
    wanted.erasure->part = 2;
    refused(wanted);
    wanted.erasure->part = 1;
    EXPECT_TRUE(
        this->store_->destroy(wanted, {wanted.id, vault::destruction_text(wanted), std::nullopt}));
    EXPECT_FALSE(this->store_->find(instagram));
    EXPECT_TRUE(this->store_->find({"acme", "third"}));
}

TYPED_TEST_P(StoreContract, AnOwnersErasureGoesOnWhereItStopped) {
    for (const auto* name : {"a", "b", "c"}) this->add({"acme", name});
    this->add({"acme", "b"});
    this->add({"acme2", "a"});
    auto part = this->store_->next_part("acme", 2, 100);
    EXPECT_FALSE(part.begun);
    EXPECT_FALSE(part.last);
    ASSERT_EQ(part.credentials.size(), 2U);
    EXPECT_EQ(part.credentials[1].name, "b");
    EXPECT_EQ(part.credentials[1].versions, 2U);
    EXPECT_EQ(part.credentials[1].head, (vault::Head{2, 2}));
    EXPECT_EQ(this->store_->next_part("acme", 3, 2).credentials.size(), 1U) << "of 2 versions";
    EXPECT_EQ(this->store_->next_part("acme", 3, 3).credentials.size(), 2U);
    EXPECT_EQ(this->store_->next_part("acme", 3, 0).credentials.size(), 1U) << "one at least";
    EXPECT_TRUE(this->store_->next_part("acme", 3, 100).last);
    const auto erase = [&](std::uint64_t number, bool complete) {
        const auto next = this->store_->next_part("acme", 2, 100);
        vault::Destruction wanted{base::Uuid::random(), "acme", next.credentials, "x", at(9),
                                  std::nullopt};
        wanted.erasure = next.begun.value_or(vault::Erasure{wanted.id, 0, 0, 0, false});
        wanted.erasure->part = number;
        wanted.erasure->credentials += next.credentials.size();
        wanted.erasure->versions += wanted.versions();
        wanted.erasure->complete = complete;
        return this->store_->destroy(wanted,
                                     {wanted.id, vault::destruction_text(wanted), std::nullopt});
    };
    EXPECT_TRUE(erase(1, false));
    this->reopen();
    EXPECT_FALSE(erase(1, false)) << "another may have begun in the same moment";
    part = this->store_->next_part("acme", 2, 100);
    ASSERT_TRUE(part.begun);
    EXPECT_EQ(part.begun->part, 1U);
    EXPECT_EQ(part.begun->credentials, 2U);
    EXPECT_EQ(part.begun->versions, 3U);
    EXPECT_TRUE(part.last);
    EXPECT_TRUE(erase(2, true));
    part = this->store_->next_part("acme", 2, 100);
    EXPECT_FALSE(part.begun) << "complete";
    EXPECT_TRUE(part.credentials.empty());
    EXPECT_TRUE(part.last);
    EXPECT_TRUE(this->store_->find({"acme2", "a"}));
    EXPECT_TRUE(this->store_->list("acme", "", 10).credentials.empty());
}

TYPED_TEST_P(StoreContract, RecordsOfDestructionsComeBackAsTheyWentPageByPage) {
    std::vector<vault::DestructionRecord> made;
    for (const auto* name : {"a", "b", "a", "c"}) {
        this->add({"acme", name});
        vault::Destruction wanted{
            base::Uuid::random(), "acme", {*this->store_->doomed({"acme", name})}, "o'; --ü", at(9),
            std::nullopt};
        vault::DestructionSignature signature{
            {1, 2, 0, 255}, "ed25519", {base::Uuid::random(), 4'000'000'000U}};
        made.push_back({wanted.id, vault::destruction_text(wanted), signature});
        ASSERT_TRUE(this->store_->destroy(wanted, made.back()));
    }
    this->add({"globex", "a"});
    destroy(*this->store_, {"globex", "a"}, "x", at(1));
    this->reopen();
    auto page = this->store_->destructions("acme", "", 0, 3);
    ASSERT_EQ(page.records.size(), 3U);
    EXPECT_TRUE(page.more);
    const auto rest = this->store_->destructions("acme", "", page.last, 3);
    EXPECT_FALSE(rest.more);
    ASSERT_EQ(rest.records.size(), 1U);
    page.records.push_back(rest.records.front());
    for (std::size_t i = 0; i < made.size(); ++i) {
        EXPECT_EQ(page.records[i].id, made[i].id);
        EXPECT_EQ(page.records[i].text, made[i].text);
        ASSERT_TRUE(page.records[i].signature);
        EXPECT_EQ(page.records[i].signature->bytes, made[i].signature->bytes);
        EXPECT_EQ(page.records[i].signature->algorithm, "ed25519");
        EXPECT_EQ(page.records[i].signature->key, made[i].signature->key);
    }
    const auto of_a = destructions(*this->store_, {"acme", "a"});
    ASSERT_EQ(of_a.size(), 2U);
    EXPECT_EQ(of_a[1].id, made[2].id);
    EXPECT_TRUE(destructions(*this->store_, {"acme", "d"}).empty());
}

TYPED_TEST_P(StoreContract, ADestroyedNameBeginsAnewWithHigherNumbers) {
    this->add(instagram, "one", R"({"a":1})");
    this->add(instagram, "two");
    destroy(*this->store_, instagram, "somebody", at(9));
    EXPECT_EQ(this->store_->head(instagram), (vault::Head{0, 2}));
    const auto info = this->add(instagram, "three");
    EXPECT_EQ(info.current().version, 3U);
    EXPECT_EQ(info.metadata, "{}");
    EXPECT_EQ(info.created_at, at(3));
    ASSERT_EQ(info.versions.size(), 1U) << "the erased versions are not shown";
    EXPECT_FALSE(this->store_->find_version(instagram, 1));
    EXPECT_EQ(destroy(*this->store_, instagram, "somebody", at(10))->versions(), 1U);
    EXPECT_EQ(destructions(*this->store_, instagram).size(), 2U);
}

TYPED_TEST_P(StoreContract, ARowThatCantBeBelievedHidesNoOtherFromAList) {
    const std::string middle = std::to_string(base::to_milliseconds(at(200)));
    for (const std::string sql :
         {"UPDATE credentials SET expires_at = expires_at + 50 WHERE name = 'b'",
          "UPDATE credentials SET expires_at = -9223372036854775807 WHERE name = 'b'",
          "UPDATE versions SET expires_at = NULL WHERE expires_at = MIDDLE",
          "UPDATE versions SET expires_at = 9223372036854775807 WHERE expires_at = MIDDLE",
          "UPDATE versions SET key_id = 'x' WHERE expires_at = MIDDLE",
          "UPDATE credentials SET current_version = 0 WHERE name = 'b'",
          "UPDATE credentials SET updated_at = 9223372036854775807 WHERE name = 'b'"}) {
        SCOPED_TRACE(sql);
        TypeParam backend;
        auto store = backend.open();
        for (const auto& [name, seconds] : {std::pair("a", 100), {"b", 200}, {"c", 300}}) {
            auto added = new_version({"acme", name}, 1);
            added.version.expires_at = at(seconds);
            ASSERT_TRUE(store->put(added, {}));
        }
        store.reset();
        auto edited = sql;
        if (const auto place = edited.find("MIDDLE"); place != std::string::npos)
            edited.replace(place, 6, middle);
        backend.edit(edited);
        store = backend.open();
        for (const auto* owner : {"acme", ""}) {
            vault::ExpiryQuestion question{owner, at(1000), std::nullopt, 1};
            std::string sound;
            std::string unsound;
            for (int pages = 0; pages < 5; ++pages) {
                const auto page = store->expiring(question);
                for (const auto& info : page.credentials) sound += info.id.name;
                for (const auto& one : page.unsound) unsound += one.id.owner + one.id.name;
                if (!page.more) break;
                question.after = page.last;
            }
            EXPECT_EQ(sound, "ac");
            EXPECT_EQ(unsound, "acmeb");
        }
        if (sql.find("current_version") != std::string::npos) continue;  // not listed by name
        const auto named = store->list("acme", "", 2);
        ASSERT_EQ(named.unsound.size(), 1U);
        EXPECT_EQ(named.unsound.front().id.name, "b");
        EXPECT_EQ(named.last.id.name, "b");
        EXPECT_EQ(store->list("acme", "b", 2).credentials.size(), 1U);
    }
}

TYPED_TEST_P(StoreContract, ANameThatNoneMayHaveIsUnsoundAndHasAPlaceInEveryList) {
    TypeParam backend;
    auto store = backend.open();
    for (const auto* name : {"a", "b", "c"}) {
        auto added = new_version({"acme", name}, 1);
        added.version.expires_at = at(100);
        ASSERT_TRUE(store->put(added, {}));
    }
    store.reset();
    backend.edit("UPDATE credentials SET name = 'b b' WHERE name = 'b'");
    store = backend.open();
    for (const auto* owner : {"acme", ""}) {
        vault::ExpiryQuestion question{owner, at(1000), std::nullopt, 1};
        std::string found;
        for (int pages = 0; pages < 3; ++pages) {
            const auto page = store->expiring(question);
            for (const auto& info : page.credentials) found += info.id.name;
            for (const auto& one : page.unsound) found += "(" + one.id.name + ")";
            question.after = page.last;
        }
        EXPECT_EQ(found, "a(b b)c");
    }
    const auto second = store->list("acme", "a", 1);
    ASSERT_EQ(second.unsound.size(), 1U);
    EXPECT_TRUE(second.more);
    ASSERT_TRUE(vault::row_of_place(second.last.id));
    const auto third = store->list("acme", second.last.id.name, 1);
    ASSERT_EQ(third.credentials.size(), 1U);
    EXPECT_EQ(third.credentials.front().id.name, "c");
    EXPECT_ERROR(invalid_argument, store->list("globex", second.last.id.name, 1));
}

TYPED_TEST_P(StoreContract, TextOfAnyKindComesBackAsItWent) {
    const vault::CredentialId odd{"o'; DROP TABLE versions; --", "n\"%_\\"};
    const std::string sealed = std::string(90'000, 's') + "'\"\\\n ü";
    this->add(odd, sealed, "{\"k\":\"ü'\"}");
    EXPECT_EQ(this->store_->find_version(odd, std::nullopt)->sealed, sealed);
    EXPECT_EQ(this->store_->find(odd)->metadata, "{\"k\":\"ü'\"}");
}

REGISTER_TYPED_TEST_SUITE_P(
    StoreContract, AnUnknownCredentialIsNotThere, WhatWasStoredIsThereAlsoAfterReopening,
    EveryVersionCanBeReadAndTheNewestIsCurrent, MetadataStaysUntilItIsReplaced,
    TagsStayUntilTheyAreReplacedAndGoWithTheCredential, APutOnAnotherHeadChangesNothing,
    OfManyPutsAtOnceExactlyOneWins, ListsOneOwnersCredentialsByNamePageByPage,
    ShowsTheNewestVersionsOnly, TheHistoryHasEveryVersionEverWithWhatIsKnownOfIt,
    TheHistoryComesPageByPage, WhatExpiresIsListedByExpiryPageByPage,
    ARowThatCantBeBelievedHidesNoOtherFromAList,
    ANameThatNoneMayHaveIsUnsoundAndHasAPlaceInEveryList,
    DestructionTakesAllVersionsAndLeavesARecord, ADestructionOfWhatChangedMeanwhileChangesNothing,
    AnOwnersErasureGoesOnWhereItStopped, RecordsOfDestructionsComeBackAsTheyWentPageByPage,
    ADestroyedNameBeginsAnewWithHigherNumbers, TextOfAnyKindComesBackAsItWent);

}  // namespace tests
