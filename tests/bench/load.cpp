#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <queue>
#include <stdexcept>
#include <thread>
#include <vector>

namespace tests {

namespace {

using Clock = std::chrono::steady_clock;
using TlsContext = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

TlsContext make_context(const LoadConfig& config) {
    TlsContext context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
    bool good = context != nullptr &&
                SSL_CTX_load_verify_locations(context.get(), config.ca.c_str(), nullptr) == 1;
    if (good && !config.certificate.empty()) {
        good =
            SSL_CTX_use_certificate_chain_file(context.get(), config.certificate.c_str()) == 1 &&
            SSL_CTX_use_PrivateKey_file(context.get(), config.key.c_str(), SSL_FILETYPE_PEM) == 1;
    }
    if (!good) throw std::runtime_error("load: a certificate file can't be used");
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_read_ahead(context.get(), 1);
    return context;
}

int connect_to(const LoadConfig& config) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(config.port);
    if (inet_pton(AF_INET, config.address.c_str(), &address.sin_addr) != 1 ||
        ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        ::close(socket);
        throw std::runtime_error("load: can't connect");
    }
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return socket;
}

// What one thread counted.
struct Tally {
    std::vector<std::uint32_t> microseconds;  // of the answers
    std::uint64_t errors = 0;
    std::string first_error;
};

// One connection; the handshake blocks, the rest does not.
class Client {
public:
    Client(const LoadConfig& config, SSL_CTX* context, std::size_t number)
        : number_(number), socket_(connect_to(config)), ssl_(SSL_new(context)) {
        SSL_set_fd(ssl_, socket_);
        if (SSL_connect(ssl_) != 1) {
            close();
            throw std::runtime_error("load: TLS handshake failed");
        }
        ::fcntl(socket_, F_SETFL, ::fcntl(socket_, F_GETFL) | O_NONBLOCK);
    }
    ~Client() { close(); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    int socket() const { return socket_; }
    bool open() const { return ssl_ != nullptr; }

    // The answer's time counts from `due`.
    void ask(const RequestSource& source, Clock::time_point due) {
        const std::string_view request = source(number_);
        sent_ = due;
        std::size_t count = 0;
        // Most requests are far smaller than a socket's buffer, which is empty here; for the others
        // we wait.
        while (SSL_write_ex(ssl_, request.data(), request.size(), &count) != 1) {
            const int error = SSL_get_error(ssl_, 0);
            ERR_clear_error();
            pollfd writable{socket_, POLLOUT, 0};
            if (error != SSL_ERROR_WANT_WRITE || ::poll(&writable, 1, 10'000) != 1) {
                close();
                return;
            }
        }
    }

    // Reads what is there; the status of the answer when it is complete, -1 when the connection
    // broke, 0 when more has to come.
    int read() {
        std::array<char, 16384> part;  // NOLINT: filled by the read
        for (;;) {
            std::size_t count = 0;
            if (SSL_read_ex(ssl_, part.data(), part.size(), &count) != 1) {
                const int error = SSL_get_error(ssl_, 0);
                ERR_clear_error();
                if (error == SSL_ERROR_WANT_READ) return 0;
                close();
                return -1;
            }
            input_.append(part.data(), count);
            const auto end = input_.find("\r\n\r\n");
            if (end == std::string::npos) continue;
            const auto length = input_.find("Content-Length: ");
            if (length >= end) return -1;
            const std::size_t body = std::strtoul(input_.c_str() + length + 16, nullptr, 10);
            if (input_.size() < end + 4 + body) continue;
            const int status = std::atoi(input_.c_str() + 9);  // NOLINT: of our own server
            if (status >= 400 && refusal_.empty()) refusal_ = input_;
            input_.clear();
            return status;
        }
    }

    Clock::time_point sent() const { return sent_; }
    const std::string& refusal() const { return refusal_; }

private:
    void close() {
        if (ssl_ != nullptr) SSL_free(ssl_);
        if (socket_ >= 0) ::close(socket_);
        ssl_ = nullptr;
        socket_ = -1;
    }

    std::size_t number_;
    int socket_;
    SSL* ssl_;
    std::string input_;
    std::string refusal_;
    Clock::time_point sent_{};
};

class Worker {
public:
    // `beat`: from one request of a connection to its next; 0: as it is answered.
    Worker(const RequestSource& source, int expected_status, Clock::time_point from,
           Clock::time_point until, Clock::duration beat,
           std::vector<std::unique_ptr<Client>> clients)
        : source_(source),
          expected_(expected_status),
          from_(from),
          until_(until),
          beat_(beat),
          clients_(std::move(clients)),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        for (std::size_t i = 0; i < clients_.size(); ++i) {
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.u64 = i;
            ::epoll_ctl(epoll_, EPOLL_CTL_ADD, clients_[i]->socket(), &event);
        }
        tally_.microseconds.reserve(1UL << 20);
    }
    ~Worker() { ::close(epoll_); }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void run() {
        const auto begin = Clock::now();
        for (std::size_t i = 0; i < clients_.size(); ++i) {
            const auto first = begin + beat_ * i / clients_.size();
            if (beat_ == Clock::duration::zero()) {
                clients_[i]->ask(source_, first);
            } else {
                waiting_.push({first, i});
            }
        }
        std::array<epoll_event, 64> events{};
        while (Clock::now() < until_) {
            const timespec most = ask_who_is_due();
            const int count = ::epoll_pwait2(epoll_, events.data(), events.size(), &most, nullptr);
            for (int i = 0; i < count; ++i) serve(events[static_cast<std::size_t>(i)].data.u64);
        }
    }
    Tally take() { return std::move(tally_); }

private:
    // Until when there is nothing to ask.
    timespec ask_who_is_due() {
        constexpr long longest = 50'000'000;
        while (!waiting_.empty()) {
            const auto [due, number] = waiting_.top();
            const auto left = due - Clock::now();
            if (left > Clock::duration::zero()) return {0, std::min<long>(left.count(), longest)};
            waiting_.pop();
            clients_[number]->ask(source_, due);
        }
        return {0, longest};
    }

    void serve(std::size_t number) {
        Client& client = *clients_[number];
        if (!client.open()) return;
        const int status = client.read();
        if (status == 0) return;
        const auto now = Clock::now();
        if (status != expected_) {
            ++tally_.errors;
            if (tally_.first_error.empty()) {
                tally_.first_error = status < 0 ? "connection broke"
                                                : std::to_string(status) + ' ' + client.refusal();
            }
        } else if (now >= from_ && now < until_) {
            const auto took =
                std::chrono::duration_cast<std::chrono::microseconds>(now - client.sent());
            tally_.microseconds.push_back(static_cast<std::uint32_t>(took.count()));
        }
        if (!client.open()) return;
        if (beat_ == Clock::duration::zero()) {
            client.ask(source_, Clock::now());
        } else {
            waiting_.push({client.sent() + beat_, number});
        }
    }

    const RequestSource& source_;
    int expected_;
    Clock::time_point from_;
    Clock::time_point until_;
    Clock::duration beat_;
    std::vector<std::unique_ptr<Client>> clients_;
    int epoll_;
    Tally tally_;
    using Due = std::pair<Clock::time_point, std::size_t>;  // when, and which client
    std::priority_queue<Due, std::vector<Due>, std::greater<>> waiting_;
};

LoadResult result_of(Tally all, std::chrono::milliseconds duration) {
    LoadResult result;
    std::sort(all.microseconds.begin(), all.microseconds.end());
    const auto at = [&](double part) {
        if (all.microseconds.empty()) return std::chrono::microseconds(0);
        const auto last = static_cast<double>(all.microseconds.size() - 1);
        return std::chrono::microseconds(all.microseconds[static_cast<std::size_t>(part * last)]);
    };
    result.answers = all.microseconds.size();
    result.errors = all.errors;
    result.first_error = std::move(all.first_error);
    result.seconds = std::chrono::duration<double>(duration).count();
    result.per_second = static_cast<double>(result.answers) / result.seconds;
    result.p50 = at(0.50);
    result.p99 = at(0.99);
    result.longest = at(1);
    return result;
}

}  // namespace

LoadResult run_load(const LoadConfig& config, const RequestSource& source, int expected_status) {
    std::signal(SIGPIPE, SIG_IGN);
    const TlsContext context = make_context(config);
    const std::size_t threads = std::max<std::size_t>(config.threads, 1);
    std::vector<std::vector<std::unique_ptr<Client>>> shares(threads);
    for (std::size_t i = 0; i < config.connections; ++i) {
        shares[i % threads].push_back(std::make_unique<Client>(config, context.get(), i));
    }
    const auto from = Clock::now() + config.warm_up;
    const auto until = from + config.duration;
    std::vector<std::unique_ptr<Worker>> workers;
    const auto beat =
        config.rate <= 0
            ? Clock::duration::zero()
            : std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                  static_cast<double>(config.connections) / config.rate));
    for (auto& share : shares) {
        workers.push_back(
            std::make_unique<Worker>(source, expected_status, from, until, beat, std::move(share)));
    }
    std::vector<std::jthread> running;
    for (auto& worker : workers) running.emplace_back([&worker] { worker->run(); });
    running.clear();

    Tally all;
    for (auto& worker : workers) {
        Tally part = worker->take();
        all.microseconds.insert(all.microseconds.end(), part.microseconds.begin(),
                                part.microseconds.end());
        all.errors += part.errors;
        if (all.first_error.empty()) all.first_error = std::move(part.first_error);
    }
    return result_of(std::move(all), config.duration);
}

