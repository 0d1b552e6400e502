// Who asks at the same time shares a call, and nothing else.
#include "vault/shared_unwraps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <string>
#include <thread>

#include "tests/support/expect_error.h"

namespace tests {
namespace {

using base::Error;
using base::ErrorCode;
using vault::SharedUnwraps;
using vault::UnwrapOutcome;
using vault::WrappedKey;

// Nothing ends by the clock unless a test says so.
constexpr SharedUnwraps::Limits no_clock{std::chrono::hours(1), std::chrono::hours(1)};

WrappedKey make_item(std::uint8_t number) { return {{number}, {{"n", std::to_string(number)}}}; }

// The key of an item is its number twice; item 0 does not open.
UnwrapOutcome open(const WrappedKey& item) {
    const std::uint8_t number = item.wrapped.front();
    if (number == 0) return base::decryption_failed();
    return base::SecretBytes(base::Bytes{number, number});
}

// A key service whose calls wait until they are let go.
class SharedUnwrapsTest : public testing::Test {
protected:
    ~SharedUnwrapsTest() override { let_all_go(); }

    std::vector<UnwrapOutcome> answer(std::span<const WrappedKey> items) {
        std::unique_lock lock(mutex_);
        sizes_.push_back(items.size());
        changed_.notify_all();
        changed_.wait(lock, [&] { return free_ > 0; });
        --free_;
        if (failure_ && items.size() > 1) throw Error(*failure_);
        std::vector<UnwrapOutcome> outcomes;
        for (const auto& item : items) outcomes.push_back(open(item));
        if (is_short_) outcomes.pop_back();
        return outcomes;
    }
    void let_go(std::size_t calls) {
        const std::lock_guard lock(mutex_);
        free_ += calls;
        changed_.notify_all();
    }
    void let_all_go() { let_go(1'000'000); }
    void wait_for_calls(std::size_t count) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return sizes_.size() >= count; });
    }
    std::vector<std::size_t> sizes() {
        const std::lock_guard lock(mutex_);
        return sizes_;
    }

    using Key = std::future<base::SecretBytes>;
    Key ask(std::uint8_t number) {
        return std::async(std::launch::async,
                          [this, number] { return shared_->unwrap(make_item(number)); });
    }
    static void expect_key(Key& key, std::uint8_t number) {
        EXPECT_TRUE(key.get().equals(base::Bytes{number, number})) << int{number};
    }
    // Calls that are under way, so many that the next item waits.
    std::vector<Key> fill() {
        std::vector<Key> keys;
        for (std::uint8_t i = 0; i < SharedUnwraps::max_calls; ++i) {
            keys.push_back(ask(static_cast<std::uint8_t>(200 + i)));
            wait_for_calls(i + 1U);
        }
        return keys;
    }
    // Items that wait, all of them when this returns.
    std::vector<Key> gather(std::size_t count, std::uint8_t first = 1) {
        std::vector<Key> keys;
        for (std::size_t i = 0; i < count; ++i)
            keys.push_back(ask(static_cast<std::uint8_t>(first + i)));
        while (shared_->waiting() < count) std::this_thread::yield();
        return keys;
    }

    // Of three items that wait while others are under way.
    std::size_t size_of_shared_call() {
        auto first = fill();
        auto keys = gather(3);
        let_go(1);
        wait_for_calls(SharedUnwraps::max_calls + 1);
        const std::size_t size = sizes().back();
        let_all_go();
        for (auto& key : keys) key.get();
        for (auto& key : first) key.get();
        return size;
    }
    // The next calls wait again, and are counted from none.
    void hold_back() {
        const std::lock_guard lock(mutex_);
        free_ = 0;
        sizes_.clear();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t free_ = 0;
    std::vector<std::size_t> sizes_;
    std::optional<Error> failure_;
    bool is_short_ = false;
    std::optional<SharedUnwraps> shared_{std::in_place,
                                         [this](auto items) { return answer(items); }, no_clock};
};

TEST_F(SharedUnwrapsTest, WhoFindsFewCallsUnderWayAsksAtOnceAndAlone) {
    auto keys = fill();
    EXPECT_EQ(sizes(), std::vector<std::size_t>(SharedUnwraps::max_calls, 1));
    let_all_go();
    for (std::size_t i = 0; i < keys.size(); ++i)
        expect_key(keys[i], static_cast<std::uint8_t>(200 + i));
}

TEST_F(SharedUnwrapsTest, WhatIsAskedForMeanwhileGoesInOneCallAndEachGetsItsOwn) {
    auto first = fill();
    auto keys = gather(7);
    let_go(1);
    wait_for_calls(SharedUnwraps::max_calls + 1);
    EXPECT_EQ(sizes().back(), 7U);
    let_all_go();
    for (std::size_t i = 0; i < keys.size(); ++i)
        expect_key(keys[i], static_cast<std::uint8_t>(i + 1));
    for (auto& key : first) key.get();
}

TEST_F(SharedUnwrapsTest, ACallHasNoMoreItemsThanItMayAndTheRestGoesInTheNext) {
    auto first = fill();
    auto keys = gather(SharedUnwraps::max_items + 3);
    let_all_go();
    for (std::size_t i = 0; i < keys.size(); ++i)
        expect_key(keys[i], static_cast<std::uint8_t>(i + 1));
    for (auto& key : first) key.get();
    const auto found = sizes();
    EXPECT_EQ(*std::max_element(found.begin(), found.end()), SharedUnwraps::max_items);
}

