// One large batch at a time, as far as patience goes. A courtesy between callers and no lock: who
// has waited long enough goes on without a turn. What a batch is, is not known here.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace hsm {

// Thread-safe. Turns must end before it does.
class BatchTurns {
    struct GiveBack {
        void operator()(BatchTurns* turns) const noexcept { turns->give_back(); }
    };

public:
    // Ends with this; empty when there was none within the patience.
    using Turn = std::unique_ptr<BatchTurns, GiveBack>;

    Turn take(std::chrono::milliseconds patience) {
        std::unique_lock lock(mutex_);
        // Not a timed mutex: the thread sanitizer does not see its lock.
        if (!free_.wait_for(lock, patience, [this] { return !taken_; })) return nullptr;
        taken_ = true;
        return Turn(this);
    }

private:
    void give_back() noexcept {
        {
            const std::lock_guard lock(mutex_);
            taken_ = false;
        }
        free_.notify_one();
    }

    std::mutex mutex_;
    std::condition_variable free_;
    bool taken_ = false;
};

}  // namespace hsm
