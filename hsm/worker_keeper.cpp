#include "hsm/worker_keeper.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace hsm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds opening_patience{30'000};
constexpr milliseconds opening_answer_patience{1000};  // once its first byte is there
// After a worker is in its place, before the next is started to stand by: others need the machine
// first.
constexpr milliseconds standby_pause{300};
constexpr milliseconds first_backoff{25};
constexpr milliseconds longest_backoff{1000};
constexpr milliseconds patient_backoff{10'000};  // while one serves
constexpr std::chrono::seconds good_life{10};    // who lived so long did not fail at once
// For quick calls of others on a worker that is replaced: they are all but done.
constexpr milliseconds drain_time{250};
constexpr milliseconds longest_drain{120'000};
constexpr milliseconds goodbye_patience{1500};
constexpr milliseconds longest_wait{60'000};
constexpr milliseconds question_patience{1000};  // to send it; for the rest of an answer
constexpr std::uint32_t question_number = 1;

[[noreturn]] void no_worker(const char* why) {
    throw base::Error(base::ErrorCode::unavailable, "the token is not available", why);
}

milliseconds backoff(unsigned failures) {
    return std::min(longest_backoff, first_backoff * (1U << std::min(failures, 6U)));
}

bool is_hung_up(int descriptor) {
    pollfd state{descriptor, 0, 0};
    return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

std::int64_t pid_of(const KeptWorker& worker) { return worker.worker.pid(); }

}  // namespace

Channel::Channel(WorkerKeeper& keeper, std::shared_ptr<KeptWorker> worker,
                 std::unique_ptr<FrameSocket> socket, Pace pace)
    : keeper_(keeper), worker_(std::move(worker)), socket_(std::move(socket)), pace_(pace) {}

Channel::~Channel() {
    socket_->forget();
    keeper_.give_back(*worker_, is_whole_ ? std::move(socket_) : nullptr, pace_);
}

void Channel::report_hang() { keeper_.replace(worker_, false); }
void Channel::report_loss() { keeper_.replace(worker_, true); }

WorkerKeeper::WorkerKeeper(const WorkerConfig& config, const base::SecretBytes& pin, base::Log& log)
    : config_(config),
      typed_pin_(config.pin_file.empty() ? std::optional<KeptPin>(pin) : std::nullopt),
      log_(log),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    // A child ends with the thread that started it (PR_SET_PDEATHSIG), so one thread starts them
    // all.
    watcher_ = std::thread([this] { watch(); });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return active_ != nullptr || is_down_; });
    if (active_) return;
    is_stopping_ = true;
    lock.unlock();
    wake();
    watcher_.join();
    std::rethrow_exception(why_down_);
}

