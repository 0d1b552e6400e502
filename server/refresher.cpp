#include "server/refresher.h"

#include <condition_variable>
#include <mutex>

namespace server {
namespace {

void run_look(const std::function<void()>& look) noexcept {
    try {
        look();
    } catch (...) {  // NOLINT(bugprone-empty-catch): as the header says
    }
}

}  // namespace

Refresher::Refresher(std::vector<std::function<void()>> looks, std::chrono::milliseconds pause)
    : looks_(std::move(looks)),
      thread_([this, pause](const std::stop_token& stop) { run(stop, pause); }) {}

void Refresher::run(const std::stop_token& stop, std::chrono::milliseconds pause) const {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (!never.wait_for(lock, stop, pause, [&stop] { return stop.stop_requested(); })) {
        for (const auto& look : looks_) {
            if (stop.stop_requested()) return;
            run_look(look);
        }
    }
}

}  // namespace server
