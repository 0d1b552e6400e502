#include "kms/witness/witness.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "kms/witness/kept_notes.h"
#include "kms/witness/log_judge.h"
#include "kms/witness/seen_heads.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::chrono::milliseconds witness_stop_bound{1000};

}  // namespace

std::string earlier_conflict(const std::string& who, const std::filesystem::path& conflict_file) {
    return "the key service's audit log was in conflict with what " + who + " saw before; " +
           conflict_file.string() + " says more, and must go to go on";
}

struct LogWitness::State {
    State(WitnessConfig the_config, const ClientConfig& client, WitnessEvents& the_events)
        : config(std::move(the_config)),
          logs(count_logs(config.nodes, client)),
          kept(config.file),
          judge(kept, config.audit_keys, client, logs),
          events(the_events),
          heads(logs) {
        for (const auto& checkpoint : kept.checkpoints()) heads.know(checkpoint);
        if (kept.has_conflict()) {
            conflict = LogConflict{earlier_conflict(config.who, kept.conflict_file()), {}, {}, {}};
            raised = true;
        }
        events.opened(conflict ? conflict->reason : std::string());
    }

    void refuse_conflict() const;
    std::uint64_t before_call();
    void after_answer(std::uint64_t before, std::string_view head);
    void run();

    // The witness's thread only.
    void ask();
    std::optional<LogConflict> ask_and_keep();
    void note_failure(const Error& error);
    void raise(const LogConflict& found);
    template <typename Say>
    void say(Say what);

    const WitnessConfig config;
    const std::size_t logs;
    KeptNotes kept;  // this and the next the witness's thread only
    LogJudge judge;
    WitnessEvents& events;    // not to be touched once abandoned
    bool complained = false;  // the witness's thread only
    std::optional<std::chrono::steady_clock::time_point> unproven_since;  // likewise

    mutable std::mutex mutex;
    std::condition_variable wake;
    std::condition_variable ended;
    SeenHeads heads;
    bool asked = false;
    std::optional<LogConflict> conflict;
    bool raised = false;
    bool stopping = false;
    bool done = false;
    bool abandoned = false;
    std::thread thread;
};

// With `mutex` held.
void LogWitness::State::refuse_conflict() const {
    if (!conflict || !config.refuse) return;
    throw Error(ErrorCode::unavailable, "the key service's audit log contradicts itself",
                conflict->reason);
}

std::uint64_t LogWitness::State::before_call() {
    const std::lock_guard lock(mutex);
    refuse_conflict();
    return heads.epoch();
}

void LogWitness::State::after_answer(std::uint64_t before, std::string_view head) {
    const std::lock_guard lock(mutex);
    // Found while this call was under way: its answer is of the same log.
    refuse_conflict();
    if (conflict) return;
    auto news = heads.see(before, head);
    if (news.conflict) {
        conflict = std::move(news.conflict);
        wake.notify_one();
        return refuse_conflict();
    }
    if (!news.is_worth_asking || asked) return;
    asked = true;
    wake.notify_one();
}

// Who is told may be gone once this was left behind.
template <typename Say>
void LogWitness::State::say(Say what) {
    const std::lock_guard lock(mutex);
    if (!abandoned) what();
}

std::optional<LogConflict> LogWitness::State::ask_and_keep() {
    const std::uint64_t before = [this] {
        const std::lock_guard lock(mutex);
        return heads.epoch();
    }();
    const auto found = judge.ask([this, before](const std::string& origin) {
        const std::lock_guard lock(mutex);
        return heads.of(origin, before);
    });
    if (found.kept) {
        const std::lock_guard lock(mutex);
        heads.prove(*found.kept);
    }
    if (found.is_new) say([&] { events.log_begun(*found.kept); });
    return found.conflict;
}

void LogWitness::State::ask() {
    try {
        const auto found = ask_and_keep();
        complained = false;
        unproven_since.reset();
        if (found) raise(*found);
    } catch (const Error& error) {
        note_failure(error);
    }
}

// Away for a moment: the next answer makes us ask again. Away though it answers others, refused, or
// not understood: an operator must know that nobody watches.
void LogWitness::State::note_failure(const Error& error) {
    // Of several key services one may be new: only what stays away is a conflict then.
    const auto hidden = judge.hides(error);
    const auto now = std::chrono::steady_clock::now();
    if (!unproven_since) unproven_since = now;
    const bool is_patient = now - *unproven_since < config.patience;
    if (hidden && (logs == 1 || !is_patient)) return raise(*hidden);
    const bool may_pass = hidden || error.code() == ErrorCode::unavailable;
    if ((may_pass && is_patient) || std::exchange(complained, true)) return;
    say([&] { events.unproven(why_unproven(error)); });
}

void LogWitness::State::raise(const LogConflict& found) {
    {
        const std::lock_guard lock(mutex);
        if (abandoned || raised) return;
        if (!conflict) conflict = found;
        raised = true;
    }
    say([&] { report_conflict(found, kept, events); });
}

void LogWitness::State::run() {
    std::unique_lock lock(mutex);
    while (true) {
        wake.wait(lock, [this] { return stopping || (conflict ? !raised : asked); });
        if (stopping) break;
        if (conflict) {
            const LogConflict found = *conflict;
            lock.unlock();
            raise(found);
            lock.lock();
            continue;
        }
        asked = false;
        lock.unlock();
        try {
            ask();
        } catch (const std::exception& error) {
            say([&] { events.failed(error.what()); });
        }
        lock.lock();
        wake.wait_for(lock, config.interval, [this] { return stopping || (conflict && !raised); });
    }
    done = true;
    ended.notify_all();
}

LogWitness::LogWitness(WitnessConfig config, const ClientConfig& client, WitnessEvents& events)
    : state_(std::make_shared<State>(std::move(config), client, events)) {
    state_->thread = std::thread([state = state_] { state->run(); });
}

LogWitness::~LogWitness() {
    State& state = *state_;
    std::unique_lock lock(state.mutex);
    state.stopping = true;
    state.wake.notify_one();
    const bool done = state.ended.wait_for(lock, witness_stop_bound, [&] { return state.done; });
    state.abandoned = !done;
    lock.unlock();
    if (done) {
        state.thread.join();
    } else {
        state.thread.detach();
    }
}

std::uint64_t LogWitness::before_call() { return state_->before_call(); }

void LogWitness::after_answer(std::uint64_t before, std::string_view head) {
    state_->after_answer(before, head);
}

void LogWitness::check() const {
    const std::lock_guard lock(state_->mutex);
    if (state_->conflict) {
        throw Error(ErrorCode::unavailable, "the key service's audit log contradicts itself",
                    state_->conflict->reason);
    }
}

}  // namespace kms
