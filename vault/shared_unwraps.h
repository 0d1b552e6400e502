// Unwraps that are asked for at the same time, by threads that know nothing of each other, go to
// the key service in one call: it then pays for its head, its decision, its record and the sync of
// that once for all of them. A call that finds none under way goes at once, by itself. Whose data
// key is whose, and what its trace is, is each item's own; nothing is kept. No HTTP may appear
// here.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
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
    static constexpr std::size_t max_items = 32;
    // A call that takes longer holds up nobody.
    static constexpr std::chrono::milliseconds usual_patience{5};

    explicit SharedUnwraps(Ask ask, std::chrono::milliseconds patience = usual_patience)
        : ask_(std::move(ask)), patience_(patience) {}
    SharedUnwraps(const SharedUnwraps&) = delete;
    SharedUnwraps& operator=(const SharedUnwraps&) = delete;

    // The item's data key. Throws what stands in its outcome, or what the call threw: items that
    // were refused together are asked for one by one first, unless the service is unavailable.
    base::SecretBytes unwrap(WrappedKey item);

    // Items that nobody asks for yet.
    std::size_t waiting() const;

private:
    // One thread that waits. Shared with the thread that asks for it.
    struct Waiter {
        WrappedKey item;
        std::condition_variable changed{};
        bool is_taken = false;  // somebody asks for it
        bool must_ask = false;  // it is to ask for itself and for others
        std::optional<UnwrapOutcome> outcome{};
    };
    using Waiters = std::vector<std::shared_ptr<Waiter>>;

    bool wait_for_turn(std::unique_lock<std::mutex>& lock, Waiter& own);
    Waiters gather(const std::shared_ptr<Waiter>& own);
    void ask_for(const Waiters& waiters);
    std::vector<UnwrapOutcome> ask_for(std::span<const WrappedKey> items) const;

    const Ask ask_;
    const std::chrono::milliseconds patience_;
    mutable std::mutex mutex_;
    std::deque<std::shared_ptr<Waiter>> waiting_;  // nobody asks for them yet
    std::size_t calls_ = 0;                        // under way
};

}  // namespace vault
