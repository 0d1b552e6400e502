// One io thread of the edge with the connections that live on it, and the caps over all of them.
// Private to server/edge*.cpp.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "server/edge_tls.h"
#include "server/gate.h"
#include "server/throttle.h"

namespace server {

class Connection;

// The places for connections: so many in total and so many for one peer address. Thread-safe.
class ConnectionLimits {
public:
    ConnectionLimits(std::size_t total, std::size_t per_peer, Metrics& metrics)
        : total_(total), per_peer_(per_peer), metrics_(metrics) {}

    bool take(const std::string& peer);
    void give_back(const std::string& peer) noexcept;
    // Waits until every place is free, at most `bound`. True when they are.
    bool wait_until_empty(std::chrono::milliseconds bound);
    // From now on give_back() leaves the metrics alone, which may be gone before the last place is.
    void detach_metrics();

private:
    const std::size_t total_;
    const std::size_t per_peer_;
    Metrics& metrics_;
    bool metrics_alive_ = true;
    std::mutex mutex_;
    std::condition_variable empty_;
    std::size_t taken_ = 0;
    std::map<std::string, std::size_t> by_peer_;
};

// A taken place, given back at the end.
class ConnectionPlace {
public:
    ConnectionPlace(std::shared_ptr<ConnectionLimits> limits, std::string peer)
        : limits_(std::move(limits)), peer_(std::move(peer)) {}
    ~ConnectionPlace() {
        if (limits_ != nullptr) limits_->give_back(peer_);
    }
    ConnectionPlace(ConnectionPlace&& other) noexcept = default;
    ConnectionPlace& operator=(ConnectionPlace&&) = delete;
    ConnectionPlace(const ConnectionPlace&) = delete;
    ConnectionPlace& operator=(const ConnectionPlace&) = delete;

    const std::string& peer() const { return peer_; }

private:
    std::shared_ptr<ConnectionLimits> limits_;
    std::string peer_;
};

// What connections use of the edge. Used on running loops only: the edge outlives those.
struct EdgeEnvironment {
    const EdgeConfig& config;
    RequestHandler& handler;
    Metrics& metrics;
    base::Log& log;
    Throttle& log_throttle;
};

// A thread with its own io_context. A connection stays on one loop for life, so nothing of it needs
// a lock or a strand. Deadlines are kept by one timer that looks at all connections in turn:
// setting a deadline costs an assignment. Everything but run, post, stop and the constructor is for
// the loop's own thread.
class Loop : public std::enable_shared_from_this<Loop> {
public:
    Loop(const EdgeEnvironment& environment, SSL_CTX* tls);
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    boost::asio::io_context& io() { return io_; }
    const EdgeEnvironment& environment() const { return environment_; }
    bool winding_down() const { return winding_down_; }

    void run();  // starts the thread
    // Runs `task` on the loop, or drops it when the loop has stopped.
    template <typename Task>
    void post(Task task) {
        const std::scoped_lock lock(open_mutex_);
        if (open_) boost::asio::post(io_, std::move(task));
    }

    // Takes over a connected non-blocking socket.
    void adopt(int socket, ConnectionPlace place);
    void remove(Connection& connection);
    // The Date header's value, made once a second.
    std::string_view date();

    // Closes idle connections; the others close after the answer they are at.
    void wind_down();
    // Ends the thread and drops the connections that are left.
    void stop();

private:
    void sweep();
    void arm_sweep();
    void close_all();
    std::vector<std::shared_ptr<Connection>> all() const;

    EdgeEnvironment environment_;
    SSL_CTX* tls_;  // each SSL holds a reference of its own
    std::chrono::milliseconds sweep_interval_;
    boost::asio::io_context io_{1};
    boost::asio::steady_timer sweep_timer_{io_};
    bool sweeping_ = false;
    bool winding_down_ = false;
    std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
    std::chrono::sys_seconds date_time_{};
    std::string date_;
    std::mutex open_mutex_;
    bool open_ = true;  // posts are accepted
    std::thread thread_;
};

// Blocks all signals in the calling thread: they are for the program's main thread, and a write to
// a closed connection must not raise SIGPIPE.
void block_signals() noexcept;

}  // namespace server
