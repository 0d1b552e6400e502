// Why the server edge is not cpp-httplib's: the same four attacks on a cpp-httplib server and on
// server/edge, in one run, printed as a table. Everything stays on the loopback and is bounded in
// bytes and time.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <httplib.h>

#include "base/log.h"
#include "server/answer.h"
#include "server/edge.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"

namespace {

using Milliseconds = std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

constexpr std::size_t body_limit = 64UL * 1024;
constexpr std::size_t flood_bytes = 64UL * 1024 * 1024;
constexpr Milliseconds patience{6000};

std::atomic<bool> fail_next_accept{false};

// One TLS connection of an attacker or of a good client; blocking, with a time limit on each read
// and write.
class Peer {
public:
    Peer(std::uint16_t port, Milliseconds limit) {
        context_.reset(SSL_CTX_new(TLS_client_method()));
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval time{limit.count() / 1000, (limit.count() % 1000) * 1000};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
        ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            return;
        tls_.reset(SSL_new(context_.get()));
        SSL_set_fd(tls_.get(), socket_);
        connected_ = SSL_connect(tls_.get()) == 1;
    }
    ~Peer() {
        tls_.reset();
        ::close(socket_);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    bool send(std::string_view text) {
        return connected_ && SSL_write(tls_.get(), text.data(), static_cast<int>(text.size())) > 0;
    }
    // The first bytes of the answer; empty when none came in time.
    std::string receive() {
        std::string text(4096, '\0');
        const int got =
            connected_ ? SSL_read(tls_.get(), text.data(), static_cast<int>(text.size())) : 0;
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return text;
    }

private:
    struct Free {
        void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
        void operator()(SSL* tls) const { SSL_free(tls); }
    };
    std::unique_ptr<SSL_CTX, Free> context_;
    std::unique_ptr<SSL, Free> tls_;
    int socket_ = -1;
    bool connected_ = false;
};

std::size_t resident_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
    }
    return 0;
}

std::string seconds(Steady::duration time) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f s", std::chrono::duration<double>(time).count());
    return text;
}

std::string status_of(const std::string& answer) {
    return answer.size() > 12 && answer.starts_with("HTTP/1.") ? answer.substr(9, 3) : "no answer";
}

std::string good_request(std::uint16_t port) {
    const auto start = Steady::now();
    Peer peer(port, patience);
    peer.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const std::string status = status_of(peer.receive());
    return status + " after " + seconds(Steady::now() - start);
}

// Eight peers that send a head one byte a second keep their place for as long as they like.
std::string trickling_peers(std::uint16_t port) {
    std::vector<std::unique_ptr<Peer>> peers;
    for (int i = 0; i < 8; ++i) {
        peers.push_back(std::make_unique<Peer>(port, patience));
        peers.back()->send("GET /hello HTTP/1.1\r\nX-Slow: ");
    }
    std::jthread trickle([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            for (auto& peer : peers) peer->send("x");
            std::this_thread::sleep_for(Milliseconds(500));
        }
    });
    return "a good client beside them: " + good_request(port);
}

// Sends `chunk` until the server stops reading or `flood_bytes` are through.
std::string flood(std::uint16_t port, std::string_view head, const std::string& chunk,
                  std::string_view end) {
    const std::size_t before = resident_kib();
    std::size_t peak = before;
    std::size_t sent = 0;
    Peer peer(port, patience);
    peer.send(head);
    while (sent < flood_bytes && peer.send(chunk)) {
        sent += chunk.size();
        peak = std::max(peak, resident_kib());
    }
    if (sent >= flood_bytes) peer.send(end);
    const std::string status = status_of(peer.receive());
    peak = std::max(peak, resident_kib());
    return std::to_string(sent / 1024) + " KiB taken, memory +" +
           std::to_string((peak - before) / 1024) + " MiB, " + status;
}

