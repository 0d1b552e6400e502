// What time does: rotations and destructions of keys that are due, writing down how much keys were
// used, and forgetting old idempotent requests. What is done to a key is written down in the audit
// log before and after, as done by the service itself.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "kms/catalogue.h"
#include "kms/lifecycle.h"
#include "kms/store.h"
#include "server/audit.h"

namespace kms {

// How often it looks, and how long a key that failed is left alone.
inline constexpr std::chrono::milliseconds schedule_interval{1000};
inline constexpr std::chrono::minutes schedule_pause{1};
inline constexpr std::chrono::seconds usage_report_interval{10};

// References must outlive the schedule.
struct ScheduleParts {
    KeyLifecycle& lifecycle;
    const Catalogue& catalogue;
    Store& store;
    UsageCounter& usage;
    server::AuditLog& audit;
    const base::Clock& clock;
    base::Log& log;
};

// Thread-safe. The destructor stops the thread, after the key that it is at, and writes down the
// use that is not yet.
class Schedule {
public:
    explicit Schedule(const ScheduleParts& parts);
    ~Schedule();
    Schedule(const Schedule&) = delete;
    Schedule& operator=(const Schedule&) = delete;

    // Looks at once, on its own thread.
    void wake();

    // One look, as the thread does it: how many keys were rotated or destroyed. Never throws for
    // trouble with a key: that is logged, and the key tried again after schedule_pause. While the
    // audit log has no room nothing is begun for any key, which is logged once.
    std::size_t run_due();

private:
    void run();
    bool is_paused(const base::Uuid& key_id, base::Time now);
    bool can_record();
    bool run_order(const base::Uuid& key_id, server::Action action,
                   const std::function<bool(const RecordIntent&)>& order);
    void keep_books(base::Time now);
    void report_usage() noexcept;

    const ScheduleParts parts_;
    std::mutex run_mutex_;  // one look at a time
    std::map<base::Uuid, base::Time> paused_until_;
    bool is_held_up_ = false;  // by the audit log
    base::Time next_forgetting_{};
    base::Time next_report_{};
    std::mutex mutex_;
    std::condition_variable wake_;
    bool woken_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace kms
