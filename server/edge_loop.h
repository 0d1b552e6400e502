// One io thread of the edge with the connections that live on it, and the caps over all of them.
// Private to server/edge*.cpp.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/edge_listener.h"
#include "server/edge_tls.h"
#include "server/gate.h"
#include "server/throttle.h"

namespace server {

class Connection;

// The places for connections: so many in total and so many for one group of peers. A connection
// beyond gets one of some further places, in which it is only told so: a quarter as many as the
// total, and 64 at least. Without one it is closed at once. Thread-safe.
class ConnectionLimits {
public:
    enum class Place { served, refused };

    ConnectionLimits(std::size_t total, std::size_t per_peer, Metrics& metrics)
        : total_(total), per_peer_(per_peer), told_(places_to_be_told(total)), metrics_(metrics) {}

    // The further places, in which connections beyond `total` are told so.
    static std::size_t places_to_be_told(std::size_t total) {
        return std::max<std::size_t>(total / 4, 64);
    }

    // Empty when there is none of either kind.
    std::optional<Place> take(const std::string& group);
    void give_back(Place place, const std::string& group) noexcept;
    // Waits until every place is free, at most `bound`. True when they are.
    bool wait_until_empty(std::chrono::milliseconds bound);
    // From now on give_back() leaves the metrics alone, which may be gone before the last place is.
    void detach_metrics();

private:
    const std::size_t total_;
    const std::size_t per_peer_;
    const std::size_t told_;
    Metrics& metrics_;
    bool metrics_alive_ = true;
    std::mutex mutex_;
    std::condition_variable empty_;
    std::size_t taken_ = 0;
    std::size_t refused_ = 0;
    std::unordered_map<std::string, std::size_t> by_group_;
};

// A taken place, given back at the end.
class ConnectionPlace {
public:
    ConnectionPlace(std::shared_ptr<ConnectionLimits> limits, ConnectionLimits::Place place,
                    std::string group)
        : limits_(std::move(limits)), place_(place), group_(std::move(group)) {}
    ~ConnectionPlace() {
        if (limits_ != nullptr) limits_->give_back(place_, group_);
    }
    ConnectionPlace(ConnectionPlace&& other) noexcept = default;
    ConnectionPlace& operator=(ConnectionPlace&&) = delete;
    ConnectionPlace(const ConnectionPlace&) = delete;
    ConnectionPlace& operator=(const ConnectionPlace&) = delete;

    bool is_served() const { return place_ == ConnectionLimits::Place::served; }

private:
    std::shared_ptr<ConnectionLimits> limits_;
    ConnectionLimits::Place place_;
    std::string group_;
};

// A large body that asks for room, and whose it is.
struct LargeBodyClaim {
    std::size_t bytes = 0;
    std::size_t largest = 0;  // what the same request may take at most, in bytes
    bool is_stranger = false;
    std::string group;  // of strangers who have one share together; empty: no share of their own
};

// The room for large bodies over all connections (EdgeConfig::max_large_bodies_bytes), in bytes
// that they announce. Thread-safe.
class LargeBodies {
public:
    // Half of `total` is not for strangers. A group of them has a third of their half, or one body
    // of the largest size if that is more.
    explicit LargeBodies(std::size_t total) : total_(total) {}

    // False when there is no room for so many more, and then nothing is taken.
    bool take(const LargeBodyClaim& claim);
    // What take() gave for the same claim.
    void give_back(const LargeBodyClaim& claim) noexcept;

private:
    bool has_share(const LargeBodyClaim& claim) const;

    const std::size_t total_;
    std::mutex mutex_;
    std::size_t taken_ = 0;
    std::size_t by_strangers_ = 0;                           // of those
    std::unordered_map<std::string, std::size_t> by_group_;  // of those; none that has nothing
};

// What a connection has of it, given back at the end.
class LargeBody {
public:
    // Takes what is claimed; the caller looks at has_room() before anything else.
    LargeBody(std::shared_ptr<LargeBodies> room, LargeBodyClaim claim)
        : room_(std::move(room)), claim_(std::move(claim)) {
        if (!room_->take(claim_)) room_.reset();
    }
    ~LargeBody() {
        if (room_ != nullptr) room_->give_back(claim_);
    }
    LargeBody(const LargeBody&) = delete;
    LargeBody& operator=(const LargeBody&) = delete;

