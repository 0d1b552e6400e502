#include "server/edge_loop.h"

#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <csignal>
#include <ctime>
#include <vector>

#include "server/edge_connection.h"

namespace server {

std::optional<ConnectionLimits::Place> ConnectionLimits::take(const std::string& group) {
    const std::scoped_lock lock(mutex_);
    const auto of_group = by_group_.find(group);
    if (taken_ >= total_ || (of_group != by_group_.end() && of_group->second >= per_peer_)) {
        if (refused_ >= told_) return std::nullopt;
        ++refused_;
        return Place::refused;
    }
    ++by_group_[group];
    ++taken_;
    metrics_.gauge("connections", static_cast<double>(taken_));
    return Place::served;
}

void ConnectionLimits::give_back(Place place, const std::string& group) noexcept {
    const std::scoped_lock lock(mutex_);
    if (place == Place::refused) {
        --refused_;
    } else {
        --taken_;
        const auto of_group = by_group_.find(group);
        if (of_group != by_group_.end() && --of_group->second == 0) by_group_.erase(of_group);
        if (metrics_alive_) metrics_.gauge("connections", static_cast<double>(taken_));
    }
    if (taken_ + refused_ == 0) empty_.notify_all();
}

bool ConnectionLimits::wait_until_empty(std::chrono::milliseconds bound) {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, bound, [this] { return taken_ + refused_ == 0; });
}

void ConnectionLimits::detach_metrics() {
    const std::scoped_lock lock(mutex_);
    metrics_alive_ = false;
}

bool LargeBodies::has_share(const LargeBodyClaim& claim) const {
    if (claim.group.empty()) return true;
    const auto of_group = by_group_.find(claim.group);
    const std::size_t held = of_group == by_group_.end() ? 0 : of_group->second;
    return held + claim.bytes <= std::max(claim.largest, total_ / 2 / 3);
}

bool LargeBodies::take(const LargeBodyClaim& claim) {
    const std::scoped_lock lock(mutex_);
    if (claim.bytes > total_ - taken_) return false;
    if (claim.is_stranger) {
        if (by_strangers_ + claim.bytes > total_ / 2 || !has_share(claim)) return false;
        // First, since it is the one step that may fail.
        if (!claim.group.empty()) by_group_[claim.group] += claim.bytes;
        by_strangers_ += claim.bytes;
    }
    taken_ += claim.bytes;
    return true;
}

void LargeBodies::give_back(const LargeBodyClaim& claim) noexcept {
    const std::scoped_lock lock(mutex_);
    taken_ -= claim.bytes;
    if (!claim.is_stranger) return;
    by_strangers_ -= claim.bytes;
    const auto of_group = by_group_.find(claim.group);
    if (of_group != by_group_.end() && (of_group->second -= claim.bytes) == 0) {
        by_group_.erase(of_group);
    }
}

void block_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

namespace {

// As sched_setattr(2) takes it; C libraries before 2.41 do not declare it.
struct SchedulingAttributes {
    std::uint32_t size = sizeof(SchedulingAttributes);
    std::uint32_t policy = SCHED_BATCH;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t slice = 0;  // in nanoseconds
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
};

// Of the calling thread alone: Linux has a priority for each (setpriority(2), "C library/kernel
// differences"). A nice value is only a share: a thread that wakes up for a request would still
// wait until the slice of a handshake is over. A batch thread interrupts nobody when it wakes up,
// and since Linux 6.12 one with a longer slice than the usual (3 ms at most) is interrupted at once
// by who has had less than its share; older kernels ignore the slice. That it fails is no reason
// not to serve.
void lower_priority() noexcept {
    constexpr int by = 10;
    constexpr int lowest = 19;
    constexpr std::chrono::nanoseconds slice = std::chrono::milliseconds(20);
    SchedulingAttributes attributes;
    attributes.nice = std::min(::getpriority(PRIO_PROCESS, 0) + by, lowest);
    attributes.slice = static_cast<std::uint64_t>(slice.count());
    if (::syscall(SYS_sched_setattr, 0, &attributes, 0) == 0) return;
    static_cast<void>(::setpriority(PRIO_PROCESS, 0, attributes.nice));
}

// An eighth of the shortest deadline is precise enough, and four looks a second cheap enough.
std::chrono::milliseconds sweep_interval_for(const EdgeConfig& config) {
    const auto shortest = std::min({config.handshake_deadline, config.head_deadline,
                                    config.request_deadline, config.idle_deadline});
    return std::clamp(shortest / 8, std::chrono::milliseconds(5), std::chrono::milliseconds(250));
}

}  // namespace

Accepted::~Accepted() {
    if (socket >= 0) ::close(socket);
}

Loop::Loop(const EdgeEnvironment& environment, PassOn pass_on)
    : environment_(environment),
      pass_on_(std::move(pass_on)),
      sweep_interval_(sweep_interval_for(environment.config)) {
    if (environment.tls != nullptr) tls_ = environment.tls->get();
}

Loop::~Loop() = default;

