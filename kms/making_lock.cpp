#include "kms/making_lock.h"

#include "base/error.h"

namespace kms {

MakingLock::MakingLock(Store& store, const base::Clock& clock, std::string holder)
    : store_(store), clock_(clock), holder_(std::move(holder)) {
    constexpr std::chrono::milliseconds pause{20};
    const auto give_up = std::chrono::steady_clock::now() + making_patience;
    while (!take()) {
        if (std::chrono::steady_clock::now() > give_up) {
            throw base::Error(base::ErrorCode::unavailable,
                              "another node is making a key: try again");
        }
        // Another node has it: nothing in this process could tell when it is free.
        std::this_thread::sleep_for(pause);
    }
    if (store_.is_shared()) renewing_ = std::thread([this] { renew(); });
}

MakingLock::~MakingLock() {
    if (renewing_.joinable()) {
        {
            const std::lock_guard lock(mutex_);
            is_over_ = true;
        }
        wake_.notify_all();
        renewing_.join();
    }
    try {
        store_.release_lock(holder_);
    } catch (const base::Error&) {
        // The store is away: the lease ends by itself.
    }
}

bool MakingLock::take() {
    return store_.take_lock(holder_, clock_.now(), clock_.now() + making_lease);
}

void MakingLock::renew() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, making_renewal, [this] { return is_over_; })) {
        lock.unlock();
        try {
            take();
        } catch (const base::Error&) {
            // The store is away, for the other nodes too most likely: the next time, or the lease
            // ends and who takes the lock settles what is pending by what the token has.
        }
        lock.lock();
    }
}

}  // namespace kms
