// Keeps a token worker for kmsd: one that serves, and one that stands by, logged in. Gives channels
// to callers, and puts the second in the place of the first when that hangs or is gone. Asks who
// has nothing to do now and then whether the token answers; while it does not, only the one that
// serves. Knows nothing else of what is said on a channel.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/log.h"
#include "hsm/kept_pin.h"
#include "hsm/token_config.h"
#include "hsm/worker.h"

namespace hsm {

class WorkerKeeper;

// A worker with the channels to it. What changes is the keeper's, under its lock.
struct KeptWorker {
    KeptWorker(const std::filesystem::path& program, const WorkerOpening& opening)
        : worker(program, opening) {}
    Worker worker;
    std::chrono::steady_clock::time_point opened;
    std::vector<std::unique_ptr<FrameSocket>> idle;
    std::size_t in_use = 0;
    std::size_t slow_in_use = 0;  // of them, those whose calls may take long
    std::size_t making = 0;       // of these, those that make or destroy keys
    // When it has been replaced: the moment after which quick calls are not waited for.
    std::chrono::steady_clock::time_point drained;
    std::chrono::steady_clock::time_point given_up;
    // The watching thread's own: the channel on which it waits for an answer, until when; and when
    // it asks next.
    std::unique_ptr<FrameSocket> asked;
    std::chrono::steady_clock::time_point asked_until;
    std::chrono::steady_clock::time_point next_question;
};

// A channel for the time of one operation. Goes back for others when the last exchange on it was
// whole; is closed otherwise. Not thread-safe; must not outlive the keeper.
class Channel {
public:
    Channel(WorkerKeeper& keeper, std::shared_ptr<KeptWorker> worker,
            std::unique_ptr<FrameSocket> socket, Pace pace);
    ~Channel();
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    FrameSocket& socket() { return *socket_; }
    Worker& worker() { return worker_->worker; }
    std::uint32_t next_number() { return ++number_; }

    void begin_exchange() { is_whole_ = false; }
    void end_exchange() { is_whole_ = true; }
    bool is_whole() const { return is_whole_; }
    // The worker does not answer, or not as it must: it is replaced.
    void report_hang();
    // The worker is gone.
    void report_loss();

private:
    WorkerKeeper& keeper_;
    std::shared_ptr<KeptWorker> worker_;
    std::unique_ptr<FrameSocket> socket_;
    Pace pace_;
    bool is_whole_ = true;
    std::uint32_t number_ = 0;
};

// Keys are not made or destroyed while a worker is being opened, nor a worker opened beside that: a
// SoftHSM that opens its token writes back the count of changes that it read, and what another
// process has counted in between is lost, upon which that one makes no more keys
// (hsm/softhsm_guard.h). Who orders a key waits for the opening, half a deadline at most; an
// opening waits for the key, unless no worker answers.
//
// Safe to share between threads.
class WorkerKeeper {
public:
    // Returns when the first worker has opened the token; throws what it was refused with.
    WorkerKeeper(const WorkerConfig& config, const base::SecretBytes& pin, base::Log& log);
    ~WorkerKeeper();
    WorkerKeeper(const WorkerKeeper&) = delete;
    WorkerKeeper& operator=(const WorkerKeeper&) = delete;

    // A channel to the worker that serves. Waits while all are in use or a worker is being opened,
    // at most config.deadline; then, and at once when the last opening failed, throws unavailable.
    Channel lease(Pace pace);
    TokenInfo info() const;
    // What an answer told beside the answer.
    void note_head(Worker& worker, const AnswerHead& head);

private:
    friend class Channel;
    using Instant = std::chrono::steady_clock::time_point;
    using Shared = std::shared_ptr<KeptWorker>;

    bool is_making() const;
    void end_opening();
    void give_back(KeptWorker& worker, std::unique_ptr<FrameSocket> socket, Pace pace);
    void replace(const Shared& worker, bool is_gone);
    void retire(Shared worker, bool is_gone);

    WorkerOpening opening() const;
    void watch();
    Instant look_after(Instant now);
    bool may_ask(const Shared& worker) const;
    void feel_pulses(Instant now);
    void ask(const Shared& worker, Instant now);
    bool hear(const Shared& worker, Instant now);
    void bury(Instant now);
    void start_opening(Instant now);
    void finish_opening(Instant now);
    void put_in_place(Shared opened, Instant now);
    void note_failure(std::exception_ptr why, Instant now);
    void wait_until(Instant next);
    void wake() const;

    const WorkerConfig config_;
    const std::optional<KeptPin> typed_pin_;
    base::Log& log_;
    Descriptor wake_;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable opening_over_;
    Shared active_;
    Shared standby_;
    std::vector<Shared> retired_;
    TokenInfo info_;
    bool is_opening_ = false;
    bool is_suspect_ = false;  // the active one hangs, and none stands by
    bool is_down_ = false;     // the last opening failed
    bool is_pin_refused_ = false;
    bool is_stopping_ = false;
    std::exception_ptr why_down_;
    Instant next_opening_;
    unsigned failures_ = 0;
    std::string last_failure_;  // that was logged

    // The watching thread's own.
    Shared opening_;
    Instant opening_until_;
    bool was_ever_open_ = false;

    std::thread watcher_;
};

}  // namespace hsm
