#include "kms/schedule.h"

#include <utility>

#include "base/error.h"
#include "kms/actions.h"
#include "server/idempotency.h"

namespace kms {
namespace {

bool may_be_due(const Key& key, base::Time now) {
    if (key.state == KeyState::pending_deletion) return key.deletion_at && *key.deletion_at <= now;
    if (!permits(key.state, KeyOperation::rotate)) return false;
    if (key.next_rotation_at && *key.next_rotation_at <= now) return true;
    return key.use() == KeyUse::encrypt && key.primary().wraps_reserved >= wraps_before_rotation;
}

}  // namespace

Schedule::Schedule(const ScheduleParts& parts) : parts_(parts), thread_([this] { run(); }) {}

Schedule::~Schedule() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
    report_usage();
}

void Schedule::wake() {
    {
        const std::lock_guard lock(mutex_);
        woken_ = true;
    }
    wake_.notify_all();
}

void Schedule::run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        woken_ = false;
        lock.unlock();
        try {
            run_due();
        } catch (const std::exception& error) {
            parts_.log.error("the schedule failed", {{"reason", error.what()}});
        }
        lock.lock();
        wake_.wait_for(lock, schedule_interval, [this] { return woken_ || stopping_; });
    }
}

bool Schedule::is_paused(const base::Uuid& key_id, base::Time now) {
    const auto found = paused_until_.find(key_id);
    if (found == paused_until_.end()) return false;
    if (found->second > now) return true;
    paused_until_.erase(found);
    return false;
}

bool Schedule::can_record() {
    try {
        parts_.audit.check();
        is_held_up_ = false;
        return true;
    } catch (const base::Error& error) {
        if (!std::exchange(is_held_up_, true)) {
            parts_.log.warning("what is due for keys waits for the audit log",
                               {{"reason", error.what()}});
        }
        return false;
    }
}

bool Schedule::run_order(const base::Uuid& key_id, server::Action action,
                         const std::function<bool(const RecordIntent&)>& order) {
    server::Operation operation(base::Uuid::random(), parts_.clock.now(), server::Caller{});
    operation.set_action(action);
    operation.set_fact("cause", "schedule");
    operation.set_fact("key_id", key_id.to_string());
    bool was_intended = false;
    const auto intend = [&](const std::map<std::string, std::string>& facts) {
        for (const auto& [name, value] : facts) operation.set_fact(name, value);
        parts_.audit.append_and_wait(operation, {"intent", "", 0});
        was_intended = true;
    };
    const auto conclude = [&](const server::Outcome& outcome) {
        try {
            parts_.audit.append_and_wait(operation, outcome);
        } catch (const base::Error& error) {
            parts_.log.error("the outcome of what was due for a key is not in the audit log yet",
                             {{"key_id", key_id.to_string()}, {"reason", error.what()}});
        }
    };
    bool done = false;
    try {
        done = order(intend);
    } catch (const base::Error& error) {
        paused_until_[key_id] = parts_.clock.now() + schedule_pause;
        parts_.log.error("what is due for a key failed", {{"action", std::string(action.word)},
                                                          {"key_id", key_id.to_string()},
                                                          {"reason", error.what()}});
        if (was_intended) conclude({"failed", std::string(to_string(error.code())), 0});
        return false;
    }
    // An order that was cancelled or done by another node meanwhile ends its intent too.
    if (done || was_intended) conclude({done ? "ok" : "cancelled", "", 0});
    return done;
}

std::size_t Schedule::run_due() {
    const std::lock_guard lock(run_mutex_);
    std::size_t done = 0;
    for (const auto& key : parts_.catalogue.snapshot()->keys()) {
        {
            const std::lock_guard stop_lock(mutex_);
            if (stopping_) return done;
        }
        const base::Time now = parts_.clock.now();
        if (!may_be_due(*key, now) || is_paused(key->id, now)) continue;
        if (!can_record()) break;
        const bool is_end = key->state == KeyState::pending_deletion;
        const auto order = [&](const RecordIntent& intend) {
            return is_end ? parts_.lifecycle.destroy_if_due(key->id, intend)
                          : parts_.lifecycle.rotate_if_due(key->id, intend);
        };
        if (run_order(key->id, is_end ? destroy_key : rotate_key, order)) ++done;
    }
    keep_books(parts_.clock.now());
    return done;
}

void Schedule::report_usage() noexcept {
    try {
        parts_.usage.report();
    } catch (const std::exception& error) {
        // Nothing is lost by that: it is reported the next time.
        parts_.log.warning("the use of keys could not be written down", {{"reason", error.what()}});
    }
}

void Schedule::keep_books(base::Time now) {
    if (now >= next_report_) {
        report_usage();
        next_report_ = now + usage_report_interval;
    }
    if (now >= next_forgetting_) {
        parts_.store.forget_requests(now - server::idempotency_memory);
        next_forgetting_ = now + std::chrono::hours(1);
    }
}

}  // namespace kms