struct IdleConnections::All {
    explicit All(const LoadConfig& config) : context(make_context(config)) {}
    TlsContext context;
    std::vector<std::unique_ptr<Client>> clients;
};

IdleConnections::IdleConnections(const LoadConfig& config, std::string_view request)
    : all_(std::make_unique<All>(config)) {
    const RequestSource source = [request](std::size_t) { return request; };
    for (std::size_t i = 0; i < config.connections; ++i) {
        Client& client =
            *all_->clients.emplace_back(std::make_unique<Client>(config, all_->context.get(), i));
        client.ask(source, Clock::now());
        pollfd ready{client.socket(), POLLIN, 0};
        int status = 0;
        while (client.open() && (status = client.read()) == 0) ::poll(&ready, 1, 1000);
        if (status != 200) throw std::runtime_error("load: a connection was not served");
    }
}

IdleConnections::~IdleConnections() = default;

std::string http_request(std::string_view method, std::string_view path, std::string_view body,
                         std::string_view bearer) {
    std::string request;
    request.append(method).append(" ").append(path).append(" HTTP/1.1\r\nHost: localhost\r\n");
    if (!bearer.empty()) request.append("Authorization: Bearer ").append(bearer).append("\r\n");
    if (!body.empty()) {
        request.append("Content-Type: application/json\r\nContent-Length: ");
        request.append(std::to_string(body.size())).append("\r\n");
    }
    return request.append("\r\n").append(body);
}

std::string to_text(const LoadResult& result) {
    std::array<char, 160> line{};
    std::snprintf(line.data(), line.size(),
                  "%.0f requests/s, p50 %.2f ms, p99 %.2f ms, %llu errors", result.per_second,
                  static_cast<double>(result.p50.count()) / 1000,
                  static_cast<double>(result.p99.count()) / 1000,
                  static_cast<unsigned long long>(result.errors));
    return line.data();
}

}  // namespace tests
