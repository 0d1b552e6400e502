#include "tests/server/edge_house.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <new>
#include <thread>

#include "server/answer.h"

namespace tests {

namespace {

constexpr std::chrono::seconds patience{10};

void set_patience(int socket) {
    timeval bound{};
    bound.tv_sec = patience.count();
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound));
}

}  // namespace

std::variant<std::size_t, server::Response> EchoHandler::admit(const server::Request& head) {
    if (head.path == "/unknown") {
        return refuse(head, {base::ErrorCode::not_found, "no such path"});
    }
    return max_body;
}

std::shared_ptr<const server::Caller> EchoHandler::recognize(const server::Request& peer) {
    server::Caller caller;
    if (peer.certificate && !peer.certificate->uri_names.empty())
        caller.id = peer.certificate->uri_names.front();
    const std::scoped_lock lock(mutex_);
    ++recognized_;
    return std::make_shared<const server::Caller>(std::move(caller));
}

void EchoHandler::handle(server::Request request, std::function<void(server::Response)> done) {
    server::Response response;
    response.body = base::WipedString(server::to_string(request.method)) + " " +
                    base::WipedString(request.path) + " " + request.body;
    const std::scoped_lock lock(mutex_);
    ++handled_;
    const bool hold = request.path.starts_with("/hold") && !released_;
    last_ = std::move(request);
    if (hold) {
        held_.push_back(
            [done = std::move(done), response = std::move(response)] { done(response); });
    } else {
        done(std::move(response));
    }
    changed_.notify_all();
}

server::Response EchoHandler::refuse(const server::Request& /*head*/, const base::Error& error) {
    if (failing_refusals > 0) {
        --failing_refusals;
        throw std::bad_alloc();
    }
    const std::scoped_lock lock(mutex_);
    refused_.emplace_back(base::to_string(error.code()));
    changed_.notify_all();
    return server::error_answer(error, base::Uuid::random());
}

void EchoHandler::release() {
    const std::scoped_lock lock(mutex_);
    released_ = true;
    for (const auto& answer : held_) answer();
    held_.clear();
}

bool EchoHandler::wait_for_held(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return held_.size() >= count; });
}

bool EchoHandler::wait_for_refusals(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return refused_.size() >= count; });
}

std::size_t EchoHandler::handled() const {
    const std::scoped_lock lock(mutex_);
    return handled_;
}

std::size_t EchoHandler::recognized() const {
    const std::scoped_lock lock(mutex_);
    return recognized_;
}

std::vector<std::string> EchoHandler::refused() const {
    const std::scoped_lock lock(mutex_);
    return refused_;
}

std::optional<server::Request> EchoHandler::last() const {
    const std::scoped_lock lock(mutex_);
    return last_;
}

EdgeHouse::EdgeHouse() {
    std::signal(SIGPIPE, SIG_IGN);  // for the clients of this process, not for the edge
    config.certificate = server_files.certificate;
    config.key = server_files.key;
    config.client_ca = pki.ca();
    config.handshake_deadline = std::chrono::milliseconds(400);
    config.head_deadline = std::chrono::milliseconds(400);
    config.request_deadline = std::chrono::milliseconds(800);
    config.idle_deadline = std::chrono::milliseconds(5000);
}

void EdgeHouse::start() {
    edge = std::make_unique<server::Edge>(config, handler, metrics, log);
    edge->start();
}

int connect_tcp(std::uint16_t port, const std::string& from) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return -1;
    // Left to connect(), which may then use a port that other connections have, to other peers.
    const int late = 1;
    ::setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof(late));
    sockaddr_in source{};
    source.sin_family = AF_INET;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (::inet_pton(AF_INET, from.c_str(), &source.sin_addr) != 1 ||
        ::bind(socket, reinterpret_cast<sockaddr*>(&source), sizeof(source)) != 0) {
        ::close(socket);
        return -1;
    }
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        ::close(socket);
        return -1;
    }
    set_patience(socket);
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return socket;
}

int connect_unix(const std::filesystem::path& path) {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return -1;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        ::close(socket);
        return -1;
    }
    set_patience(socket);
    return socket;
}

RawClient::RawClient(std::uint16_t port, const ClientOptions& options)
    : RawClient(connect_tcp(port), options) {}

RawClient::RawClient(int socket, const ClientOptions& options)
    : socket_(socket), context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_load_verify_locations(context_, options.ca.c_str(), nullptr);
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    if (options.max_version != 0) SSL_CTX_set_max_proto_version(context_, options.max_version);
    if (!options.suites_1_2.empty()) SSL_CTX_set_cipher_list(context_, options.suites_1_2.c_str());
    if (options.certificate) {
        SSL_CTX_use_certificate_chain_file(context_, options.certificate->certificate.c_str());
        SSL_CTX_use_PrivateKey_file(context_, options.certificate->key.c_str(), SSL_FILETYPE_PEM);
    }
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, socket_);
    shook_hands_ = socket_ >= 0 && SSL_connect(ssl_) == 1;
}

RawClient::~RawClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    if (socket_ >= 0) ::close(socket_);
}

bool RawClient::send(std::string_view bytes) {
    if (!shook_hands_) return false;
    while (!bytes.empty()) {
        std::size_t count = 0;
        if (SSL_write_ex(ssl_, bytes.data(), bytes.size(), &count) != 1) return false;
        bytes.remove_prefix(count);
    }
    return true;
}

bool RawClient::read_more() {
    std::array<char, 4096> part{};
    std::size_t count = 0;
    if (!shook_hands_ || SSL_read_ex(ssl_, part.data(), part.size(), &count) != 1) return false;
    input_.append(part.data(), count);
    return true;
}

WireAnswer RawClient::read() {
    WireAnswer answer;
    std::size_t end = 0;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
        if (!read_more()) return answer;
    }
    answer.head = input_.substr(0, end + 2);
    input_.erase(0, end + 4);
    answer.status = std::stoi(answer.head.substr(9, 3));
    std::size_t length = 0;
    if (const auto at = answer.head.find("Content-Length: "); at != std::string::npos) {
        length = std::stoul(answer.head.substr(at + 16));
    }
    while (input_.size() < length && read_more()) {
    }
    answer.body = input_.substr(0, length);
    input_.erase(0, length);
    return answer;
}

bool RawClient::ends() {
    const auto start = std::chrono::steady_clock::now();
    while (read_more()) {
    }
    // A read that only ran out of patience is no end.
    return input_.empty() && std::chrono::steady_clock::now() - start < patience;
}

long resident_kib() {
    std::ifstream status("/proc/self/statm");
    long size = 0;
    long resident = 0;
    status >> size >> resident;
    return resident * sysconf(_SC_PAGESIZE) / 1024;
}

bool eventually(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

std::string get(std::string_view path) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

std::string post(std::string_view path, std::string_view body) {
    return "POST " + std::string(path) +
           " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

}  // namespace tests
