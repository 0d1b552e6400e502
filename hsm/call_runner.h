// Runs calls that may hang on threads of their own, so that whoever asked has an answer in time. A
// call that hangs can't be ended: it keeps its thread, and a few such are carried before no more
// are begun.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"

namespace hsm {

// Safe to share between threads.
class CallRunner {
public:
    // `log` must outlive every call, hung ones too.
    CallRunner(std::size_t max_overdue, base::Log& log);
    // No call may be begun any more. Waits a moment for those that are overdue, then leaves them.
    ~CallRunner();
    CallRunner(const CallRunner&) = delete;
    CallRunner& operator=(const CallRunner&) = delete;

    // What `work` returns or throws. It must own all that it uses, since it may outlive the call.
    // Throws unavailable when it is not done in time, and at once when too many are overdue.
    template <typename Work>
    auto run(std::chrono::milliseconds deadline, Work work) {
        using Result = decltype(work());
        auto task = std::make_shared<std::packaged_task<Result()>>(std::move(work));
        std::future<Result> result = task->get_future();
        const std::shared_ptr<Call> call = begin([task] { (*task)(); });
        task.reset();  // what it holds goes with the thread that runs it
        if (result.wait_for(deadline) == std::future_status::timeout) leave_if_running(*call);
        return result.get();
    }

    // Calls that nobody waits for any more.
    std::size_t overdue() const;

private:
    struct Call;
    struct Thread;
    struct Shared;
    std::shared_ptr<Call> begin(std::function<void()> work);
    // Throws unavailable unless it has ended in this very moment.
    void leave_if_running(Call& call);
    void start(const std::shared_ptr<Thread>& thread);
    static void serve(const std::shared_ptr<Shared>& shared, const std::shared_ptr<Thread>& self);

    std::shared_ptr<Shared> shared_;
};

}  // namespace hsm
