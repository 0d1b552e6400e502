// The lock that serialises the making and destroying of keys, between the threads of this process
// by a mutex of the holder's and between nodes by a lock in the store. Using keys takes no lock.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "kms/store.h"

namespace kms {

// What a dead node holds is free after that. The nodes' clocks must not differ by as much.
inline constexpr std::chrono::seconds making_lease{6};
// How often a live holder renews it, however long its token takes for a key.
inline constexpr std::chrono::milliseconds making_renewal{1000};
// How long to wait for another node before giving up.
inline constexpr std::chrono::seconds making_patience{10};

// Held from construction to destruction. Not thread-safe. `store` and `clock` must outlive it.
class MakingLock {
public:
    // Throws unavailable when another holder keeps it for longer than the patience.
    MakingLock(Store& store, const base::Clock& clock, std::string holder);
    ~MakingLock();
    MakingLock(const MakingLock&) = delete;
    MakingLock& operator=(const MakingLock&) = delete;

private:
    bool take();
    void renew();

    Store& store_;
    const base::Clock& clock_;
    std::string holder_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool is_over_ = false;
    std::thread renewing_;  // where other nodes could take it
};

}  // namespace kms
