#include "server/audit_housekeeping.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "server/audit_retention.h"

namespace server {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::hours retention_interval{1};

}  // namespace

struct AuditHousekeeping::State {
    State(AuditLog& the_log, const SealConfig& the_config, const base::Clock& the_clock,
          base::Log& the_messages)
        : log(the_log), config(the_config), clock(the_clock), messages(the_messages) {}

    bool is_wanted() const { return config.keep.count() > 0 || config.compress.has_value(); }
    bool stops() const {
        const std::lock_guard lock(mutex);
        return stopping;
    }
    void run();
    void round(std::uint64_t covered_now);

    AuditLog& log;  // this, the clock and the messages not to be touched once abandoned
    const SealConfig config;
    const base::Clock& clock;
    base::Log& messages;

    mutable std::mutex mutex;
    std::condition_variable wake;
    std::condition_variable ended;
    std::uint64_t covered = 0;
    bool due = false;
    bool stopping = false;
    bool done = false;
    bool abandoned = false;
    std::optional<SteadyClock::time_point> began;  // the last round
    std::thread thread;
};

void AuditHousekeeping::State::round(std::uint64_t covered_now) {
    const std::filesystem::path directory = log.config().directory;
    const base::Time now = clock.now();
    try {
        if (config.keep.count() > 0) prune_audit_log(log, config.keep, covered_now, now);
        if (config.compress) {
            compress_audit_log(directory, *config.compress, covered_now, now,
                               [this] { return stops(); });
        }
    } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        if (abandoned) return;
        messages.warning("old segments of the audit log can't be removed or compressed",
                         {{"reason", error.what()}});
    }
}

void AuditHousekeeping::State::run() {
    std::unique_lock lock(mutex);
    while (true) {
        wake.wait(lock, [this] { return stopping || due; });
        if (stopping) break;
        due = false;
        const std::uint64_t covered_now = covered;
        lock.unlock();
        round(covered_now);
        lock.lock();
    }
    done = true;
    ended.notify_all();
}

AuditHousekeeping::AuditHousekeeping(AuditLog& log, const SealConfig& config,
                                     const base::Clock& clock, base::Log& messages)
    : state_(std::make_shared<State>(log, config, clock, messages)) {
    if (!state_->is_wanted()) return;
    state_->thread = std::thread([state = state_] { state->run(); });
}

AuditHousekeeping::~AuditHousekeeping() { stop(); }

void AuditHousekeeping::stop() {
    State& state = *state_;
    if (!state.thread.joinable()) return;
    bool done = false;
    {
        std::unique_lock lock(state.mutex);
        state.stopping = true;
        state.wake.notify_one();
        done = state.ended.wait_for(lock, state.config.stop_bound, [&] { return state.done; });
        state.abandoned = !done;
    }
    if (done) {
        state.thread.join();
    } else {
        state.thread.detach();
    }
}

void AuditHousekeeping::covered(std::uint64_t records) {
    State& state = *state_;
    const auto now = SteadyClock::now();
    const std::lock_guard lock(state.mutex);
    state.covered = records;
    if (state.began && now - *state.began < retention_interval) return;
    state.began = now;
    state.due = true;
    state.wake.notify_one();
}

}  // namespace server
