#include "kms/client/deadline_watch.h"

#include <algorithm>

namespace kms {

using std::chrono::steady_clock;

DeadlineWatch::DeadlineWatch(std::chrono::milliseconds usual_length)
    : usual_length_(usual_length), next_look_(steady_clock::now()), thread_([this] { run(); }) {}

DeadlineWatch::~DeadlineWatch() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

DeadlineWatch::Entry::Entry(DeadlineWatch& watch, HttpConnection& connection, Deadline deadline)
    : watch_(watch), connection_(connection) {
    bool earlier = false;
    {
        const std::lock_guard lock(watch_.mutex_);
        watch_.items_.push_back({&connection, deadline});
        earlier = deadline < watch_.next_look_;
    }
    // Rare: a fresh call's deadline lies behind the next look, see run(). So a call costs no
    // wake-up.
    if (earlier) watch_.changed_.notify_all();
}

DeadlineWatch::Entry::~Entry() {
    const std::lock_guard lock(watch_.mutex_);
    std::erase_if(watch_.items_,
                  [this](const Item& item) { return item.connection == &connection_; });
}

// The next deadline to come; without one, the earliest that a call made from now on can have.
Deadline DeadlineWatch::interrupt_due(Deadline now) {
    Deadline next = now + usual_length_;
    for (const Item& item : items_) {
        if (item.deadline <= now) {
            item.connection->interrupt();
        } else {
            next = std::min(next, item.deadline);
        }
    }
    std::erase_if(items_, [now](const Item& item) { return item.deadline <= now; });
    return next;
}

void DeadlineWatch::run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        next_look_ = interrupt_due(steady_clock::now());
        changed_.wait_until(lock, next_look_);
    }
}

}  // namespace kms
