// The lock that serialises the making and destroying of keys, between the threads of this process
// by a mutex of the holder's and between nodes by a lock in the store. Using keys takes no lock.
#pragma once

#include <chrono>
#include <string>

#include "base/clock.h"
#include "kms/store.h"

namespace kms {

// Longer than any token takes for a key: an RSA-4096 pair in software takes seconds. What a dead
// node holds is free after that.
inline constexpr std::chrono::minutes making_lease{2};
// How long to wait for another node before giving up.
inline constexpr std::chrono::seconds making_patience{10};

// Held from construction to destruction. Not thread-safe.
class MakingLock {
public:
    // Throws unavailable when another holder keeps it for longer than the patience.
    MakingLock(Store& store, const base::Clock& clock, std::string holder);
    ~MakingLock();
    MakingLock(const MakingLock&) = delete;
    MakingLock& operator=(const MakingLock&) = delete;

private:
    Store& store_;
    std::string holder_;
};

}  // namespace kms
