// A thread that does the same again and again so that something stays fresh, whatever goes wrong
// on the way. What is done is its rooms'; here is only when, and that it does not end.
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

namespace server {

class Refresher {
public:
    // Runs `looks` in order, for the first time after `pause` and then with that pause between two
    // rounds. Whatever one throws is dropped: nothing may leave the thread, which would end the
    // daemon. Who wants it in the log writes it there; what fails even so (no memory for the
    // line) is done again in the next round, and keeps no other from being done.
    Refresher(std::vector<std::function<void()>> looks, std::chrono::milliseconds pause);
    // Waits for a look under way, and begins none any more.
    ~Refresher() = default;
    Refresher(const Refresher&) = delete;
    Refresher& operator=(const Refresher&) = delete;

    // Says that no look is to begin any more. Waits for nothing.
    void stop() noexcept { thread_.request_stop(); }

private:
    void run(const std::stop_token& stop, std::chrono::milliseconds pause) const;

    const std::vector<std::function<void()>> looks_;
    std::jthread thread_;  // the last: it uses what stands before
};

}  // namespace server