std::string chunked_body(std::uint16_t port) {
    const std::string data(64UL * 1024 - 16, 'x');
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", data.size());
    return flood(port,
                 "POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                 "application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
                 size + data + "\r\n", "0\r\n\r\n");
}

std::string endless_header(std::uint16_t port) {
    return flood(port, "GET /hello HTTP/1.1\r\nX-Long: ", std::string(16UL * 1024, 'x'),
                 "\r\n\r\n");
}

std::string failed_accept(std::uint16_t port) {
    good_request(port);
    fail_next_accept = true;
    good_request(port);
    if (fail_next_accept.exchange(false)) return "no failure could be made";
    return "a good client afterwards: " + good_request(port);
}

struct Case {
    const char* name;
    std::string (*run)(std::uint16_t port);
};

constexpr Case cases[] = {{"8 trickling peers", trickling_peers},
                          {"64 MiB chunked body, limit 64 KiB", chunked_body},
                          {"64 MiB header line", endless_header},
                          {"accept() fails once (ECONNABORTED)", failed_accept}};

// Answers every complete request with 200.
class Hello final : public server::RequestHandler {
public:
    std::variant<std::size_t, server::Response> admit(const server::Request& /*head*/) override {
        return body_limit;
    }
    void handle(server::Request /*request*/, std::function<void(server::Response)> done) override {
        done(server::Response{});
    }
    server::Response refuse(const server::Request& /*head*/, const base::Error& error) override {
        return server::Response{server::http_status(error.code()), "application/json", {}, {}};
    }
};

std::string on_httplib(const Case& one, const tests::CertificateFiles& files) {
    httplib::SSLServer subject(files.certificate.c_str(), files.key.c_str());
    subject.set_payload_max_length(body_limit);
    subject.set_tcp_nodelay(true);
    const auto hello = [](const httplib::Request& /*request*/, httplib::Response& answer) {
        answer.set_content("{}", "application/json");
    };
    subject.Get("/hello", hello);
    subject.Post("/hello", hello);
    const int port = subject.bind_to_any_port("127.0.0.1");
    std::thread thread([&] { subject.listen_after_bind(); });
    while (!subject.is_running()) std::this_thread::yield();
    std::string result = one.run(static_cast<std::uint16_t>(port));
    subject.stop();
    thread.join();
    return result;
}

std::string on_edge(const Case& one, const tests::CertificateFiles& files,
                    const std::filesystem::path& ca) {
    base::Log log("edge_cases", base::LogLevel::error);
    server::Metrics metrics("edge_cases");
    Hello hello;
    server::EdgeConfig config;
    config.certificate = files.certificate;
    config.key = files.key;
    config.client_ca = ca;
    server::Edge edge(config, hello, metrics, log);
    edge.start();
    std::string result = one.run(edge.port());
    edge.stop(Milliseconds(1000));
    return result;
}

}  // namespace

// These take the place of the C library's functions for this program and the libraries in it
// (cpp-httplib calls the one, the edge the other): they fail once when asked to, as a peer can make
// the real ones fail.
extern "C" int accept4(int descriptor, sockaddr* address, socklen_t* length, int flags) {
    if (fail_next_accept.exchange(false)) {
        errno = ECONNABORTED;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_accept4, descriptor, address, length, flags));
}

extern "C" int accept(int descriptor, sockaddr* address, socklen_t* length) {
    return accept4(descriptor, address, length, 0);
}

int main() {
    const tests::TemporaryDirectory directory;
    tests::TestPki pki(directory.path());
    const auto files = pki.server("server");
    for (const Case& one : cases) {
        std::printf("%s\n", one.name);
        std::fflush(stdout);
        std::printf("  cpp-httplib  %s\n", on_httplib(one, files).c_str());
        std::fflush(stdout);
        std::printf("  server/edge  %s\n", on_edge(one, files, pki.ca()).c_str());
        std::fflush(stdout);
    }
    return 0;
}
