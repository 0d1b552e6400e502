#include "tests/support/tls_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <optional>
#include <stdexcept>

namespace tests {
namespace {

void require_tls(bool fine, const char* what) {
    if (!fine) throw std::runtime_error(std::string("TLS peer: ") + what);
}

struct FreeSsl {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
};

bool write_all(SSL* ssl, std::string_view text) {
    return text.empty() || SSL_write(ssl, text.data(), static_cast<int>(text.size())) > 0;
}

std::size_t content_length(std::string_view head) {
    constexpr std::string_view name = "Content-Length: ";
    const auto at = head.find(name);
    std::size_t length = 0;
    if (at != std::string_view::npos) {
        const auto value = head.substr(at + name.size());
        std::from_chars(value.data(), value.data() + value.size(), length);
    }
    return length;
}

// The next whole request; empty when the client went away. `rest` keeps what was read too much.
std::optional<std::string> read_request(SSL* ssl, std::string& rest) {
    constexpr std::string_view end_of_head = "\r\n\r\n";
    for (;;) {
        const auto head = rest.find(end_of_head);
        if (head != std::string::npos) {
            const auto whole = head + end_of_head.size() + content_length(rest.substr(0, head));
            if (rest.size() >= whole) {
                std::string request = rest.substr(0, whole);
                rest.erase(0, whole);
                return request;
            }
        }
        std::array<char, 4096> room{};
        const int size = SSL_read(ssl, room.data(), static_cast<int>(room.size()));
        if (size <= 0) return std::nullopt;
        rest.append(room.data(), static_cast<std::size_t>(size));
    }
}

// Empty when nobody was shown.
std::string common_name(const SSL* ssl) {
    const X509* certificate = SSL_get0_peer_certificate(ssl);
    if (certificate == nullptr) return {};
    X509_NAME* subject = X509_get_subject_name(certificate);
    std::array<char, 128> name{};
    X509_NAME_get_text_by_NID(subject, NID_commonName, name.data(), static_cast<int>(name.size()));
    return name.data();
}

bool client_is_gone(int socket, int milliseconds) {
    pollfd entry{socket, POLLIN | POLLRDHUP, 0};
    return ::poll(&entry, 1, milliseconds) > 0;
}

void break_off(int socket) {
    const linger at_once{1, 0};  // close sends RST
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void misbehave(SSL* ssl, int socket, PeerReply::Then then) {
    switch (then) {
        case PeerReply::Then::keep:
            break;
        case PeerReply::Then::close:
            SSL_shutdown(ssl);
            break;
        case PeerReply::Then::reset:
            break_off(socket);
            break;
        case PeerReply::Then::hold:
            while (!client_is_gone(socket, 1000)) {
            }
            break;
        case PeerReply::Then::drip:
            while (write_all(ssl, "x") && !client_is_gone(socket, 20)) {
            }
            break;
    }
}

}  // namespace

struct TlsPeer::Tls {
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    Tls() = default;
    ~Tls() { SSL_CTX_free(context); }
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;
};

std::string http_answer(int status, std::string_view body, std::string_view headers) {
    return "HTTP/1.1 " + std::to_string(status) + " Status\r\n" + std::string(headers) +
           "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
}

TlsPeer::TlsPeer(const CertificateFiles& certificate, const std::filesystem::path& client_ca,
                 Script script)
    : tls_(std::make_unique<Tls>()), script_(std::move(script)) {
    require_tls(std::signal(SIGPIPE, SIG_IGN) != SIG_ERR, "signal");
    SSL_CTX* context = tls_->context;
    require_tls(SSL_CTX_use_certificate_chain_file(context, certificate.certificate.c_str()) == 1,
                "certificate");
    require_tls(
        SSL_CTX_use_PrivateKey_file(context, certificate.key.c_str(), SSL_FILETYPE_PEM) == 1,
        "key");
    if (!client_ca.empty()) {
        require_tls(SSL_CTX_load_verify_file(context, client_ca.c_str()) == 1, "client CA");
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    }

    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);  // so that 127.0.0.2 leads here as well
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    require_tls(::bind(listener_, raw, sizeof address) == 0, "bind");
    require_tls(::listen(listener_, 64) == 0, "listen");
    socklen_t size = sizeof address;
    require_tls(::getsockname(listener_, raw, &size) == 0, "getsockname");
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
}

TlsPeer::~TlsPeer() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
    ::close(listener_);
}

std::string TlsPeer::url(std::string_view host) const {
    return "https://" + std::string(host) + ":" + std::to_string(port_);
}

int TlsPeer::open_connections() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(sockets_.size());
}

std::vector<std::string> TlsPeer::shown() const {
    const std::lock_guard lock(mutex_);
    return shown_;
}

void TlsPeer::accept_all() {
    for (;;) {
        const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        const std::lock_guard lock(mutex_);
        if (socket < 0 || stopping_) {
            if (socket >= 0) ::close(socket);
            return;
        }
        ++connections_;
        sockets_.push_back(socket);
        threads_.emplace_back([this, socket] { serve(socket); });
    }
}

void TlsPeer::serve(int socket) {
    const std::unique_ptr<SSL, FreeSsl> ssl(SSL_new(tls_->context));
    SSL_set_fd(ssl.get(), socket);
    if (SSL_accept(ssl.get()) == 1) {
        {
            const std::lock_guard lock(mutex_);
            shown_.push_back(common_name(ssl.get()));
        }
        std::string rest;
        PeerReply reply;
        while (reply.then == PeerReply::Then::keep) {
            const auto request = read_request(ssl.get(), rest);
            if (!request) break;
            ++requests_;
            reply = script_(*request);
            if (!write_all(ssl.get(), reply.text) || !write_all(ssl.get(), reply.more)) break;
            misbehave(ssl.get(), socket, reply.then);
        }
    }
    const std::lock_guard lock(mutex_);
    std::erase(sockets_, socket);
    ::close(socket);
}

}  // namespace tests