TEST_F(SharedUnwrapsTest, AnItemThatDoesNotOpenIsNoMatterOfTheOthers) {
    auto first = fill();
    auto keys = gather(3, 0);
    let_all_go();
    EXPECT_ERROR(integrity_failure, keys[0].get());
    expect_key(keys[1], 1);
    expect_key(keys[2], 2);
    EXPECT_EQ(sizes().size(), SharedUnwraps::max_calls + 1);
    for (auto& key : first) key.get();
}

TEST_F(SharedUnwrapsTest, ItemsThatAreRefusedTogetherAreAskedForByTheirOwnThreadsEachAlone) {
    failure_ = Error(ErrorCode::resource_exhausted, "too many");
    auto first = fill();
    auto keys = gather(3, 0);
    let_all_go();
    EXPECT_ERROR(integrity_failure, keys[0].get());
    expect_key(keys[1], 1);
    expect_key(keys[2], 2);
    EXPECT_EQ(sizes().size(), SharedUnwraps::max_calls + 4);
    for (auto& key : first) key.get();
}

TEST_F(SharedUnwrapsTest, AnItemThatIsRefusedAloneIsNotAskedForAgain) {
    let_all_go();
    shared_.emplace(
        [this](std::span<const WrappedKey> items) -> std::vector<UnwrapOutcome> {
            answer(items);
            throw Error(ErrorCode::resource_exhausted, "too many");
        },
        no_clock);
    EXPECT_ERROR_SAYING(resource_exhausted, "too many", shared_->unwrap(make_item(1)));
    EXPECT_EQ(sizes().size(), 1U);
}

// A network's HSM does side by side what comes in calls of their own.
TEST_F(SharedUnwrapsTest, AfterARoundOfSlowSharedCallsItemsGoAtOnceAndAlone) {
    auto limits = no_clock;
    limits.slow_item = std::chrono::microseconds(0);  // each is
    shared_.emplace([this](auto items) { return answer(items); }, limits);
    for (std::size_t call = 0; call < SharedUnwraps::calls_of_a_round; ++call) {
        EXPECT_EQ(size_of_shared_call(), 3U) << call;
        hold_back();
    }
    constexpr std::uint8_t many = SharedUnwraps::max_calls + 5;
    std::vector<Key> alone;
    for (std::uint8_t i = 0; i < many; ++i) alone.push_back(ask(static_cast<std::uint8_t>(i + 1)));
    wait_for_calls(many);  // all under way, none of them answered
    EXPECT_EQ(sizes(), std::vector<std::size_t>(many, 1));
    let_all_go();
    for (auto& key : alone) key.get();
    for (std::size_t i = many; i < SharedUnwraps::alone_after_slow; ++i)
        shared_->unwrap(make_item(1));
    hold_back();
    EXPECT_EQ(size_of_shared_call(), 3U) << "then it is tried again";
}

TEST_F(SharedUnwrapsTest, QuickItemsGoOnSharingCallsRoundAfterRound) {
    for (std::size_t call = 0; call < 2 * SharedUnwraps::calls_of_a_round; ++call) {
        EXPECT_EQ(size_of_shared_call(), 3U) << call;
        hold_back();
    }
}

TEST_F(SharedUnwrapsTest, AServiceThatIsUnavailableIsNotAskedAgain) {
    failure_ = Error(ErrorCode::unavailable, "gone");
    auto first = fill();
    auto keys = gather(3);
    let_all_go();
    for (auto& key : keys) EXPECT_ERROR_SAYING(unavailable, "gone", key.get());
    EXPECT_EQ(sizes().size(), SharedUnwraps::max_calls + 1);
    for (auto& key : first) key.get();
}

TEST_F(SharedUnwrapsTest, AnAnswerForAnotherNumberOfItemsIsNobodysKey) {
    is_short_ = true;
    auto first = fill();
    auto keys = gather(2);
    let_all_go();
    for (auto& key : keys) EXPECT_ERROR(internal, key.get());
    for (auto& key : first) EXPECT_ERROR(internal, key.get());
}

TEST_F(SharedUnwrapsTest, CallsThatHangHoldUpNobody) {
    auto limits = no_clock;
    limits.patience = std::chrono::milliseconds(1);
    shared_.emplace([this](auto items) { return answer(items); }, limits);
    auto hanging = fill();
    auto key = ask(7);
    wait_for_calls(SharedUnwraps::max_calls + 1);
    EXPECT_EQ(sizes().back(), 1U);
    let_all_go();
    expect_key(key, 7);
    for (auto& each : hanging) each.get();
}

TEST_F(SharedUnwrapsTest, ManyThreadsGetEachTheirOwnKeys) {
    let_all_go();
    std::vector<std::future<bool>> threads;
    for (std::uint8_t t = 1; t <= 12; ++t) {
        threads.push_back(std::async(std::launch::async, [this, t] {
            bool good = true;
            for (int i = 0; i < 300; ++i) {
                good = good && shared_->unwrap(make_item(t)).equals(base::Bytes{t, t});
            }
            return good;
        }));
    }
    for (auto& thread : threads) EXPECT_TRUE(thread.get());
    EXPECT_EQ(shared_->waiting(), 0U);
}

}  // namespace
}  // namespace tests
