// Unwraps that are asked for at the same time, by threads that know nothing of each other, go to
// the key service in one call: it then pays for its head, its decision, its record and the sync of
// that once for all of them. A call that finds few under way goes at once, by itself. Whose data
// key is whose, and what its trace is, is each item's own; nothing is kept. No HTTP may appear
// here.
//
// Sharing pays where a call costs more than an item in it. Where an item itself takes long, as on a
// network's HSM, the key service does side by side what comes in calls of their own, and one after
// the other what comes in one: there calls are not shared.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "vault/data_keys.h"

namespace vault {

// Thread-safe.
class SharedUnwraps {
public:
    // One call to the key service: an outcome for each item, in order. Throws base::Error when
    // there is none for any.
    using Ask = std::function<std::vector<UnwrapOutcome>(std::span<const WrappedKey>)>;

    // What is asked for while so many calls are under way waits for one of them to end.
    static constexpr std::size_t max_calls = 2;
    // Items of one call.
    static constexpr std::size_t max_items = 16;
    // When in so many shared calls no item took less than slow_item, so many items go alone. The
    // quickest says how long an item takes; the others say how busy the machines are.
    static constexpr std::size_t calls_of_a_round = 8;
    static constexpr std::size_t alone_after_slow = 1024;
    struct Limits {
        std::chrono::milliseconds patience{5};  // a call that takes longer holds up nobody
        std::chrono::microseconds slow_item{1000};
    };

    explicit SharedUnwraps(Ask ask) : SharedUnwraps(std::move(ask), Limits()) {}
    SharedUnwraps(Ask ask, Limits limits) : ask_(std::move(ask)), limits_(limits) {}
    SharedUnwraps(const SharedUnwraps&) = delete;
    SharedUnwraps& operator=(const SharedUnwraps&) = delete;

    // The item's data key. Throws what stands in its outcome, or what its call threw; where a
    // shared call was refused as a whole, each thread asks for its own item first, unless the
    // service is unavailable. base::Error, or std::bad_alloc.
    base::SecretBytes unwrap(WrappedKey item);

    // Items that nobody asks for yet.
    std::size_t waiting() const;

private:
    // One thread that waits. Shared with the thread that asks for it.
    struct Waiter {
        WrappedKey item{};
        std::condition_variable changed{};
        bool is_taken = false;    // somebody asks for it
        bool must_ask = false;    // it is to ask for itself and for others
        bool must_retry = false;  // it was asked for in vain, and is to ask for itself alone
        std::optional<UnwrapOutcome> outcome{};
    };
    struct Group {
        std::array<std::shared_ptr<Waiter>, max_items> waiters{};
        std::size_t count = 0;
        std::span<const std::shared_ptr<Waiter>> all() const { return {waiters.data(), count}; }
    };

    bool wait_for_turn(std::unique_lock<std::mutex>& lock, Waiter& own);
    Group gather(const std::shared_ptr<Waiter>& own);
    void call_for(const Group& group);
    std::vector<UnwrapOutcome> outcomes_for(const Group& group) const;
    std::vector<UnwrapOutcome> ask_for(std::span<const WrappedKey> items) const;
    void end_call(const Group& group, std::vector<UnwrapOutcome> outcomes);
    void note_time(std::chrono::nanoseconds item);
    base::SecretBytes ask_alone(const WrappedKey& item) const;

    const Ask ask_;
    const Limits limits_;
    mutable std::mutex mutex_;
    std::deque<std::shared_ptr<Waiter>> waiting_;  // nobody asks for them yet
    std::size_t calls_ = 0;                        // under way
    std::size_t alone_ = 0;                        // items that don't share a call
    std::size_t shared_calls_ = 0;                 // of this round
    std::chrono::nanoseconds quickest_ = std::chrono::nanoseconds::max();  // item of this round
};

}  // namespace vault
