#include "server/edge.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "server/edge_connection.h"
#include "server/edge_listener.h"
#include "server/edge_loop.h"
#include "server/edge_tls.h"

namespace server {

namespace {

constexpr int listen_backlog = 1024;
constexpr std::chrono::milliseconds accept_pause{20};
constexpr double log_lines_per_second = 1;
constexpr double log_burst = 20;

// Plain bytes are for this machine only.
void check_plain(const EdgeConfig& config) {
    if (!config.plain) return;
    for (const auto& address : config.listen) {
        if (!is_local(address)) {
            throw base::Error(
                base::ErrorCode::failed_precondition,
                "without TLS only a loopback address or a UNIX socket can be listened "
                "on, not " +
                    address.address);
        }
    }
}

// Connections need descriptors, and the soft limit is often 1,024: it is raised as far as the hard
// one allows. Too few are no reason not to start: peers are refused then, one by one.
void allow_open_files(const EdgeConfig& config, base::Log& log) {
    constexpr rlim_t for_all_else = 256;  // the store, the audit log, connections to other services
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    const rlim_t needed = config.max_connections +
                          ConnectionLimits::places_to_be_told(config.max_connections) +
                          for_all_else;
    if (limit.rlim_cur < needed) {
        const rlimit raised{std::min(needed, limit.rlim_max), limit.rlim_max};
        if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    if (limit.rlim_cur < needed) {
        log.warning("the limit of open files is lower than max_connections asks for",
                    {{"limit", static_cast<std::int64_t>(limit.rlim_cur)},
                     {"needed", static_cast<std::int64_t>(needed)}});
    }
}

// A place where peers come in, on the first loop that they come to.
struct Door {
    Door(boost::asio::io_context& io, const ListenAddress& address)
        : listener(address, listen_backlog), socket(io, listener.release()), pause(io) {}

    Listener listener;
    boost::asio::posix::stream_descriptor socket;
    boost::asio::steady_timer pause;
};

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
          environment{config,
                      handler,
                      metrics,
                      log,
                      log_throttle,
                      nullptr,
                      std::make_shared<LargeBodies>(config.max_large_bodies_bytes)},
          limits(std::make_shared<ConnectionLimits>(config.max_connections,
                                                    config.max_connections_per_peer, metrics)) {
        check_plain(config);
        allow_open_files(config, log);
        if (!config.plain) environment.tls = &tls.emplace(load_tls(config));
        if (tls) show_ends(*tls->get());
        const std::size_t count = std::max<std::size_t>(config.threads, 1);
        for (std::size_t i = 0; i < count; ++i) {
            loops.push_back(std::make_shared<Loop>(environment));
        }
        for (std::size_t i = 0; tls && i < count; ++i) {
            entrances.push_back(
                std::make_shared<Loop>(environment, [this](std::shared_ptr<Arrival> arrival) {
                    const auto loop = loops[next_loop++ % loops.size()];
                    loop->post([loop, arrival = std::move(arrival)] { loop->welcome(*arrival); });
                }));
        }
        for (const auto& address : config.listen) {
            doors.push_back(std::make_unique<Door>(first().front()->io(), address));
        }
    }

    // The loops that connections come to first.
    const std::vector<std::shared_ptr<Loop>>& first() const { return tls ? entrances : loops; }
    std::vector<std::shared_ptr<Loop>> all_loops() const {
        std::vector<std::shared_ptr<Loop>> all = entrances;
        all.insert(all.end(), loops.begin(), loops.end());
        return all;
    }

    // For alarms before it is too late.
    void show_ends(const Tls& shown) {
        const auto seconds = [](std::chrono::sys_seconds time) {
            return static_cast<double>(time.time_since_epoch().count());
        };
        metrics.gauge("certificate_end_seconds", seconds(shown.certificate_end));
        if (!config.client_crl.empty()) {
            metrics.gauge("client_crl_end_seconds", seconds(shown.lists_end));
        }
    }

    void start() {
        if (std::exchange(started, true)) return;
        for (const auto& loop : all_loops()) loop->run();
        first().front()->post([this] {
            for (const auto& door : doors) await_peers(*door);
        });
    }

    void await_peers(Door& door) {
        if (!door.socket.is_open()) return;
        door.socket.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                               [this, &door](const boost::system::error_code& error) {
                                   if (error == boost::asio::error::operation_aborted) return;
                                   open_door(door);
                               });
    }

    // Whatever fails here is one peer's trouble, or passes: the door stays open.
    void open_door(Door& door) {
        try {
            return accept_all(door);
        } catch (const std::exception& error) {
            tell_failure(error);
        }
        while (!pauses_accepting(door)) std::this_thread::sleep_for(accept_pause);
    }

    void tell_failure(const std::exception& error) noexcept {
        try {
            metrics.count("accept_errors");
            log.error("a connection could not be taken", {{"reason", error.what()}});
        } catch (const std::exception&) {
            // No memory for that either.
        }
    }

