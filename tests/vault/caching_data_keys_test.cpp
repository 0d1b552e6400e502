// The cache of data keys: what it may answer, and when it must ask.
#include "vault/caching_data_keys.h"

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/sanitized.h"
#include "tests/vault/api_house.h"
#include "tests/vault/data_keys_contract.h"
#include "tests/vault/fake_data_keys.h"
#include "vault/sealed.h"
#include "vault/value_api.h"

namespace tests {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Stands still until a test moves it.
class HandClock {
public:
    vault::CachingDataKeys::Clock source() {
        return [this] { return std::chrono::steady_clock::time_point(milliseconds(now_.load())); };
    }
    void advance(milliseconds by) { now_ += by.count(); }

private:
    std::atomic<std::int64_t> now_ = 1'000'000;
};

class KeyCacheTest : public testing::Test {
protected:
    void limit(vault::KeyCacheLimits limits) {
        cache_ = std::make_unique<vault::CachingDataKeys>(keys_, limits, clock_.source());
    }
    vault::WrappedKey make(const std::string& name) {
        const vault::KeyContext context = {{"owner", "acme"}, {"credential", name}};
        vault::DataKey key = keys_.create(context, "");
        made_[key.wrapped] = std::move(key.plaintext);
        return {key.wrapped, context};
    }
    // Whether the cache answered; the key is right in any case.
    bool is_cached(const vault::WrappedKey& item, const std::string& reader = "app") {
        const auto read = cache_->unwrap_to_read(item, reader, "");
        EXPECT_TRUE(read.key.equals(made_.at(item.wrapped).expose()));
        return read.from_cache;
    }
    void expect_unavailable(const vault::WrappedKey& item) {
        EXPECT_ERROR(unavailable, cache_->unwrap_to_read(item, "app", ""));
    }

