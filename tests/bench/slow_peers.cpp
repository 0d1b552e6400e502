// Peers that hang on to a server: a quarter says nothing, a quarter sends a head at one byte every
// two seconds, a quarter a body at that pace, and a quarter has had an answer and stays idle.
// Whoever is thrown out comes back. They come evenly over the ten seconds that the slowest request
// may take, so that from "ready" on the rate at which they come back is the lasting one and not a
// wave's; from 127.0.0.2 and up, a few hundred from each address, so that the cap for one peer is
// not what keeps them out. Usage: bench_slow_peers PORT PKI COUNT; prints "ready" when all have
// come, and ends when its standard input does, with the fewest that were there at any look after
// that and how many handshakes were done. Everything stays on the loopback.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t peers_of_an_address = 500;
constexpr std::string_view request =
    "POST /empty HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
constexpr std::string_view request_with_body =
    "POST /empty HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n{";

std::size_t handshakes = 0;  // that were done

struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* tls) const { SSL_free(tls); }
};

class SlowPeer {
public:
    enum class Kind { silent, trickling_head, trickling_body, idle };

    SlowPeer(std::size_t number, std::uint16_t port, SSL_CTX* context)
        : kind_(static_cast<Kind>(number % 4)),
          from_(INADDR_LOOPBACK + 1 + static_cast<std::uint32_t>(number / peers_of_an_address)),
          port_(port),
          context_(context) {}
    ~SlowPeer() { leave(); }
    SlowPeer(const SlowPeer&) = delete;
    SlowPeer& operator=(const SlowPeer&) = delete;

    // Comes back when it was thrown out; true when it is there.
    bool hang_on() { return is_connected() || come(); }
    void send_a_byte() {
        if (!is_trickling() || !is_connected()) return;
        if (SSL_write(tls_.get(), "x", 1) != 1) leave();
    }

private:
    bool is_trickling() const {
        return kind_ == Kind::trickling_head || kind_ == Kind::trickling_body;
    }
    bool is_connected() {
        if (socket_ < 0) return false;
        pollfd entry{socket_, POLLRDHUP, 0};
        if (::poll(&entry, 1, 0) == 0) return true;
        leave();
        return false;
    }
    bool come() {
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval bound{5, 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
        ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound));
        // Else a request waits 40 ms for the other side to acknowledge the handshake.
        const int on = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (!call(&::bind, from_, 0) || !call(&::connect, INADDR_LOOPBACK, port_)) {
            leave();
            return false;
        }
        if (kind_ == Kind::silent) return true;
        tls_.reset(SSL_new(context_));
        SSL_set_fd(tls_.get(), socket_);
        const bool greeted = SSL_connect(tls_.get()) == 1 && begin();
        if (greeted) ++handshakes;
        if (!greeted) leave();
        return greeted;
    }
    bool begin() {
        std::string_view text = request;
        if (kind_ == Kind::trickling_head) text.remove_suffix(4);
        if (kind_ == Kind::trickling_body) text = request_with_body;
        if (SSL_write(tls_.get(), text.data(), static_cast<int>(text.size())) <= 0) return false;
        char answer[2048];
        return kind_ != Kind::idle || SSL_read(tls_.get(), answer, sizeof(answer)) > 0;
    }
    template <typename Function>
    bool call(Function function, std::uint32_t address, std::uint16_t port) const {
        sockaddr_in place{};
        place.sin_family = AF_INET;
        place.sin_addr.s_addr = htonl(address);
        place.sin_port = htons(port);
        return function(socket_, reinterpret_cast<const sockaddr*>(&place), sizeof(place)) == 0;
    }
    void leave() {
        tls_.reset();
        if (socket_ >= 0) ::close(socket_);
        socket_ = -1;
    }

    Kind kind_;
    std::uint32_t from_;
    std::uint16_t port_;
    SSL_CTX* context_;
    int socket_ = -1;
    std::unique_ptr<SSL, Free> tls_;
};

bool input_has_ended_by(std::chrono::steady_clock::time_point time) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        time - std::chrono::steady_clock::now());
    pollfd input{STDIN_FILENO, POLLIN, 0};
    char thrown_away[64];
    return ::poll(&input, 1, std::max(static_cast<int>(left.count()), 0)) > 0 &&
           ::read(STDIN_FILENO, thrown_away, sizeof(thrown_away)) <= 0;
}

int run(std::uint16_t port, const std::string& pki, std::size_t count) {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    const std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_client_method()));
    if (SSL_CTX_use_certificate_chain_file(context.get(), (pki + "/app.crt").c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(context.get(), (pki + "/app.key").c_str(), SSL_FILETYPE_PEM) !=
            1) {
        std::cerr << "bench_slow_peers: no certificate in " << pki << '\n';
        return 1;
    }
    std::vector<std::unique_ptr<SlowPeer>> peers;
    // Ten looks a second; each peer has its turn to send every two seconds.
    constexpr std::chrono::milliseconds beat{100};
    constexpr std::size_t slices = 20;
    constexpr std::size_t looks_until_all_came = 100;
    std::size_t fewest = count;
    auto next = std::chrono::steady_clock::now();
    for (std::size_t look = 0; !input_has_ended_by(next); ++look) {
        next = std::max(next + beat, std::chrono::steady_clock::now());
        const std::size_t came = peers.size();
        while (peers.size() < std::min(count, count * (look + 1) / looks_until_all_came)) {
            peers.push_back(std::make_unique<SlowPeer>(peers.size(), port, context.get()));
        }
        std::size_t there = 0;
        for (std::size_t i = 0; i < peers.size(); ++i) {
            there += peers[i]->hang_on() ? 1U : 0U;
            if (i % slices == look % slices) peers[i]->send_a_byte();
        }
        if (peers.size() < count) continue;
        if (came < count) std::cout << "ready" << std::endl;
        fewest = std::min(fewest, there);
    }
    std::cout << fewest << ' ' << handshakes << std::endl;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: bench_slow_peers PORT PKI COUNT\n";
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run(static_cast<std::uint16_t>(std::stoul(argv[1])), argv[2], std::stoul(argv[3]));
    } catch (const std::exception& error) {
        std::cerr << "bench_slow_peers: " << error.what() << '\n';
        return 1;
    }
}
