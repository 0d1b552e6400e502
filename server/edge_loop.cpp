#include "server/edge_loop.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>
#include <vector>

#include "server/edge_connection.h"

namespace server {

bool ConnectionLimits::take(const std::string& peer) {
    const std::scoped_lock lock(mutex_);
    if (taken_ >= total_) return false;
    std::size_t& of_peer = by_peer_[peer];
    if (of_peer >= per_peer_) return false;
    ++of_peer;
    ++taken_;
    metrics_.gauge("connections", static_cast<double>(taken_));
    return true;
}

void ConnectionLimits::give_back(const std::string& peer) noexcept {
    const std::scoped_lock lock(mutex_);
    --taken_;
    if (const auto place = by_peer_.find(peer); place != by_peer_.end() && --place->second == 0) {
        by_peer_.erase(place);
    }
    if (metrics_alive_) metrics_.gauge("connections", static_cast<double>(taken_));
    if (taken_ == 0) empty_.notify_all();
}

bool ConnectionLimits::wait_until_empty(std::chrono::milliseconds bound) {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, bound, [this] { return taken_ == 0; });
}

void ConnectionLimits::detach_metrics() {
    const std::scoped_lock lock(mutex_);
    metrics_alive_ = false;
}

void block_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

namespace {

// An eighth of the shortest deadline is precise enough, and four looks a second cheap enough.
std::chrono::milliseconds sweep_interval_for(const EdgeConfig& config) {
    const auto shortest = std::min({config.handshake_deadline, config.head_deadline,
                                    config.request_deadline, config.idle_deadline});
    return std::clamp(shortest / 8, std::chrono::milliseconds(5), std::chrono::milliseconds(250));
}

}  // namespace

Loop::Loop(const EdgeEnvironment& environment, SSL_CTX* tls)
    : environment_(environment),
      tls_(tls),
      sweep_interval_(sweep_interval_for(environment.config)) {}

Loop::~Loop() = default;

void Loop::run() {
    thread_ = std::thread([this] {
        block_signals();
        const auto work = boost::asio::make_work_guard(io_);
        for (;;) {
            try {
                io_.run();
                return;
            } catch (const std::exception& error) {
                // One connection's trouble (no memory) must not end the others'.
                environment_.log.error("a connection failed", {{"reason", error.what()}});
            }
        }
    });
}

void Loop::adopt(int socket, ConnectionPlace place) {
    boost::asio::ip::tcp::socket owned(io_);
    boost::system::error_code ignored;
    if (owned.assign(boost::asio::ip::tcp::v4(), socket, ignored)) {
        ::close(socket);
        return;
    }
    // From here on it is closed on every way out.
    owned.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
    owned.non_blocking(true, ignored);
    Ssl ssl(SSL_new(tls_));
    if (winding_down_ || ssl == nullptr || SSL_set_fd(ssl.get(), socket) != 1) return;
    SSL_set_accept_state(ssl.get());
    auto connection = std::make_shared<Connection>(shared_from_this(), std::move(owned),
                                                   std::move(ssl), std::move(place));
    connections_.emplace(connection.get(), connection);
    arm_sweep();
    connection->start();
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
    sweeping_ = true;
    sweep_timer_.expires_after(sweep_interval_);
    sweep_timer_.async_wait([this](const boost::system::error_code& error) {
        sweeping_ = false;
        if (!error) sweep();
    });
}

void Loop::sweep() {
    const auto now = Connection::Clock::now();
    std::vector<std::shared_ptr<Connection>> due;
    for (const auto& [key, connection] : connections_) {
        if (connection->deadline() <= now) due.push_back(connection);
    }
    for (const auto& connection : due) connection->expire();
    if (!connections_.empty()) arm_sweep();
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
