// For the files of KeyLifecycle only: how making and destroying are serialised.
#pragma once

#include "kms/lifecycle.h"
#include "kms/making_lock.h"

namespace kms {

// Held while a key is made or destroyed: by one thread of one node.
class KeyLifecycle::Making {
public:
    explicit Making(KeyLifecycle& lifecycle)
        : lifecycle_(lifecycle),
          mutex_lock_(lifecycle.making_mutex_),
          store_lock_(lifecycle.store_, lifecycle.clock_, lifecycle.node_) {}

    const std::string& holder() const { return store_lock_.holder(); }
    void require_held() const { store_lock_.require_held(); }

    // A version whose making was cut short stands in the way of the next one. True when it is in
    // service now, and so the rotation done. One that can't be trusted is given up. Throws
    // unavailable when nobody can say.
    bool settle_leftover(const Key& key, const RecordIntent& record_intent) const;

private:
    KeyLifecycle& lifecycle_;
    std::lock_guard<std::mutex> mutex_lock_;
    MakingLock store_lock_;
};

// That what an order finds pending is about to be finished or given up. Nothing when empty.
void record_settling(const RecordIntent& record_intent, const Key& key, const KeyVersion& version);
// How what an order finds left of an earlier one, and gives up, is written down: beside the facts
// of the order itself. `record_intent` must outlive it.
RecordGivenUp record_given_up(const RecordIntent& record_intent);

}  // namespace kms