void Loop::run() {
    thread_ = std::thread([this] {
        block_signals();
        if (pass_on_) lower_priority();
        const auto work = boost::asio::make_work_guard(io_);
        for (;;) {
            try {
                io_.run();
                return;
            } catch (const std::exception& error) {
                tell_failure(error);  // one connection's trouble must not end the others'
            }
        }
    });
}

void Loop::tell_failure(const std::exception& error) noexcept {
    try {
        environment_.log.error("a connection failed", {{"reason", error.what()}});
    } catch (const std::exception&) {
        // No memory for that either.
    }
}

const std::shared_ptr<const Tls>& Loop::tls() {
    if (environment_.tls != nullptr && environment_.tls->generation() != tls_generation_) {
        tls_generation_ = environment_.tls->generation();
        tls_ = environment_.tls->get();
    }
    return tls_;
}

std::optional<boost::asio::generic::stream_protocol::socket> Loop::take_socket(Accepted& accepted) {
    const bool is_local = accepted.peer.local.has_value();
    const boost::asio::generic::stream_protocol protocol(is_local ? AF_UNIX : AF_INET,
                                                         is_local ? 0 : IPPROTO_TCP);
    Connection::Socket owned(io_);
    boost::system::error_code error;
    if (owned.assign(protocol, accepted.socket, error)) return std::nullopt;
    accepted.take();
    // From here on it is closed on every way out.
    if (!is_local) owned.set_option(boost::asio::ip::tcp::no_delay(true), error);
    owned.non_blocking(true, error);
    return owned;
}

void Loop::add(const std::shared_ptr<Connection>& connection) {
    connections_.emplace(connection.get(), connection);
    arm_sweep();
}

void Loop::adopt(Accepted& accepted) {
    const int socket = accepted.socket;
    auto owned = take_socket(accepted);
    if (!owned || winding_down_) return;
    Ssl ssl;
    if (const auto& in_force = tls(); in_force != nullptr) {
        ssl.reset(SSL_new(in_force->context.get()));
        if (ssl == nullptr || SSL_set_fd(ssl.get(), socket) != 1) return;
        SSL_set_accept_state(ssl.get());
    }
    auto connection =
        std::make_shared<Connection>(shared_from_this(), std::move(*owned), std::move(ssl),
                                     std::move(*accepted.place), std::move(accepted.peer));
    add(connection);
    connection->start();
}

void Loop::welcome(Arrival& arrival) {
    auto owned = take_socket(arrival);
    if (!owned || winding_down_) return;
    auto connection =
        std::make_shared<Connection>(shared_from_this(), std::move(*owned), std::move(arrival.ssl),
                                     std::move(*arrival.place), std::move(arrival.peer));
    add(connection);
    connection->go_on(arrival);
}

void Loop::remove(Connection& connection) { connections_.erase(&connection); }

std::string_view Loop::date() {
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    if (now == date_time_) return date_;
    date_time_ = now;
    const std::time_t seconds = now.time_since_epoch().count();
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    std::array<char, 64> text{};
    const std::size_t size =
        std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    date_.assign(text.data(), size);
    return date_;
}

void Loop::arm_sweep() {
    if (sweeping_) return;
    sweep_timer_.expires_after(sweep_interval_);
    sweep_timer_.async_wait([this](const boost::system::error_code& error) {
        sweeping_ = false;
        if (error) return;
        try {
            sweep();
        } catch (const std::exception&) {
            arm_sweep();  // no memory for a list of them: the deadlines hold a little later
        }
    });
    sweeping_ = true;
}

void Loop::sweep() {
    const auto now = Connection::Clock::now();
    std::vector<std::shared_ptr<Connection>> due;
    for (const auto& [key, connection] : connections_) {
        if (connection->deadline() <= now) due.push_back(connection);
    }
    expire(std::move(due));
}

void Loop::expire(std::vector<std::shared_ptr<Connection>> due) {
    constexpr std::size_t at_once = 4;
    const auto now = Connection::Clock::now();
    for (std::size_t i = 0; i < at_once && !due.empty(); ++i) {
        const std::shared_ptr<Connection> connection = std::move(due.back());
        due.pop_back();
        if (connection->deadline() <= now) connection->expire();
    }
    if (!due.empty()) {
        boost::asio::post(io_, [self = shared_from_this(), due = std::move(due)]() mutable {
            self->expire(std::move(due));
        });
    } else if (!connections_.empty()) {
        arm_sweep();
    }
}

std::vector<std::shared_ptr<Connection>> Loop::all() const {
    std::vector<std::shared_ptr<Connection>> result;
    result.reserve(connections_.size());
    for (const auto& [key, connection] : connections_) result.push_back(connection);
    return result;
}

void Loop::wind_down() {
    winding_down_ = true;
    for (const auto& connection : all()) connection->wind_down();
}

void Loop::close_all() {
    for (const auto& connection : all()) connection->close();
}

void Loop::stop() {
    {
        const std::scoped_lock lock(open_mutex_);
        open_ = false;
    }
    io_.stop();
    if (thread_.joinable()) thread_.join();
    close_all();
    // What was waiting holds its connection, which holds this loop: let it end.
    sweep_timer_.cancel();
    io_.restart();
    io_.poll();
}

}  // namespace server
