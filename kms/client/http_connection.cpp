#include "kms/client/http_connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <optional>

#include "base/stack.h"
#include "kms/client/buffered_client.h"

namespace kms {
namespace {

using std::chrono::milliseconds;

constexpr const char* no_authorities = "/dev/null";  // a folder that holds none

// Writing to a connection that the peer has reset raises SIGPIPE, which would end the program; a
// library has no right to change the process's disposition, so the signal is held back in this
// thread and taken away again, unless the program ignores it anyway.
class PipeSignalGuard {
public:
    PipeSignalGuard() {
        struct sigaction current {};
        sigaction(SIGPIPE, nullptr, &current);
        is_ignored_ = (current.sa_flags & SA_SIGINFO) == 0 && current.sa_handler == SIG_IGN;
        if (is_ignored_) return;
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        sigset_t pending;
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    ~PipeSignalGuard() {
        if (is_ignored_) return;
        if (!was_pending_) {
            const timespec at_once{};
            sigtimedwait(&pipe_, nullptr, &at_once);
        }
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    PipeSignalGuard(const PipeSignalGuard&) = delete;
    PipeSignalGuard& operator=(const PipeSignalGuard&) = delete;

private:
    sigset_t pipe_{};
    sigset_t before_{};
    bool is_ignored_ = false;
    bool was_pending_ = false;
};

// A second descriptor of the library's socket. The library closes its own whenever it likes, and
// the number may then belong to another file; this one stays ours until we let go.
class SocketHandle {
public:
    ~SocketHandle() { release(); }
    SocketHandle() = default;
    SocketHandle(const SocketHandle&) = delete;
    SocketHandle& operator=(const SocketHandle&) = delete;

    void hold(int socket) noexcept {
        const std::lock_guard lock(mutex_);
        close_held();
        held_ = ::fcntl(socket, F_DUPFD_CLOEXEC, 0);
        if (interrupted_) shut_down_held();
    }
    void release() noexcept {
        const std::lock_guard lock(mutex_);
        close_held();
    }
    void begin() noexcept {
        const std::lock_guard lock(mutex_);
        interrupted_ = false;
    }
    void interrupt() noexcept {
        const std::lock_guard lock(mutex_);
        interrupted_ = true;
        shut_down_held();
    }
    bool interrupted() const noexcept {
        const std::lock_guard lock(mutex_);
        return interrupted_;
    }
    // True when something lies ready on a connection that should be silent: the peer's goodbye.
    bool has_input() const noexcept {
        const std::lock_guard lock(mutex_);
        pollfd entry{held_, POLLIN, 0};
        return held_ < 0 || ::poll(&entry, 1, 0) != 0;
    }

private:
    void close_held() noexcept {
        if (held_ >= 0) ::close(held_);
        held_ = -1;
    }
    void shut_down_held() const noexcept {
        if (held_ >= 0) ::shutdown(held_, SHUT_RDWR);
    }

    mutable std::mutex mutex_;
    int held_ = -1;
    bool interrupted_ = false;
};

NoAnswer::Kind kind_of(httplib::Error error) {
    switch (error) {
        case httplib::Error::Connection:
        case httplib::Error::ConnectionTimeout:
        case httplib::Error::BindIPAddress:
        case httplib::Error::SSLConnection:
            return NoAnswer::Kind::not_sent;
        case httplib::Error::SSLLoadingCerts:
        case httplib::Error::SSLServerVerification:
            return NoAnswer::Kind::untrusted;
        default:
            return NoAnswer::Kind::lost;  // newer releases know more: assume the worst
    }
}

milliseconds time_left(Deadline deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    return std::max(left, milliseconds(1));
}

// Hands the body to the library piece by piece, so that no std::string of it is ever made, and only
// once: newer releases send a second time on their own when the connection turns out to be closed,
// and by then the service may have done what was asked.
httplib::ContentProvider body_provider(const HttpRequest& request, bool& given) {
    return [&request, &given](std::size_t offset, std::size_t length, httplib::DataSink& sink) {
        if (offset == 0 && std::exchange(given, true) && !request.repeatable) return false;
        if (offset > request.body.size()) return false;
        const std::string_view piece = request.body.substr(offset, length);
        return sink.write(piece.data(), piece.size());
    };
}

httplib::Request to_library(const HttpRequest& request, bool& body_given) {
    httplib::Request out;
    out.method = request.method;
    out.path = request.path;
    for (const auto& [name, value] : request.headers) out.set_header(name, value);
    if (!request.bearer.empty()) {
        out.set_header("Authorization", "Bearer " + std::string(request.bearer));
    }
    out.set_header("Accept-Encoding", "identity");
    if (!request.body.empty()) {
        out.set_header("Content-Type", "application/json");
        out.content_length_ = request.body.size();
        out.content_provider_ = body_provider(request, body_given);
    }
    return out;
}

}  // namespace

struct HttpConnection::Http {
    Http(const Endpoint& endpoint, milliseconds timeout)
        : client(endpoint.socket.empty() ? endpoint.host : endpoint.socket.string(), endpoint.port),
          connect_timeout(timeout) {
        // Over a UNIX socket the library would name its path.
        if (!endpoint.socket.empty()) host_header = endpoint.host;
    }