    bool pauses_accepting(Door& door) noexcept {
        try {
            pause_accepting(door);
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }

    // Takes what waits. No error of accept() ends the listening: see accept(2), "Error handling".
    void accept_all(Door& door) {
        for (int taken = 0; taken < listen_backlog && door.socket.is_open(); ++taken) {
            sockaddr_storage address{};
            socklen_t size = sizeof(address);
            const int socket =
                ::accept4(door.socket.native_handle(), reinterpret_cast<sockaddr*>(&address), &size,
                          SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (socket >= 0) {
                adopt(socket, address);
                continue;
            }
            if (errno == EAGAIN) break;
            if (!goes_on_after(errno, door)) return pause_accepting(door);
        }
        await_peers(door);
    }

    // The socket is closed, and its place free again, on every way out but the last.
    void adopt(int socket, const sockaddr_storage& address) {
        const auto accepted = accept_into(socket);
        accepted->peer = peer_of(socket, address);
        std::string group = accepted->peer.group;
        if (const auto place = limits->take(group))
            accepted->place.emplace(limits, *place, std::move(group));
        if (!accepted->place || !accepted->place->is_served()) {
            metrics.count("connections_refused");
            report("too many connections: one was refused", accepted->peer.address);
        }
        if (!accepted->place) return;
        const auto loop = first()[next_first++ % first().size()];
        // Posts are dropped by a stopped loop, and then the socket is closed with this.
        loop->post([loop, accepted] { loop->adopt(*accepted); });
    }

    static std::shared_ptr<Accepted> accept_into(int socket) {
        try {
            return std::make_shared<Accepted>(socket);
        } catch (...) {
            ::close(socket);
            throw;
        }
    }

    // True when the next accept may be tried at once.
    bool goes_on_after(int error, Door& door) {
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
                return reserve.refuse_one(door.socket.native_handle());
            default:
                report("accept failed: " + std::generic_category().message(error), {});
                return false;
        }
    }

    void pause_accepting(Door& door) {
        door.pause.expires_after(accept_pause);
        door.pause.async_wait([this, &door](const boost::system::error_code& error) {
            if (!error) open_door(door);
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
            first().front()->post([this] {
                boost::system::error_code ignored;
                for (const auto& door : doors) {
                    door->socket.close(ignored);
                    door->pause.cancel();
                }
            });
            for (const auto& loop : all_loops()) loop->post([loop] { loop->wind_down(); });
            limits->wait_until_empty(bound);
        }
        // In the order in which connections come to them: a loop is given none after its stop.
        for (const auto& loop : all_loops()) loop->stop();
        limits->detach_metrics();
    }

    EdgeConfig config;
    Metrics& metrics;
    base::Log& log;
    Throttle log_throttle{log_lines_per_second, log_burst};
    EdgeEnvironment environment;
    std::optional<TlsInForce> tls;  // empty where bytes are plain
    std::shared_ptr<ConnectionLimits> limits;
    std::vector<std::shared_ptr<Loop>> loops;      // that serve
    std::vector<std::shared_ptr<Loop>> entrances;  // that shake hands; none where bytes are plain
    std::vector<std::unique_ptr<Door>> doors;
    ReserveDescriptor reserve;
    std::size_t next_first = 0;  // of first(); for the loop of the doors
    std::atomic<std::size_t> next_loop{0};
    std::mutex stop_mutex;  // a second caller waits for the first
    bool started = false;
    bool stopped = false;
};

Edge::Edge(EdgeConfig config, RequestHandler& handler, Metrics& metrics, base::Log& log)
    : state_(std::make_unique<State>(std::move(config), handler, metrics, log)) {}

// What stop() could throw (a lock that fails) leaves no way on.
Edge::~Edge() { stop(std::chrono::milliseconds(0)); }  // NOLINT(bugprone-exception-escape)

void Edge::start() { state_->start(); }

std::uint16_t Edge::port() const {
    for (const auto& door : state_->doors) {
        if (door->listener.port() != 0) return door->listener.port();
    }
    return 0;
}

std::vector<std::string> Edge::places() const {
    std::vector<std::string> places;
    places.reserve(state_->doors.size());
    for (const auto& door : state_->doors) places.push_back(door->listener.text());
    return places;
}

void check_edge(const EdgeConfig& config) {
    check_plain(config);
    if (!config.plain) static_cast<void>(load_tls(config));
}

std::map<std::string, std::string> Edge::reload_certificates() {
    if (!state_->tls) return {};
    auto fresh = load_tls(state_->config);
    state_->show_ends(*fresh);
    auto facts = fresh->facts;
    state_->tls->replace(std::move(fresh));
    return facts;
}

std::vector<std::filesystem::path> Edge::certificate_files() const {
    if (!state_->tls) return {};
    const EdgeConfig& config = state_->config;
    std::vector<std::filesystem::path> files = {config.certificate, config.key, config.client_ca};
    files.insert(files.end(), config.client_crl.begin(), config.client_crl.end());
    return files;
}

void Edge::stop(std::chrono::milliseconds bound) { state_->stop(bound); }

}  // namespace server
