// Keeps a node's catalogue up to what other nodes do to the same store. It asks for the store's
// change count several times a second and reads what changed. What the store has not confirmed for
// a second is not good any more: the catalogue then refuses, so that a key disabled at another node
// is honoured here within that second, whatever happens to the network.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "kms/catalogue.h"
#include "kms/store.h"

namespace kms {

inline constexpr std::chrono::milliseconds follow_interval{200};
inline constexpr std::chrono::milliseconds follow_patience{1000};

// Thread-safe. Everything passed by reference must outlive it; the destructor stops the thread. A
// store that nobody else changes limits nothing.
class CatalogueFollower {
public:
    // `since`: the change count up to which the catalogue is complete. Looks at the store once; if
    // that fails the catalogue of a shared store is not good before it has answered.
    CatalogueFollower(Catalogue& catalogue, Store& store, std::uint64_t since, base::Log& log);
    ~CatalogueFollower();
    CatalogueFollower(const CatalogueFollower&) = delete;
    CatalogueFollower& operator=(const CatalogueFollower&) = delete;

    // One look at the store, as the thread does it; false when it does not answer.
    bool follow();

private:
    void run();

    Catalogue& catalogue_;
    Store& store_;
    base::Log& log_;
    std::mutex follow_mutex_;  // one look at a time
    std::uint64_t seen_;
    bool is_away_ = false;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace kms
