// What lists and histories of every store of credentials must do. Beside store_contract.h, in the
// same test files.
#pragma once

#include "tests/vault/store_contract.h"

namespace tests {

template <typename Backend>
class StoreListContract : public StoreContract<Backend> {};

TYPED_TEST_SUITE_P(StoreListContract);

TYPED_TEST_P(StoreListContract, ListsOneOwnersCredentialsByNamePageByPage) {
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

TYPED_TEST_P(StoreListContract, ShowsTheNewestVersionsOnly) {
    for (std::size_t i = 0; i < vault::max_versions_shown + 2; ++i) this->add(instagram);
    const auto info = this->store_->find(instagram);
    ASSERT_EQ(info->versions.size(), vault::max_versions_shown);
    EXPECT_EQ(info->current().version, vault::max_versions_shown + 2);
    EXPECT_TRUE(this->store_->find_version(instagram, 1)) << "older ones can still be read";
}

TYPED_TEST_P(StoreListContract, TheHistoryHasEveryVersionEverWithWhatIsKnownOfIt) {
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

TYPED_TEST_P(StoreListContract, TheHistoryComesPageByPage) {
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

TYPED_TEST_P(StoreListContract, WhatExpiresIsListedByExpiryPageByPage) {
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

TYPED_TEST_P(StoreListContract, ARowThatCantBeBelievedHidesNoOtherFromAList) {
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

TYPED_TEST_P(StoreListContract, ANameThatNoneMayHaveIsUnsoundAndHasAPlaceInEveryList) {
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

REGISTER_TYPED_TEST_SUITE_P(StoreListContract, ListsOneOwnersCredentialsByNamePageByPage,
                            ShowsTheNewestVersionsOnly,
                            TheHistoryHasEveryVersionEverWithWhatIsKnownOfIt,
                            TheHistoryComesPageByPage, WhatExpiresIsListedByExpiryPageByPage,
                            ARowThatCantBeBelievedHidesNoOtherFromAList,
                            ANameThatNoneMayHaveIsUnsoundAndHasAPlaceInEveryList);

}  // namespace tests
