// The lock that serialises the making and destroying of keys, between the threads of this process
// by a mutex of the holder's and between nodes by a lock in the store. Using keys takes no lock.
#pragma once

#include <atomic>
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

// Held from construction to destruction, unless this process stood still, or was without the store,
// for longer than the lease: another node may have it then. So every change that is made under the
// lock names its holder(), and the store refuses it when the lock was lost (kms/store.h): what was
// not acknowledged in time is the other node's to settle. Not thread-safe. `store` and `clock` must
// outlive it.
class MakingLock {
public:
    // Throws unavailable when another holder keeps it for longer than the patience. `node` names
    // this process.
    MakingLock(Store& store, const base::Clock& clock, const std::string& node);
    ~MakingLock();
    MakingLock(const MakingLock&) = delete;
    MakingLock& operator=(const MakingLock&) = delete;

    // Of this lock, as Store::take_lock names it: another for each.
    const std::string& holder() const { return holder_; }
    // Throws unavailable when it is known to be lost: before the token is asked for what would be
    // in vain.
    void require_held() const;

private:
    void renew();

    Store& store_;
    const base::Clock& clock_;
    std::string holder_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool is_over_ = false;
    std::atomic<bool> is_lost_ = false;
    std::thread renewing_;  // where other nodes could take it
};

}  // namespace kms
