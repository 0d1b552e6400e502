#include "server/edge.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "server/edge_connection.h"
#include "server/edge_loop.h"
#include "server/edge_tls.h"

namespace server {

namespace {

using boost::asio::ip::tcp;

constexpr int backlog = 1024;
constexpr std::chrono::milliseconds accept_pause{20};
constexpr double log_lines_per_second = 1;
constexpr double log_burst = 20;

[[noreturn]] void refuse(const std::string& what, const boost::system::error_code& error) {
    throw base::Error(base::ErrorCode::failed_precondition, what, error.message());
}

tcp::acceptor listen(boost::asio::io_context& io, const EdgeConfig& config) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(config.address, error);
    if (error) refuse("listen address " + config.address + " is not a numeric IP address", error);
    const tcp::endpoint endpoint(address, config.port);
    const std::string place = config.address + " port " + std::to_string(config.port);

    tcp::acceptor acceptor(io);
    if (acceptor.open(endpoint.protocol(), error)) refuse("can't listen on " + place, error);
    // Lets a restart take the port while old connections linger. SO_REUSEPORT, which would let
    // another process share it, stays off.
    acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (acceptor.bind(endpoint, error) || acceptor.listen(backlog, error)) {
        if (error == boost::asio::error::address_in_use) {
            refuse("port " + std::to_string(config.port) + " is in use on " + config.address +
                       ": stop the other process or configure another port",
                   error);
        }
        if (error == boost::asio::error::access_denied) {
            refuse("not permitted to listen on " + place + ": choose a port above 1023", error);
        }
        refuse("can't listen on " + place + ": is the address one of this machine?", error);
    }
    acceptor.non_blocking(true);
    return acceptor;
}

std::string numeric_address(const sockaddr_storage& storage, socklen_t size) {
    tcp::endpoint endpoint;
    if (size > endpoint.capacity()) return {};
    std::memcpy(endpoint.data(), &storage, size);
    endpoint.resize(size);
    return endpoint.address().to_string();
}

// A file descriptor kept for the moment when the process has no other: it is given up to accept and
// close one connection, so that the peer is refused at once instead of waiting in the backlog.
class ReserveDescriptor {
public:
    ReserveDescriptor() { acquire(); }
    ~ReserveDescriptor() { release(); }
    ReserveDescriptor(const ReserveDescriptor&) = delete;
    ReserveDescriptor& operator=(const ReserveDescriptor&) = delete;

    bool refuse_one(int listener) {
        if (descriptor_ < 0) acquire();
        if (descriptor_ < 0) return false;
        release();
        const int refused = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (refused >= 0) ::close(refused);
        acquire();
        return refused >= 0;
    }

private:
    void acquire() { descriptor_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
    void release() {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = -1;
    }
    int descriptor_ = -1;
};

}  // namespace

struct Edge::State {
    State(EdgeConfig the_config, RequestHandler& handler, Metrics& the_metrics, base::Log& the_log)
        : config(std::move(the_config)),
          metrics(the_metrics),
          log(the_log),
          environment{config, handler, metrics, log, log_throttle},
          tls(make_tls_context(config)),
          limits(std::make_shared<ConnectionLimits>(config.max_connections,
                                                    config.max_connections_per_peer, metrics)) {
        for (std::size_t i = 0; i < std::max<std::size_t>(config.threads, 1); ++i) {
            loops.push_back(std::make_shared<Loop>(environment, tls.get()));
        }
        acceptor.emplace(listen(loops.front()->io(), config));
        pause.emplace(loops.front()->io());
        port = acceptor->local_endpoint().port();
    }

    void start() {
        if (started) return;
        started = true;
        for (const auto& loop : loops) loop->run();
        loops.front()->post([this] { await_peers(); });
    }

    void await_peers() {
        if (!acceptor->is_open()) return;
        acceptor->async_wait(tcp::acceptor::wait_read,
                             [this](const boost::system::error_code& error) {
                                 if (error == boost::asio::error::operation_aborted) return;
                                 accept_all();
                             });
    }