    bool has_room() const { return room_ != nullptr; }

private:
    std::shared_ptr<LargeBodies> room_;
    LargeBodyClaim claim_;
};

// An accepted socket on its way to its loop; closed unless somebody takes it.
struct Accepted {
    explicit Accepted(int the_socket) : socket(the_socket) {}
    ~Accepted();
    Accepted(const Accepted&) = delete;
    Accepted& operator=(const Accepted&) = delete;
    int take() { return std::exchange(socket, -1); }

    int socket;
    std::optional<ConnectionPlace> place;
    Peer peer;
};

// A connection whose handshake is done, on its way to the loop that serves it; closed unless
// somebody takes it.
struct Arrival : Accepted {
    using Accepted::Accepted;

    Ssl ssl;
    std::shared_ptr<const PeerCertificate> certificate;
    std::uint64_t judged_by = 0;  // as in Connection
    std::chrono::sys_seconds holds_until{};
};

// What connections use of the edge. Used on running loops only: the edge outlives those.
struct EdgeEnvironment {
    const EdgeConfig& config;
    RequestHandler& handler;
    Metrics& metrics;
    base::Log& log;
    Throttle& log_throttle;
    TlsInForce* tls;  // null where bytes are plain
    std::shared_ptr<LargeBodies> large_bodies;
};

// A thread with its own io_context. A connection is on one loop at a time, so nothing of it needs a
// lock or a strand. Deadlines are kept by one timer that looks at all connections in turn: setting
// a deadline costs an assignment. Everything but run, post, stop and the constructor is for the
// loop's own thread.
class Loop : public std::enable_shared_from_this<Loop> {
public:
    // Takes a connection whose handshake is done.
    using PassOn = std::function<void(std::shared_ptr<Arrival>)>;

    // With `pass_on` the loop only shakes hands, and its thread has a lower priority than the
    // others' and gives way when they wake up: a handshake costs as much as many requests, and
    // anybody may ask for one.
    explicit Loop(const EdgeEnvironment& environment, PassOn pass_on = {});
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    boost::asio::io_context& io() { return io_; }
    const EdgeEnvironment& environment() const { return environment_; }
    bool winding_down() const { return winding_down_; }

    void run();  // starts the thread
    // Says in the log that one of its connections failed, if there is memory for it.
    void tell_failure(const std::exception& error) noexcept;
    // Runs `task` on the loop, or drops it when the loop has stopped.
    template <typename Task>
    void post(Task task) {
        const std::scoped_lock lock(open_mutex_);
        if (open_) boost::asio::post(io_, std::move(task));
    }

    // Takes over a connected non-blocking socket.
    void adopt(Accepted& accepted);
    // Takes over what another loop passed on.
    void welcome(Arrival& arrival);
    // Empty where connections stay.
    const PassOn& pass_on() const { return pass_on_; }
    // The TLS in force, as every request asks for it; null where bytes are plain.
    const std::shared_ptr<const Tls>& tls();
    std::uint64_t tls_generation() const { return tls_generation_; }
    void remove(Connection& connection);
    // The Date header's value, made once a second.
    std::string_view date();

    // Closes idle connections; the others close after the answer they are at.
    void wind_down();
    // Ends the thread and drops the connections that are left.
    void stop();

private:
    // A connected socket as Asio has it; empty when that fails.
    std::optional<boost::asio::generic::stream_protocol::socket> take_socket(Accepted& accepted);
    void add(const std::shared_ptr<Connection>& connection);
    void sweep();
    // A few at a time, so that others' requests come in between.
    void expire(std::vector<std::shared_ptr<Connection>> due);
    void arm_sweep();
    void close_all();
    std::vector<std::shared_ptr<Connection>> all() const;

    EdgeEnvironment environment_;
    const PassOn pass_on_;
    std::shared_ptr<const Tls> tls_;  // as of tls_generation_
    std::uint64_t tls_generation_ = 0;
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
