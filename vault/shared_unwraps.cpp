#include "vault/shared_unwraps.h"

#include <algorithm>
#include <utility>

namespace vault {

using base::Error;
using base::ErrorCode;

base::SecretBytes SharedUnwraps::unwrap(WrappedKey item) {
    const auto own = std::make_shared<Waiter>();
    own->item = std::move(item);
    std::unique_lock lock(mutex_);
    waiting_.push_back(own);
    if (wait_for_turn(lock, *own)) {
        const Waiters waiters = gather(own);
        ++calls_;
        lock.unlock();
        ask_for(waiters);
    } else {
        own->changed.wait(lock, [&] { return own->outcome.has_value(); });
        lock.unlock();
    }
    // Nobody else looks at it any more.
    if (const auto* error = std::get_if<Error>(&*own->outcome)) throw Error(*error);
    return std::move(std::get<base::SecretBytes>(*own->outcome));
}

std::size_t SharedUnwraps::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
}

// True when this thread is to ask; false when another asks for it.
bool SharedUnwraps::wait_for_turn(std::unique_lock<std::mutex>& lock, Waiter& own) {
    if (calls_ < max_calls) return true;
    own.changed.wait_for(lock, patience_, [&] { return own.is_taken || own.must_ask; });
    return !own.is_taken;
}

// With the mutex held: this thread's own item and those that wait the longest.
SharedUnwraps::Waiters SharedUnwraps::gather(const std::shared_ptr<Waiter>& own) {
    Waiters waiters{own};
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), own));
    while (!waiting_.empty() && waiters.size() < max_items) {
        waiters.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
    }
    for (const auto& waiter : waiters) waiter->is_taken = true;
    return waiters;
}

void SharedUnwraps::ask_for(const Waiters& waiters) {
    std::vector<UnwrapOutcome> outcomes;
    try {
        std::vector<WrappedKey> items;
        items.reserve(waiters.size());
        for (const auto& waiter : waiters) items.push_back(std::move(waiter->item));
        outcomes = ask_for(items);
    } catch (const std::exception&) {  // no memory: those who wait must hear that, too
        outcomes.clear();
    }
    std::shared_ptr<Waiter> next;
    {
        const std::lock_guard lock(mutex_);
        for (std::size_t i = 0; i < waiters.size(); ++i) {
            if (i < outcomes.size()) {
                waiters[i]->outcome = std::move(outcomes[i]);
            } else {
                waiters[i]->outcome = Error(ErrorCode::internal, "internal error");
            }
        }
        --calls_;
        if (!waiting_.empty()) {
            next = waiting_.front();
            next->must_ask = true;
        }
    }
    if (next) next->changed.notify_one();
    for (auto waiter = waiters.begin() + 1; waiter != waiters.end(); ++waiter)
        (*waiter)->changed.notify_one();
}

// An outcome for each, whatever the key service says.
std::vector<UnwrapOutcome> SharedUnwraps::ask_for(std::span<const WrappedKey> items) const {
    std::optional<Error> failure;
    try {
        auto outcomes = ask_(items);
        if (outcomes.size() == items.size()) return outcomes;
        failure = Error(ErrorCode::internal, "the key service answered for another number of keys");
    } catch (const Error& error) {
        failure = error;
    }
    std::vector<UnwrapOutcome> outcomes;
    outcomes.reserve(items.size());
    const bool each_alone = items.size() > 1 && failure->code() != ErrorCode::unavailable;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (each_alone) {
            outcomes.push_back(std::move(ask_for(items.subspan(i, 1)).front()));
        } else {
            outcomes.emplace_back(*failure);
        }
    }
    return outcomes;
}

}  // namespace vault