WorkerKeeper::~WorkerKeeper() {
    {
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    wake();
    watcher_.join();
}

void WorkerKeeper::wake() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

Channel WorkerKeeper::lease(Pace pace) {
    const Instant begin = std::chrono::steady_clock::now();
    const Instant end = begin + config_.deadline;
    const Instant end_of_patience = begin + config_.deadline / 2;  // for an opening
    std::unique_lock lock(mutex_);
    for (;;) {
        // Looked at before each attempt: one may begin while this waits for a channel.
        if (pace == Pace::making && is_opening_ &&
            std::chrono::steady_clock::now() < end_of_patience) {
            changed_.notify_one();  // what woke this may be for another
            opening_over_.wait_until(lock, end_of_patience);
            continue;
        }
        if (active_ && active_->in_use < config_.token.max_sessions) {
            std::unique_ptr<FrameSocket> socket;
            if (active_->idle.empty()) {
                socket = active_->worker.make_channel();
            } else {
                socket = std::move(active_->idle.back());
                active_->idle.pop_back();
            }
            if (socket) {
                ++active_->in_use;
                if (pace != Pace::quick) ++active_->slow_in_use;
                if (pace == Pace::making) ++active_->making;
                return {*this, active_, std::move(socket), pace};
            }
            retire(std::exchange(active_, std::exchange(standby_, nullptr)), true);
            continue;
        }
        if (!active_ && (is_down_ || is_pin_refused_)) no_worker("no token worker can be opened");
        if (changed_.wait_until(lock, end) == std::cv_status::timeout)
            no_worker(active_ ? "all channels to the token worker stay busy"
                              : "the token worker is being replaced");
    }
}

void WorkerKeeper::give_back(KeptWorker& worker, std::unique_ptr<FrameSocket> socket, Pace pace) {
    {
        const std::lock_guard lock(mutex_);
        --worker.in_use;
        if (pace != Pace::quick) --worker.slow_in_use;
        if (pace == Pace::making) --worker.making;
        if (socket) worker.idle.push_back(std::move(socket));
    }
    changed_.notify_one();
    if (pace == Pace::making) wake();  // an opening may wait for it
}

// Under the lock.
bool WorkerKeeper::is_making() const {
    const auto makes = [](const Shared& worker) { return worker->making > 0; };
    return (active_ && makes(active_)) || std::any_of(retired_.begin(), retired_.end(), makes);
}

void WorkerKeeper::end_opening() {
    {
        const std::lock_guard lock(mutex_);
        is_opening_ = false;
    }
    opening_over_.notify_all();
}

void WorkerKeeper::replace(const Shared& worker, bool is_gone) {
    {
        const std::lock_guard lock(mutex_);
        if (worker == standby_) retire(std::exchange(standby_, nullptr), is_gone);
        if (worker != active_) return;  // another caller was quicker
        // A channel alone can be closed, by a worker that can start no thread for it.
        if (is_gone && !is_hung_up(worker->worker.control())) return;
        if (!is_gone && !standby_) {
            is_suspect_ = true;  // others may still be served; it goes when the next is open
        } else {
            retire(std::exchange(active_, std::exchange(standby_, nullptr)), is_gone);
        }
    }
    changed_.notify_all();
    wake();
}

// Under the lock.
void WorkerKeeper::retire(Shared worker, bool is_gone) {
    const Instant now = std::chrono::steady_clock::now();
    log_.warning(is_gone ? "the token worker is gone" : "the token worker hangs and is replaced",
                 {{"pid", pid_of(*worker)}, {"standby", active_ != nullptr}});
    if (now - worker->opened > good_life) failures_ = 0;
    next_opening_ = now + backoff(++failures_);
    is_suspect_ = false;
    worker->idle.clear();
    worker->drained = is_gone ? now : now + drain_time;
    worker->given_up = is_gone ? now : now + longest_drain;
    retired_.push_back(std::move(worker));
    wake();
}

TokenInfo WorkerKeeper::info() const {
    const std::lock_guard lock(mutex_);
    return info_;
}

void WorkerKeeper::note_head(Worker& worker, const AnswerHead& head) {
    worker.note_token(head.error == base::ErrorCode::unavailable);
    if (worker.is_new_login(head.logins) && config_.token.logged_in_again)
        config_.token.logged_in_again();
    if (!head.is_pin_refused) return;
    const std::lock_guard lock(mutex_);
    is_pin_refused_ = true;
}

WorkerOpening WorkerKeeper::opening() const {
    WorkerOpening opening;
    opening.module = config_.token.module;
    opening.uri = config_.token.uri;
    opening.init_string = config_.token.init_string;
    opening.max_sessions = config_.token.max_sessions;
    // A token with no session left must not look like one that hangs.
    opening.session_patience_ms = static_cast<std::uint64_t>(
        std::min(config_.token.session_patience, config_.deadline / 2).count());
    opening.softhsm_config = config_.token.softhsm_config;
    opening.readback_program = config_.token.readback_program;
    opening.pin_file = config_.pin_file;
    if (typed_pin_) opening.pin = typed_pin_->reveal();
    opening.log_level = config_.log_level;
    return opening;
}

void WorkerKeeper::watch() {
    for (;;) {
        const Instant now = std::chrono::steady_clock::now();
        {
            const std::lock_guard lock(mutex_);
            if (is_stopping_) break;
        }
        bury(now);
        finish_opening(now);
        start_opening(now);
        feel_pulses(now);
        wait_until(look_after(now));
    }
    opening_.reset();
    const std::lock_guard lock(mutex_);
    retired_.clear();
    for (Shared* worker : {&active_, &standby_}) {
        if (!*worker) continue;
        (*worker)->idle.clear();
        static_cast<void>((*worker)->worker.say_goodbye(goodbye_patience));
        worker->reset();
    }
}

// Notices who has ended, and ends who was replaced.
void WorkerKeeper::bury(Instant now) {
    std::vector<Shared> dead;
    {
        const std::lock_guard lock(mutex_);
        if (standby_ && is_hung_up(standby_->worker.control()))
            retire(std::exchange(standby_, nullptr), true);
        if (active_ && is_hung_up(active_->worker.control())) {
            retire(std::exchange(active_, std::exchange(standby_, nullptr)), true);
            changed_.notify_all();
        }
        const auto is_due = [now](const Shared& worker) {
            return worker->in_use == 0 || now >= worker->given_up ||
                   (now >= worker->drained && worker->slow_in_use == 0);
        };
        const auto rest =
            std::stable_partition(retired_.begin(), retired_.end(), std::not_fn(is_due));
        std::move(rest, retired_.end(), std::back_inserter(dead));
        retired_.erase(rest, retired_.end());
    }
    for (const Shared& worker : dead) worker->worker.kill();
}

// Under the lock. A PIN that was refused is not to be shown again. Each worker has a breaker of its
// own, so a token that is away would be tried by both: who stands by is not asked before the one
// that serves has had an answer.
bool WorkerKeeper::may_ask(const Shared& worker) const {
    if (is_pin_refused_) return false;
    if (worker != standby_ || !active_) return true;
    return !active_->asked && !active_->worker.is_token_away();
}

// Who serves and is called shows by that whether it answers. Else it would show only when a caller
// needs it, who then waits for a deadline.
void WorkerKeeper::feel_pulses(Instant now) {
    std::vector<Shared> felt;
    {
        const std::lock_guard lock(mutex_);
        for (const Shared& worker : {active_, standby_}) {
            if (!worker) continue;
            const bool is_to_ask = now >= worker->next_question && may_ask(worker);
            if (worker->asked || is_to_ask) felt.push_back(worker);
        }
    }
    for (const Shared& worker : felt) {
        bool is_well = false;
        try {
            if (!worker->asked) ask(worker, now);
            is_well = !worker->asked || hear(worker, now);
        } catch (const base::Error& error) {
            log_.warning("a token worker can't be asked whether it answers",
                         {{"pid", pid_of(*worker)}, {"why", error.what()}});
        }
        if (is_well) continue;
        worker->asked.reset();
        replace(worker, false);
    }
}

void WorkerKeeper::ask(const Shared& worker, Instant now) {
    worker->next_question = now + config_.heartbeat;
    std::unique_ptr<FrameSocket> socket;
    {
        const std::lock_guard lock(mutex_);
        if (worker->in_use > 0) return;
        if (worker->idle.empty()) {
            socket = worker->worker.make_channel();
        } else {
            socket = std::move(worker->idle.back());
            worker->idle.pop_back();
        }
    }
    if (!socket) return;  // it is gone: its control socket tells
    write_request(socket->outgoing(), question_number, CheckRequest{});
    if (socket->send(question_patience) != Transfer::done) return;
    worker->asked = std::move(socket);
    worker->asked_until = now + config_.deadline;
}

// False when it does not answer. Any answer will do: what is wrong with the token is wrong with it
// in another worker, too.
bool WorkerKeeper::hear(const Shared& worker, Instant now) {
    pollfd answered{worker->asked->descriptor(), POLLIN, 0};
    if (::poll(&answered, 1, 0) == 0) return now < worker->asked_until;
    std::unique_ptr<FrameSocket> socket = std::move(worker->asked);
    const Transfer received = socket->receive(question_patience);
    if (received == Transfer::closed) return is_hung_up(worker->worker.control());
    if (received != Transfer::done) return false;
    WireReader reader(socket->incoming());
    const AnswerHead head = read_head(reader);
    if (head.number != question_number) return false;
    note_head(worker->worker, head);
    socket->forget();
    const std::lock_guard lock(mutex_);
    worker->idle.push_back(std::move(socket));
    return true;
}

void WorkerKeeper::start_opening(Instant now) {
    if (opening_) return;
    {
        const std::lock_guard lock(mutex_);
        if (standby_ || is_pin_refused_ || now < next_opening_) return;
        if (active_ && !is_suspect_ && is_making()) return;  // give_back() wakes
        is_opening_ = true;
    }
    try {
        opening_ = std::make_shared<KeptWorker>(config_.program, opening());
        opening_until_ = now + opening_patience;
    } catch (const base::Error&) {
        note_failure(std::current_exception(), now);
        end_opening();
    }
}

void WorkerKeeper::finish_opening(Instant now) {
    if (!opening_) return;
    pollfd answered{opening_->worker.control(), POLLIN, 0};
    if (::poll(&answered, 1, 0) == 0 && now < opening_until_) return;
    const Shared opened = std::exchange(opening_, nullptr);
    try {
        opened->worker.finish_opening(opening_answer_patience);
        put_in_place(opened, now);
    } catch (const base::Error&) {
        if (opened->worker.refused_pin()) {
            const std::lock_guard lock(mutex_);
            is_pin_refused_ = true;
        }
        note_failure(std::current_exception(), now);
    }
    end_opening();
}

void WorkerKeeper::put_in_place(Shared opened, Instant now) {
    if (was_ever_open_ && config_.token.logged_in_again) config_.token.logged_in_again();
    was_ever_open_ = true;
    const std::lock_guard lock(mutex_);
    opened->opened = now;
    opened->next_question = now + config_.heartbeat;
    info_ = opened->worker.info();
    is_down_ = false;
    last_failure_.clear();
    const bool takes_over = !active_ || is_suspect_;
    log_.info(takes_over ? "a token worker serves" : "a token worker stands by",
              {{"pid", pid_of(*opened)}});
    if (takes_over) {
        const Shared former = std::exchange(active_, std::move(opened));
        if (former) retire(former, false);
        next_opening_ = now + standby_pause;
    } else {
        standby_ = std::move(opened);
    }
    changed_.notify_all();
}

void WorkerKeeper::note_failure(std::exception_ptr why, Instant now) {
    std::string text;
    try {
        std::rethrow_exception(why);
    } catch (const std::exception& error) {
        text = error.what();
    }
    const std::lock_guard lock(mutex_);
    next_opening_ = now + (active_ ? patient_backoff : backoff(++failures_));
    if (was_ever_open_ && text != last_failure_) {
        log_.error(is_pin_refused_ ? "the token refused the PIN; no worker is started until kmsd is"
                                   : "a token worker can't be opened",
                   {{"why", text}});
    }
    last_failure_ = text;
    if (active_) return;
    is_down_ = true;
    why_down_ = std::move(why);
    changed_.notify_all();
}

// When there is something to do even if nothing happens.
WorkerKeeper::Instant WorkerKeeper::look_after(Instant now) {
    const std::lock_guard lock(mutex_);
    Instant next = now + longest_wait;
    for (const Shared& worker : retired_) {
        next = std::min(next, now < worker->drained ? worker->drained : now + drain_time);
    }
    for (const Shared& worker : {active_, standby_}) {
        if (!worker) continue;
        if (worker->asked) {
            next = std::min(next, worker->asked_until);
        } else if (may_ask(worker)) {
            next = std::min(next, worker->next_question);
        }
    }
    if (opening_) {
        next = std::min(next, opening_until_);
    } else if (!standby_ && !is_pin_refused_ && !(active_ && !is_suspect_ && is_making())) {
        next = std::min(next, next_opening_);
    }
    return next;
}

void WorkerKeeper::wait_until(Instant next) {
    const auto asked = [](const Shared& worker) {
        return worker && worker->asked ? worker->asked->descriptor() : -1;
    };
    std::array<pollfd, 6> watched{};
    watched[0] = {wake_.get(), POLLIN, 0};
    {
        const std::lock_guard lock(mutex_);
        watched[1] = {active_ ? active_->worker.control() : -1, 0, 0};
        watched[2] = {standby_ ? standby_->worker.control() : -1, 0, 0};
        watched[4] = {asked(active_), POLLIN, 0};
        watched[5] = {asked(standby_), POLLIN, 0};
    }
    watched[3] = {opening_ ? opening_->worker.control() : -1, POLLIN, 0};
    const auto left =
        std::chrono::ceil<milliseconds>(next - std::chrono::steady_clock::now()).count();
    ::poll(watched.data(), watched.size(), static_cast<int>(std::max<std::int64_t>(left, 0)));
    std::uint64_t woken = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &woken, sizeof woken);
}

}  // namespace hsm
