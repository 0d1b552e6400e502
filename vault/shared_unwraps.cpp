#include "vault/shared_unwraps.h"

#include <algorithm>

#include "base/error.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::steady_clock;

base::SecretBytes key_of(UnwrapOutcome& outcome) {
    if (const auto* error = std::get_if<Error>(&outcome)) throw Error(*error);
    return std::move(std::get<base::SecretBytes>(outcome));
}

}  // namespace

base::SecretBytes SharedUnwraps::unwrap(WrappedKey item) {
    const auto own = std::make_shared<Waiter>();
    own->item = std::move(item);
    std::unique_lock lock(mutex_);
    waiting_.push_back(own);
    if (wait_for_turn(lock, *own)) {
        const Group group = gather(own);
        ++calls_;
        lock.unlock();
        call_for(group);
    } else {
        own->changed.wait(lock, [&] { return own->outcome.has_value() || own->must_retry; });
        lock.unlock();
    }
    // Nobody else looks at it any more.
    return own->must_retry ? ask_alone(own->item) : key_of(*own->outcome);
}

std::size_t SharedUnwraps::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
}

// True when this thread is to ask; false when another asks for it.
bool SharedUnwraps::wait_for_turn(std::unique_lock<std::mutex>& lock, Waiter& own) {
    if (calls_ < max_calls || alone_ > 0) return true;
    own.changed.wait_for(lock, limits_.patience, [&] { return own.is_taken || own.must_ask; });
    return !own.is_taken;
}

// With the mutex held: this thread's own item and those that wait the longest. Needs no memory, so
// that nobody is left between the queue and a group.
SharedUnwraps::Group SharedUnwraps::gather(const std::shared_ptr<Waiter>& own) {
    Group group;
    const auto take = [&group](std::shared_ptr<Waiter> waiter) {
        waiter->is_taken = true;
        group.waiters.at(group.count++) = std::move(waiter);
    };
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), own));
    take(own);
    if (alone_ > 0) {
        --alone_;
        return group;
    }
    while (!waiting_.empty() && group.count < max_items) {
        take(std::move(waiting_.front()));
        waiting_.pop_front();
    }
    return group;
}

void SharedUnwraps::call_for(const Group& group) {
    const auto begun = steady_clock::now();
    std::vector<UnwrapOutcome> outcomes;
    try {
        outcomes = outcomes_for(group);
    } catch (const std::exception&) {  // no memory: each may have better luck
    }
    if (group.count > 1 && !outcomes.empty())
        note_time((steady_clock::now() - begun) / static_cast<int>(group.count));
    end_call(group, std::move(outcomes));
}

void SharedUnwraps::note_time(std::chrono::nanoseconds item) {
    const std::lock_guard lock(mutex_);
    quickest_ = std::min(quickest_, item);
    if (++shared_calls_ < calls_of_a_round) return;
    if (quickest_ > limits_.slow_item) alone_ = alone_after_slow;
    shared_calls_ = 0;
    quickest_ = std::chrono::nanoseconds::max();
}

// None when each is to ask for itself; they have their items then as before.
std::vector<UnwrapOutcome> SharedUnwraps::outcomes_for(const Group& group) const {
    std::vector<WrappedKey> items;
    items.reserve(group.count);
    for (const auto& waiter : group.all()) items.push_back(std::move(waiter->item));
    try {
        auto outcomes = ask_for(items);
        if (outcomes.size() == group.count) return outcomes;
    } catch (const std::exception&) {  // refused as a whole, or no memory
    }
    for (std::size_t i = 0; i < group.count; ++i) group.waiters.at(i)->item = std::move(items[i]);
    return {};
}

// What was refused alone, or by a service that is unavailable, is not to be asked for again.
std::vector<UnwrapOutcome> SharedUnwraps::ask_for(std::span<const WrappedKey> items) const {
    try {
        return ask_(items);
    } catch (const Error& error) {
        if (items.size() > 1 && error.code() != ErrorCode::unavailable) throw;
        std::vector<UnwrapOutcome> outcomes;
        outcomes.reserve(items.size());
        while (outcomes.size() < items.size()) outcomes.emplace_back(error);
        return outcomes;
    }
}

void SharedUnwraps::end_call(const Group& group, std::vector<UnwrapOutcome> outcomes) {
    std::shared_ptr<Waiter> next;
    {
        const std::lock_guard lock(mutex_);
        --calls_;
        for (std::size_t i = 0; i < group.count; ++i) {
            Waiter& waiter = *group.waiters.at(i);
            waiter.must_retry = outcomes.empty();
            if (!outcomes.empty()) waiter.outcome = std::move(outcomes[i]);
        }
        if (!waiting_.empty()) {
            next = waiting_.front();
            next->must_ask = true;
        }
    }
    if (next) next->changed.notify_one();
    for (const auto& waiter : group.all().subspan(1)) waiter->changed.notify_one();
}

base::SecretBytes SharedUnwraps::ask_alone(const WrappedKey& item) const {
    auto outcomes = ask_({&item, 1});
    if (outcomes.size() != 1)
        throw Error(ErrorCode::internal, "the key service answered for another number of keys");
    return key_of(outcomes.front());
}

}  // namespace vault
