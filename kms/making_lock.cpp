#include "kms/making_lock.h"

#include "base/error.h"

namespace kms {

MakingLock::MakingLock(Store& store, const base::Clock& clock, const std::string& node)
    : store_(store), clock_(clock), holder_(node + '/' + base::Uuid::random().to_string()) {
    constexpr std::chrono::milliseconds pause{20};
    const auto give_up = std::chrono::steady_clock::now() + making_patience;
    while (!store_.take_lock(holder_, clock_.now(), clock_.now() + making_lease)) {
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

void MakingLock::require_held() const {
    if (!is_lost_) return;
    throw base::Error(base::ErrorCode::unavailable,
                      "this took so long that another node may have gone on with it: try again",
                      "the lock of making keys was lost");
}

void MakingLock::renew() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, making_renewal, [this] { return is_over_; })) {
        lock.unlock();
        try {
            is_lost_ = !store_.keep_lock(holder_, clock_.now() + making_lease);
        } catch (const base::Error&) {
            // The store is away, for the other nodes too most likely: the next time, or the lease
            // ends and who takes the lock settles what is pending by what the token has.
        }
        lock.lock();
        if (is_lost_) return;  // for good: what the others did meanwhile is not known here
    }
}

}  // namespace kms