    FakeDataKeys keys_;
    HandClock clock_;
    std::map<base::Bytes, base::SecretBytes> made_;
    std::unique_ptr<vault::CachingDataKeys> cache_;
};

class KeyCache : public KeyCacheTest {
protected:
    KeyCache() { limit({seconds(10), 100, 100}); }
    const vault::WrappedKey a_ = make("a"), b_ = make("b");
};

TEST_F(KeyCache, KeepsTheContractOfDataKeys) {
    expect_data_keys_contract(*cache_);
    expect_data_keys_contract_of_batches(*cache_);
}

TEST_F(KeyCache, AKeyIsGivenAgainToItsReaderAndItSaysSo) {
    EXPECT_FALSE(is_cached(a_));
    const int calls = keys_.calls;
    EXPECT_TRUE(is_cached(a_));
    EXPECT_EQ(keys_.calls, calls);
    EXPECT_FALSE(is_cached(a_, "other")) << "what was kept is for its reader";
    auto moved = a_;
    moved.context["credential"] = "b";
    EXPECT_ERROR(integrity_failure, cache_->unwrap_to_read(moved, "app", ""));
    auto flipped = a_;
    flipped.wrapped.back() ^= 1;
    EXPECT_ERROR(integrity_failure, cache_->unwrap_to_read(flipped, "app", ""));
}

TEST_F(KeyCache, WhatProvesSomethingAsksTheKeyService) {
    is_cached(a_);
    const int calls = keys_.calls;
    cache_->unwrap(a_.wrapped, a_.context, "");
    cache_->unwrap_many(std::vector{a_}, "");
    cache_->rewrap_many(std::vector{a_}, "");
    EXPECT_EQ(keys_.calls, calls + 3);
}

TEST_F(KeyCache, OneReadASecondGoesThroughAndIsTheProofForTheOthers) {
    is_cached(a_);
    is_cached(b_);
    clock_.advance(milliseconds(999));
    EXPECT_TRUE(is_cached(a_));
    EXPECT_TRUE(is_cached(b_));
    clock_.advance(milliseconds(1));
    EXPECT_FALSE(is_cached(a_));
    EXPECT_TRUE(is_cached(b_));
}

TEST_F(KeyCache, ADisableEndsReadsWithinASecondAndEmptiesTheCache) {
    is_cached(a_);
    is_cached(b_);
    keys_.unavailable = true;  // as a refusal is translated
    clock_.advance(milliseconds(999));
    EXPECT_TRUE(is_cached(a_));
    clock_.advance(milliseconds(1));
    expect_unavailable(a_);
    EXPECT_EQ(cache_->size(), 0U);
    expect_unavailable(b_);
    keys_.unavailable = false;
    EXPECT_FALSE(is_cached(b_)) << "nothing was kept over it";
}

TEST_F(KeyCache, ARefusalThatAnyReadMeetsEmptiesTheCacheAtOnce) {
    is_cached(a_);
    keys_.unavailable = true;
    expect_unavailable(b_);
    expect_unavailable(a_);
    keys_.unavailable = false;
    is_cached(a_);
    keys_.refuses_items = true;
    const auto outcomes = cache_->unwrap_many_to_read(std::vector{a_, b_}, "app", "");
    EXPECT_TRUE(std::get<vault::ReadKey>(outcomes[0]).from_cache);
    EXPECT_EQ(std::get<base::Error>(outcomes[1]).code(), base::ErrorCode::unavailable);
    EXPECT_EQ(cache_->size(), 0U);
}

// A key that is gone fails in the words of one that was tampered with.
TEST_F(KeyCache, AFailureToOpenEndsTheProofOfItsMasterKeyVersion) {
    is_cached(a_);
    auto flipped = b_;
    flipped.wrapped.back() ^= 1;
    EXPECT_ERROR(integrity_failure, cache_->unwrap_to_read(flipped, "app", ""));
    EXPECT_FALSE(is_cached(a_));
    EXPECT_TRUE(is_cached(a_));
}

TEST_F(KeyCache, OneMasterKeyVersionProvesNothingOfAnother) {
    is_cached(a_);
    keys_.primary = static_cast<std::uint8_t>(keys_.primary + 1);
    const auto newer = make("newer");
    is_cached(newer);
    clock_.advance(milliseconds(1000));
    EXPECT_FALSE(is_cached(newer));
    EXPECT_TRUE(is_cached(newer));
    EXPECT_FALSE(is_cached(a_));
}

TEST_F(KeyCache, WhatIsToBeForgottenGoesForEveryReaderAndNothingElse) {
    is_cached(a_);
    is_cached(a_, "other");
    is_cached(b_);
    auto parts = a_.context;
    cache_->forget(parts);
    EXPECT_EQ(cache_->size(), 1U);
    EXPECT_FALSE(is_cached(a_));
    EXPECT_TRUE(is_cached(b_));
    parts["more"] = "than it has";
    cache_->forget(parts);
    EXPECT_TRUE(is_cached(a_));
    cache_->forget({});
    EXPECT_EQ(cache_->size(), 0U);
}

TEST_F(KeyCache, ABatchAsksForWhatIsNotThereAndFailsAsAWholeWithoutTheKeyService) {
    is_cached(a_);
    const auto c = make("c");
    const int calls = keys_.calls;
    const std::vector both{b_, a_};
    const auto outcomes = cache_->unwrap_many_to_read(both, "app", "");
    EXPECT_FALSE(std::get<vault::ReadKey>(outcomes[0]).from_cache);
    EXPECT_TRUE(std::get<vault::ReadKey>(outcomes[1]).from_cache);
    EXPECT_TRUE(std::get<vault::ReadKey>(outcomes[1]).key.equals(made_.at(a_.wrapped).expose()));
    EXPECT_EQ(keys_.calls, calls + 1);
    cache_->unwrap_many_to_read(both, "app", "");
    EXPECT_EQ(keys_.calls, calls + 1) << "all of them are there";
    keys_.unavailable = true;
    const std::vector more{a_, c};
    EXPECT_ERROR(unavailable, cache_->unwrap_many_to_read(more, "app", ""));
}

TEST_F(KeyCacheTest, AKeyGoesWhenItIsTooOld) {
    limit({seconds(5), 100, 100});
    const auto a = make("a");
    const auto b = make("b");
    is_cached(a);
    for (int second = 1; second < 5; ++second) {
        clock_.advance(seconds(1));
        EXPECT_FALSE(is_cached(b)) << "the proof";
        EXPECT_TRUE(is_cached(a)) << second;
    }
    clock_.advance(milliseconds(999));
    EXPECT_TRUE(is_cached(a));
    clock_.advance(milliseconds(1));
    EXPECT_FALSE(is_cached(b));
    EXPECT_FALSE(is_cached(a));
}

TEST_F(KeyCacheTest, AKeyGoesWithItsLastUse) {
    limit({seconds(5), 100, 3});
    const auto a = make("a");
    EXPECT_FALSE(is_cached(a));
    for (int use = 0; use < 3; ++use) EXPECT_TRUE(is_cached(a));
    EXPECT_EQ(cache_->size(), 0U);
    EXPECT_FALSE(is_cached(a));
}

TEST_F(KeyCacheTest, BeyondTheirNumberTheLeastUsedGoes) {
    limit({seconds(5), 2, 100});
    const auto a = make("a");
    const auto b = make("b");
    is_cached(a);
    is_cached(b);
    EXPECT_TRUE(is_cached(a));
    is_cached(make("c"));
    EXPECT_EQ(cache_->size(), 2U);
    EXPECT_TRUE(is_cached(a));
    EXPECT_FALSE(is_cached(b));
}

TEST_F(KeyCacheTest, WhatIsTooOldGoesThoughNobodyAsksForIt) {
    limit({seconds(2), 100, 100});
    is_cached(make("a"));
    clock_.advance(milliseconds(1999));
    cache_->sweep();
    EXPECT_EQ(cache_->size(), 1U);
    clock_.advance(milliseconds(1));
    const auto end = std::chrono::steady_clock::now() + seconds(30);
    while (cache_->size() > 0 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(cache_->size(), 0U) << "by the thread";
}

// Gives keys that can be told without having them: byte by byte of a rule.
class RuledKeys final : public vault::DataKeys {
public:
    static std::uint8_t byte_of(std::size_t i) {
        return static_cast<std::uint8_t>((i * 73 + 41) ^ (i << 3U) ^ 0xA5U);
    }
    base::SecretBytes unwrap(base::ByteView, const vault::KeyContext&,
                             const std::string&) override {
        if (during) during();
        base::SecretBytes key(vault::data_key_bytes);
        for (std::size_t i = 0; i < key.size(); ++i) key.expose_mutable()[i] = byte_of(i);
        return key;
    }
    vault::DataKey create(const vault::KeyContext&, const std::string&) override { return {}; }
    std::vector<vault::DataKey> create_many(const vault::KeyContext&, std::size_t,
                                            const std::string&) override {
        return {};
    }
    std::vector<vault::UnwrapOutcome> unwrap_many(std::span<const vault::WrappedKey>,
                                                  const std::string&) override {
        throw base::Error(base::ErrorCode::unavailable, "away");
    }
    std::vector<vault::RewrapOutcome> rewrap_many(std::span<const vault::WrappedKey>,
                                                  const std::string&) override {
        return {};
    }
    std::optional<vault::MasterKeyVersion> newest(const std::string&) override { return {}; }
    vault::MasterKeyVersion newest_now(const std::string&) override { return {}; }
    void check() override {}

    std::function<void()> during;  // of an unwrap
};

// How often the ruled key stands in what this process can write to.
std::size_t copies_in_memory() {
    std::ifstream maps("/proc/self/maps");
    std::ifstream memory("/proc/self/mem", std::ios::binary);
    std::size_t found = 0;
    std::vector<char> content(1U << 20U);
    for (std::string line; std::getline(maps, line);) {
        std::uint64_t at = 0;
        std::uint64_t end = 0;
        char rights[8] = {};
        if (std::sscanf(line.c_str(), "%lx-%lx %7s", &at, &end, rights) != 3) continue;
        if (std::string_view(rights).substr(0, 2) != "rw") continue;
        for (; at < end; at += content.size() - vault::data_key_bytes) {
            memory.clear();
            memory.seekg(static_cast<std::streamoff>(at));
            memory.read(content.data(), static_cast<std::streamsize>(
                                            std::min<std::uint64_t>(content.size(), end - at)));
            const auto bytes = static_cast<std::size_t>(memory.gcount());
            for (std::size_t i = 0; i + vault::data_key_bytes <= bytes; ++i) {
                std::size_t k = 0;
                while (k < vault::data_key_bytes &&
                       static_cast<std::uint8_t>(content[i + k]) == RuledKeys::byte_of(k))
                    ++k;
                if (k == vault::data_key_bytes) ++found;
            }
            base::wipe(content.data(), content.size());
        }
    }
    return found;
}

TEST_F(KeyCacheTest, WhatGoesIsWiped) {
    if (keeps_freed_memory) GTEST_SKIP() << "a sanitizer's shadow memory can't be searched";
    RuledKeys ruled;
    const vault::WrappedKey item = make("a");
    for (const char* reason : {"age", "uses", "number", "failure", "end"}) {
        SCOPED_TRACE(reason);
        vault::CachingDataKeys cache(ruled, {seconds(5), 1, 1}, clock_.source());
        EXPECT_EQ(copies_in_memory(), 0U);
        EXPECT_FALSE(cache.unwrap_to_read(item, "app", "").from_cache);
        EXPECT_EQ(copies_in_memory(), 1U);
        const std::string_view why(reason);
        if (why == "age") {
            clock_.advance(seconds(5));
            cache.sweep();
        } else if (why == "uses") {
            EXPECT_TRUE(cache.unwrap_to_read(item, "app", "").from_cache);
        } else if (why == "number") {
            cache.unwrap_to_read(item, "other", "");
            EXPECT_EQ(copies_in_memory(), 1U);
            continue;
        } else if (why == "failure") {
            EXPECT_ERROR(unavailable, cache.unwrap_many_to_read(std::vector{make("b")}, "app", ""));
        } else {
            continue;  // with the cache: seen by the next round
        }
        EXPECT_EQ(cache.size(), 0U);
        EXPECT_EQ(copies_in_memory(), 0U);
    }
    EXPECT_EQ(copies_in_memory(), 0U);
}

TEST_F(KeyCacheTest, AnAnswerThatWasAskedForBeforeARefusalIsNotKept) {
    RuledKeys ruled;
    vault::CachingDataKeys cache(ruled, {seconds(5), 10, 10}, clock_.source());
    const vault::WrappedKey a = make("a");
    ruled.during = [&] {
        EXPECT_ERROR(unavailable, cache.unwrap_many_to_read(std::vector{make("b")}, "app", ""));
    };
    cache.unwrap_to_read(a, "app", "");
    EXPECT_EQ(cache.size(), 0U);
    ruled.during = nullptr;
    EXPECT_FALSE(cache.unwrap_to_read(a, "app", "").from_cache);
}

TEST_F(KeyCacheTest, AnAnswerThatWasAskedForBeforeItWasToBeForgottenIsNotKept) {
    RuledKeys ruled;
    vault::CachingDataKeys cache(ruled, {seconds(5), 10, 10}, clock_.source());
    const vault::WrappedKey a = make("a");
    ruled.during = [&] { cache.forget(a.context); };
    cache.unwrap_to_read(a, "app", "");
    EXPECT_EQ(cache.size(), 0U);
}

TEST_F(KeyCacheTest, AnAnswerProvesFromWhenItWasAskedFor) {
    RuledKeys ruled;
    vault::CachingDataKeys cache(ruled, {seconds(5), 10, 10}, clock_.source());
    const vault::WrappedKey a = make("a");
    ruled.during = [&] { clock_.advance(milliseconds(900)); };
    cache.unwrap_to_read(a, "app", "");
    clock_.advance(milliseconds(99));
    EXPECT_TRUE(cache.unwrap_to_read(a, "app", "").from_cache);
    clock_.advance(milliseconds(1));
    EXPECT_FALSE(cache.unwrap_to_read(a, "app", "").from_cache);
}

TEST_F(KeyCacheTest, ManyReadersAtOnceGetTheirKeysWhateverHappens) {
    limit({seconds(3), 8, 5});
    std::vector<vault::WrappedKey> items;
    for (int i = 0; i < 16; ++i) items.push_back(make("c" + std::to_string(i)));
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 6; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 400; ++i) {
                const auto& item = items[(i * (t + 1)) % items.size()];
                try {
                    const auto read = cache_->unwrap_to_read(item, "app", "");
                    if (!read.key.equals(made_.at(item.wrapped).expose())) ++wrong;
                    const auto many = cache_->unwrap_many_to_read({&item, 1}, "app", "");
                    const auto* one = std::get_if<vault::ReadKey>(&many.at(0));
                    if (one != nullptr && !one->key.equals(made_.at(item.wrapped).expose()))
                        ++wrong;
                } catch (const base::Error& error) {
                    if (error.code() != base::ErrorCode::unavailable) ++wrong;
                }
                if (t == 0 && i % 7 == 0) clock_.advance(milliseconds(300));
                if (t == 1) keys_.unavailable = i % 50 == 0;
                if (t == 2 && i % 20 == 0) cache_->sweep();
                if (cache_->size() > 8) ++wrong;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

// The vault over a cache: who may read, and what the record says.
class CachedVault : public VaultApiHouse {
protected:
    CachedVault() {
        service_ = std::make_unique<vault::CredentialService>(*world_.store, cache_, world_.clock);
        api_ = std::make_unique<vault::Api>(vault::ApiParts{*service_, world_.authorizer,
                                                            *world_.store, cache_, audit_, metrics_,
                                                            value_api_.routes()});
        routes_ = std::make_unique<server::RouteTable>(api_->routes());
    }
    HandClock hand_;
    vault::CachingDataKeys cache_{world_.keys, {seconds(10), 100, 100}, hand_.source()};
    std::unique_ptr<vault::CredentialService> service_;
    vault::ValueService values_{cache_, world_.clock, {}};
    vault::ValueApi value_api_{{values_, world_.authorizer, metrics_, {}}};
};

TEST_F(CachedVault, ARevealFromTheCacheIsAuthorisedAndItsRecordSaysSo) {
    put(R"({"secret":{"k":1}})");
    EXPECT_EQ(reveal().status, 200U);
    EXPECT_EQ(facts_.count("data_key"), 0U);
    const int calls = world_.keys.calls;
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":1})");
    EXPECT_EQ(facts_["data_key"], "cache");
    EXPECT_EQ(world_.keys.calls, calls);
    EXPECT_EQ(reveal({}, "reader").status, 403U);
    EXPECT_EQ(reveal({}, "globex").status, 403U);
    send(server::Method::PUT, all + "/b", R"({"secret":{"k":2}})");
    const auto both = send(server::Method::POST, "/v1/owners/acme/reveal",
                           R"({"items":[{"name":"b"},{"name":"none"},{"name":"instagram"}]})");
    EXPECT_EQ(both.status, 200U) << both.body;
    EXPECT_EQ(facts_["data_keys_from_cache"], "2");
    world_.keys.unavailable = true;
    hand_.advance(seconds(1));
    EXPECT_EQ(reveal().status, 503U);
    hand_.advance(seconds(-1));
    EXPECT_EQ(reveal().status, 503U) << "it was emptied";
}

TEST_F(CachedVault, ADestructionTakesTheKeysOfAllVersionsAndOfNothingElse) {
    const auto erase = [&] { return send(server::Method::POST, "/v1/owners/acme/erase"); };
    for (const auto* body : {R"({"secret":{"k":1}})", R"({"secret":{"k":2}})"}) {
        put(body);
        EXPECT_EQ(reveal().status, 200U);
    }
    send(server::Method::PUT, all + "/b", R"({"secret":{"k":2}})");
    EXPECT_EQ(send(server::Method::POST, all + "/b/reveal").status, 200U);
    EXPECT_EQ(cache_.size(), 3U);
    EXPECT_EQ(send(server::Method::DELETE, one).status, 200U);
    EXPECT_EQ(cache_.size(), 1U) << "of b";
    EXPECT_EQ(erase().status, 200U);
    EXPECT_EQ(cache_.size(), 0U);
}

TEST_F(CachedVault, AnOpenFromTheCacheSaysSoAndATamperedRowDoesNotOpen) {
    const auto sealed = send(server::Method::POST, "/v1/seal", R"({"value":"v","context":"c"})");
    const std::string item = R"({"value":)" + sealed.at({"value"}) + R"(,"context":"c"})";
    const std::string two = R"({"items":[)" + item + "," + item + "]}";
    EXPECT_EQ(send(server::Method::POST, "/v1/open", item).at({"value"}), R"("v")");
    EXPECT_EQ(facts_.count("data_keys_from_cache"), 0U);
    EXPECT_EQ(send(server::Method::POST, "/v1/open", two).status, 200U);
    EXPECT_EQ(facts_["data_keys_from_cache"], "0,1");
    const std::string moved = R"({"value":)" + sealed.at({"value"}) + R"(,"context":"d"})";
    EXPECT_EQ(send(server::Method::POST, "/v1/open", moved).status, 422U);
}

}  // namespace
}  // namespace tests
