#include "kms/catalogue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "kms/sorted_chunks.h"
#include "tests/kms/api_calls.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

struct ByNumber {
    static int of(const std::pair<int, int>& item) { return item.first; }
};
using Numbers = kms::SortedChunks<std::pair<int, int>, ByNumber>;

std::vector<std::pair<int, int>> all_of(const Numbers& numbers) {
    std::vector<std::pair<int, int>> items;
    numbers.for_each([&](const auto& item) { items.push_back(item); });
    return items;
}

TEST(SortedChunks, BehaveLikeASortedMapWhateverIsDoneToThem) {
    for (const unsigned seed : {1U, 2U, 3U}) {
        std::mt19937 random(seed);
        Numbers numbers;
        std::map<int, int> model;
        for (int step = 0; step < 20'000; ++step) {
            const int key = static_cast<int>(random() % 3000);
            if (random() % 3 == 0) {
                numbers.erase(key);
                model.erase(key);
            } else {
                numbers.put({key, step});
                model[key] = step;
            }
        }
        ASSERT_EQ(numbers.size(), model.size()) << "seed " << seed;
        EXPECT_TRUE(std::equal(model.begin(), model.end(), all_of(numbers).begin(),
                               [](const auto& left, const auto& right) {
                                   return left.first == right.first && left.second == right.second;
                               }));
        for (int key = -1; key < 3001; ++key) {
            const auto* found = numbers.find(key);
            const auto expected = model.find(key);
            ASSERT_EQ(found != nullptr, expected != model.end()) << key;
            const auto page = numbers.page(&key, 3);
            auto next = model.upper_bound(key);
            for (const auto& item : page) ASSERT_EQ(item.first, (next++)->first);
            ASSERT_TRUE(page.size() == 3 || next == model.end());
        }
    }
}

TEST(SortedChunks, ACopyDoesNotSeeWhatIsDoneToTheOther) {
    std::vector<std::pair<int, int>> items;
    for (int i = 0; i < 1000; ++i) items.emplace_back(i, 0);
    const Numbers first(items);
    Numbers second = first;
    for (int i = 0; i < 1000; i += 2) second.erase(i);
    second.put({1, 1});
    EXPECT_EQ(all_of(first), items);
    EXPECT_EQ(second.size(), 500U);
}

kms::Key key_made_at(std::int64_t milliseconds, std::uint64_t change = 0) {
    kms::Key key;
    key.id = base::Uuid::random();
    key.state = kms::KeyState::enabled;
    key.created_at = base::from_milliseconds(milliseconds);
    key.change = change;
    kms::KeyVersion version;
    version.version = 1;
    version.state = kms::KeyState::enabled;
    version.token_key_id = base::Uuid::random();
    key.versions = {version};
    return key;
}

TEST(Catalogue, AnOlderRecordNeverTakesThePlaceOfANewerOne) {
    auto key = key_made_at(1, 5);
    kms::Catalogue catalogue({key});
    key.description = "older";
    key.change = 4;
    catalogue.put(key);
    EXPECT_EQ(catalogue.snapshot()->find(key.id)->description, "");
    key.description = "newer";
    key.change = 6;
    catalogue.put(key);
    EXPECT_EQ(catalogue.snapshot()->find(key.id)->description, "newer");
    EXPECT_EQ(catalogue.snapshot()->size(), 1U);
}

TEST(Catalogue, ASnapshotStaysAsItWas) {
    auto key = key_made_at(1);
    key.aliases = {"a"};
    kms::Catalogue catalogue({key});
    const auto before = catalogue.snapshot();
    key.aliases = {"b"};
    catalogue.put(key);
    EXPECT_NE(before->find_alias("a"), nullptr);
    EXPECT_EQ(catalogue.snapshot()->find_alias("a"), nullptr);
    EXPECT_NE(catalogue.snapshot()->find_alias("b"), nullptr);
}

TEST(Catalogue, AnAliasChangesHandsInWhateverOrderTheKeysCome) {
    for (const bool giver_first : {true, false}) {
        auto giver = key_made_at(1);
        auto taker = key_made_at(2);
        giver.aliases = {"a"};
        kms::Catalogue catalogue({giver, taker});
        giver.aliases = {};
        taker.aliases = {"a"};
        std::vector<kms::Key> changed = {giver_first ? giver : taker, giver_first ? taker : giver};
        catalogue.put(std::move(changed));
        ASSERT_NE(catalogue.snapshot()->find_alias("a"), nullptr);
        EXPECT_EQ(catalogue.snapshot()->find_alias("a")->id, taker.id);
    }
}

TEST(Catalogue, WhatIsNoLongerValidIsNotGivenOut) {
    kms::Catalogue catalogue({});
    EXPECT_NO_THROW(catalogue.snapshot());
    catalogue.valid_until(std::chrono::steady_clock::now() - std::chrono::milliseconds(1));
    EXPECT_ERROR(unavailable, catalogue.snapshot());
    catalogue.valid_until(std::chrono::steady_clock::now() + std::chrono::hours(1));
    EXPECT_NO_THROW(catalogue.snapshot());
}

TEST(Catalogue, TenThousandKeysAreAddedListedAndDescribedByIndex) {
    constexpr int count = 10'000;
    TemporaryDirectory folder;
    FakeToken token;
    KeyServiceRig rig(token, folder.path());
    std::vector<base::Uuid> ids;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
        auto key = key_made_at(i / 3);  // some at the same moment
        key.aliases = {"key-" + std::to_string(i)};
        ids.push_back(key.id);
        rig.catalogue.put(std::move(key));
    }
    // A copy of the whole index for each would take minutes.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));

    std::set<std::string> seen;
    std::string cursor;
    std::string last;
    do {
        const auto page =
            json_of(send_as(rig, "operator", server::Method::GET, "/v1/keys", "",
                            "limit=100" + (cursor.empty() ? "" : "&cursor=" + cursor)));
        for (const auto& key : *page.find("keys")->array()) {
            EXPECT_TRUE(seen.insert(text_in(key, "id")).second);
            EXPECT_LE(last, text_in(key, "created_at"));
            last = text_in(key, "created_at");
        }
        cursor = text_in(page, "next_cursor");
    } while (!cursor.empty());
    EXPECT_EQ(seen.size(), ids.size());

    std::size_t aliases = 0;
    do {
        const auto page =
            json_of(send_as(rig, "operator", server::Method::GET, "/v1/aliases", "",
                            "limit=100" + (cursor.empty() ? "" : "&cursor=" + cursor)));
        aliases += page.find("aliases")->array()->size();
        cursor = text_in(page, "next_cursor");
    } while (!cursor.empty());
    EXPECT_EQ(aliases, ids.size());

    for (int i = 0; i < count; i += 97) {
        const auto& id = ids[static_cast<std::size_t>(i)];
        const auto by_id =
            send_as(rig, "operator", server::Method::GET, "/v1/keys/" + id.to_string());
        EXPECT_EQ(text_in(json_of(by_id), "id"), id.to_string());
        const auto by_alias = send_as(rig, "operator", server::Method::GET,
                                      "/v1/keys/alias/key-" + std::to_string(i));
        EXPECT_EQ(text_in(json_of(by_alias), "id"), id.to_string());
    }
}

}  // namespace
}  // namespace tests
