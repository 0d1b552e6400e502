#include "hsm/call_runner.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace hsm {
namespace {

constexpr std::size_t max_idle_threads = 32;
constexpr std::chrono::seconds farewell{1};

}  // namespace

struct CallRunner::Call {
    enum class State { running, ended, left };
    std::atomic<State> state{State::running};
};

// A thread and the one place from which it takes work.
struct CallRunner::Thread {
    std::mutex mutex;
    std::condition_variable wake;
    std::function<void()> work;
    std::shared_ptr<Call> call;
    bool stop = false;
};

struct CallRunner::Shared {
    Shared(std::size_t max, base::Log& to) : max_overdue(max), log(to) {}

    const std::size_t max_overdue;
    base::Log& log;
    std::atomic<std::size_t> overdue{0};
    std::mutex mutex;
    std::condition_variable ended;
    std::vector<std::shared_ptr<Thread>> idle;
    std::size_t threads = 0;
    bool stopping = false;
};

CallRunner::CallRunner(std::size_t max_overdue, base::Log& log)
    : shared_(std::make_shared<Shared>(max_overdue, log)) {}

CallRunner::~CallRunner() {
    std::vector<std::shared_ptr<Thread>> idle;
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->stopping = true;
        idle.swap(shared_->idle);
    }
    for (const auto& thread : idle) {
        {
            const std::lock_guard lock(thread->mutex);
            thread->stop = true;
        }
        thread->wake.notify_one();
    }
    std::unique_lock lock(shared_->mutex);
    shared_->ended.wait_for(lock, farewell, [&] { return shared_->threads == 0; });
}

std::shared_ptr<CallRunner::Call> CallRunner::begin(std::function<void()> work) {
    if (shared_->overdue.load() >= shared_->max_overdue) {
        throw base::Error(base::ErrorCode::unavailable, "the token does not answer",
                          "too many calls hang in its module");
    }
    auto call = std::make_shared<Call>();
    std::shared_ptr<Thread> thread;
    {
        const std::lock_guard lock(shared_->mutex);
        if (!shared_->idle.empty()) {
            thread = std::move(shared_->idle.back());
            shared_->idle.pop_back();
        } else {
            thread = std::make_shared<Thread>();
            start(thread);
            ++shared_->threads;
        }
    }
    {
        const std::lock_guard lock(thread->mutex);
        thread->work = std::move(work);
        thread->call = call;
    }
    thread->wake.notify_one();
    return call;
}

void CallRunner::start(const std::shared_ptr<Thread>& thread) {
    try {
        std::thread([shared = shared_, thread] { serve(shared, thread); }).detach();
    } catch (const std::system_error& error) {
        throw base::Error(base::ErrorCode::unavailable, "too many calls at once", error.what());
    }
}

void CallRunner::serve(const std::shared_ptr<Shared>& shared, const std::shared_ptr<Thread>& self) {
    for (;;) {
        std::function<void()> work;
        std::shared_ptr<Call> call;
        {
            std::unique_lock lock(self->mutex);
            self->wake.wait(lock, [&] { return self->work != nullptr || self->stop; });
            if (self->work == nullptr) break;
            work = std::exchange(self->work, nullptr);
            call = std::move(self->call);
        }
        work();
        work = nullptr;  // with what it holds, before anybody is told
        if (call->state.exchange(Call::State::ended) == Call::State::left) {
            --shared->overdue;
            shared->log.warning("a call that hung in the token's module has ended");
        }
        const std::lock_guard lock(shared->mutex);
        if (shared->stopping || shared->idle.size() >= max_idle_threads) break;
        shared->idle.push_back(self);
    }
    const std::lock_guard lock(shared->mutex);
    --shared->threads;
    shared->ended.notify_all();
}

void CallRunner::leave_if_running(Call& call) {
    // Counted first: no other call may see it neither running nor overdue.
    ++shared_->overdue;
    auto running = Call::State::running;
    if (!call.state.compare_exchange_strong(running, Call::State::left)) {
        --shared_->overdue;
        return;
    }
    shared_->log.error("a call hangs in the token's module; nobody waits for it any more",
                       {{"hanging", static_cast<std::int64_t>(shared_->overdue.load())}});
    throw base::Error(base::ErrorCode::unavailable, "the token does not answer",
                      "a call in its module took too long");
}

std::size_t CallRunner::overdue() const { return shared_->overdue.load(); }

}  // namespace hsm
