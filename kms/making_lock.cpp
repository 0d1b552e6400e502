#include "kms/making_lock.h"

#include <thread>

#include "base/error.h"

namespace kms {

MakingLock::MakingLock(Store& store, const base::Clock& clock, std::string holder)
    : store_(store), holder_(std::move(holder)) {
    constexpr std::chrono::milliseconds pause{20};
    const auto give_up = std::chrono::steady_clock::now() + making_patience;
    while (!store_.take_lock(holder_, clock.now(), clock.now() + making_lease)) {
        if (std::chrono::steady_clock::now() > give_up) {
            throw base::Error(base::ErrorCode::unavailable,
                              "another node is making a key: try again");
        }
        // Another node has it: nothing in this process could tell when it is free.
        std::this_thread::sleep_for(pause);
    }
}

MakingLock::~MakingLock() {
    try {
        store_.release_lock(holder_);
    } catch (const base::Error&) {
        // The store is away: the lease ends by itself.
    }
}

}  // namespace kms
