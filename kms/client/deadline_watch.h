// Breaks what has passed its deadline. The HTTP library's timeouts bound single reads, so a peer
// that sends a byte now and then could hold a call for ever; this bounds the whole.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "kms/client/http_connection.h"

namespace kms {

// Thread-safe. Owns one thread.
class DeadlineWatch {
public:
    explicit DeadlineWatch(std::chrono::milliseconds usual_length);
    ~DeadlineWatch();
    DeadlineWatch(const DeadlineWatch&) = delete;
    DeadlineWatch& operator=(const DeadlineWatch&) = delete;

    // While it lives, `connection` is interrupted when `deadline` passes.
    class Entry {
    public:
        Entry(DeadlineWatch& watch, HttpConnection& connection, Deadline deadline);
        ~Entry();
        Entry(const Entry&) = delete;
        Entry& operator=(const Entry&) = delete;

    private:
        DeadlineWatch& watch_;
        HttpConnection& connection_;
    };

private:
    struct Item {
        HttpConnection* connection;
        Deadline deadline;
    };
    void run();
    Deadline interrupt_due(Deadline now);

    const std::chrono::milliseconds usual_length_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Item> items_;
    Deadline next_look_;
    bool stopping_ = false;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace kms