    // Takes what waits. No error of accept() ends the listening: see accept(2), "Error handling".
    void accept_all() {
        for (int taken = 0; taken < backlog && acceptor->is_open(); ++taken) {
            sockaddr_storage storage{};
            socklen_t size = sizeof(storage);
            const int socket =
                ::accept4(acceptor->native_handle(), reinterpret_cast<sockaddr*>(&storage), &size,
                          SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (socket >= 0) {
                adopt(socket, numeric_address(storage, size));
                continue;
            }
            if (errno == EAGAIN) break;
            if (!goes_on_after(errno)) return pause_accepting();
        }
        await_peers();
    }

    void adopt(int socket, const std::string& peer) {
        if (!limits->take(peer)) {
            ::close(socket);
            metrics.count("connections_refused");
            report("too many connections: one was refused", peer);
            return;
        }
        const auto loop = loops[next_loop++ % loops.size()];
        // Posts are dropped by a stopped loop, and then the socket has to be closed here: the
        // holder does so unless adopt() took it.
        auto holder = std::make_shared<HeldSocket>(socket, ConnectionPlace(limits, peer));
        loop->post([loop, holder] { loop->adopt(holder->take(), std::move(holder->place)); });
    }

    // True when the next accept may be tried at once.
    bool goes_on_after(int error) {
        metrics.count("accept_errors");
        switch (error) {
            case ECONNABORTED:
            case EPROTO:
            case EINTR:
            case EPERM:
            case ENETDOWN:
            case EHOSTDOWN:
            case EHOSTUNREACH:
            case ENETUNREACH:
            case ENOPROTOOPT:
            case EOPNOTSUPP:
                return true;  // it is that connection's trouble
            case EMFILE:
            case ENFILE:
                report("out of file descriptors: a connection was refused", {});
                return reserve.refuse_one(acceptor->native_handle());
            default:
                report("accept failed: " + std::generic_category().message(error), {});
                return false;
        }
    }

    void pause_accepting() {
        pause->expires_after(accept_pause);
        pause->async_wait([this](const boost::system::error_code& error) {
            if (!error) accept_all();
        });
    }

    void report(const std::string& message, const std::string& peer) {
        if (const auto held_back = log_throttle.pass(std::chrono::steady_clock::now())) {
            log.warning(message, {{"peer", peer},
                                  {"not_logged_before", static_cast<std::int64_t>(*held_back)}});
        }
    }

    void stop(std::chrono::milliseconds bound) {
        const std::scoped_lock lock(stop_mutex);
        if (std::exchange(stopped, true)) return;
        if (started) {
            loops.front()->post([this] {
                boost::system::error_code ignored;
                acceptor->close(ignored);
                pause->cancel();
            });
            for (const auto& loop : loops) loop->post([loop] { loop->wind_down(); });
            limits->wait_until_empty(bound);
        }
        // The acceptor's loop ends last of all, after the others can't be given connections any
        // more.
        for (const auto& loop : loops) loop->stop();
        limits->detach_metrics();
    }

    // A socket between accept() and its loop.
    struct HeldSocket {
        HeldSocket(int the_socket, ConnectionPlace the_place)
            : socket(the_socket), place(std::move(the_place)) {}
        ~HeldSocket() {
            if (socket >= 0) ::close(socket);
        }
        HeldSocket(const HeldSocket&) = delete;
        HeldSocket& operator=(const HeldSocket&) = delete;
        int take() { return std::exchange(socket, -1); }

        int socket;
        ConnectionPlace place;
    };

    EdgeConfig config;
    Metrics& metrics;
    base::Log& log;
    Throttle log_throttle{log_lines_per_second, log_burst};
    EdgeEnvironment environment;
    SslContext tls;
    std::shared_ptr<ConnectionLimits> limits;
    std::vector<std::shared_ptr<Loop>> loops;
    std::optional<tcp::acceptor> acceptor;
    std::optional<boost::asio::steady_timer> pause;
    ReserveDescriptor reserve;
    std::uint16_t port = 0;
    std::size_t next_loop = 0;
    std::mutex stop_mutex;  // a second caller waits for the first
    bool started = false;
    bool stopped = false;
};

Edge::Edge(EdgeConfig config, RequestHandler& handler, Metrics& metrics, base::Log& log)
    : state_(std::make_unique<State>(std::move(config), handler, metrics, log)) {}

// What stop() could throw (a lock that fails) leaves no way on.
Edge::~Edge() { stop(std::chrono::milliseconds(0)); }  // NOLINT(bugprone-exception-escape)

void Edge::start() { state_->start(); }

std::uint16_t Edge::port() const { return state_->port; }

void Edge::stop(std::chrono::milliseconds bound) { state_->stop(bound); }

}  // namespace server