    void set_timeouts(Deadline deadline) {
        const milliseconds left = time_left(deadline);
        client.set_connection_timeout(std::min(left, connect_timeout));
        client.set_read_timeout(left);
        client.set_write_timeout(left);
        set_deadline(client, deadline);
    }

    SocketHandle socket;  // before the client, which uses it until its end
    HttpsClient client;
    milliseconds connect_timeout;
    std::string host_header;  // empty: the library knows
};

HttpConnection::HttpConnection(const Endpoint& endpoint, std::shared_ptr<const ClientTls> tls,
                               milliseconds connect_timeout)
    : tls_(std::move(tls)), http_(std::make_unique<Http>(endpoint, connect_timeout)) {
    httplib::SSLClient& client = http_->client;
    tls_->apply_to(client.ssl_context(), endpoint.host);
    // One call of the system for a record and not two.
    if (may_be_buffered) SSL_CTX_set_read_ahead(client.ssl_context(), 1);
    if (endpoint.socket.empty()) {
        // The authorities are there already. Told of none the library would add all of the
        // system's; told of the file it would read what may have changed.
        client.set_ca_cert_path({}, no_authorities);
        client.enable_server_certificate_verification(true);
        client.set_tcp_nodelay(true);
    } else {
        // The library takes the socket's path for a host name, which no certificate carries.
        SSL_CTX_set_verify(client.ssl_context(), SSL_VERIFY_PEER, nullptr);
        client.enable_server_certificate_verification(false);
        client.set_address_family(AF_UNIX);
    }
    client.set_keep_alive(true);
    client.set_follow_location(false);
    client.set_compress(false);
    client.set_decompress(false);
    client.set_url_encode(false);
    client.set_socket_options([handle = &http_->socket](socket_t socket) { handle->hold(socket); });
}

// The goodbye is a write as well, and a UNIX socket refuses it at once when the peer has gone.
HttpConnection::~HttpConnection() {
    const PipeSignalGuard no_pipe_signal;
    http_.reset();
}

void HttpConnection::interrupt() noexcept { http_->socket.interrupt(); }

std::variant<Answer, NoAnswer> HttpConnection::exchange(const HttpRequest& request,
                                                        Deadline deadline) {
    const PipeSignalGuard no_pipe_signal;
    http_->socket.begin();
    http_->set_timeouts(deadline);
    if (http_->client.is_socket_open() != 0 && http_->socket.has_input()) http_->client.stop();

    Answer answer;
    bool too_large = false;
    bool body_given = false;
    httplib::Request out = to_library(request, body_given);
    if (!http_->host_header.empty()) out.set_header("Host", http_->host_header);
    out.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
        too_large = size > request.max_answer_bytes - answer.body.size();
        if (too_large || http_->socket.interrupted()) return false;
        answer.body.append(data, size);
        return true;
    };

    httplib::Response in;
    httplib::Error error = httplib::Error::Success;
    try {
        std::optional<base::StackWiped> wiped;  // the library reads bodies through a buffer there
        if (!may_be_buffered) wiped.emplace();  // else BufferedExchange sees to it
        const bool fine = http_->client.send(out, in, error);
        if (has_unread(http_->client)) http_->client.stop();
        if (fine) {
            answer.status = in.status;
            answer.checkpoint = in.get_header_value("Strongroom-Checkpoint");
            return answer;
        }
    } catch (const std::bad_alloc&) {
        http_->client.stop();
        throw;
    } catch (const std::exception& failure) {
        http_->client.stop();
        return NoAnswer{NoAnswer::Kind::lost, failure.what()};
    }
    if (too_large) return NoAnswer{NoAnswer::Kind::too_large, "more than the client reads"};
    return NoAnswer{kind_of(error), httplib::to_string(error)};
}

}  // namespace kms
