// An HTTPS server that misbehaves on demand: for tests of clients. Reads one request after the
// other from each connection and does what the script says. It checks nothing but the client
// certificate.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_pki.h"

namespace tests {

struct PeerReply {
    enum class Then {
        keep,   // wait for the next request
        close,  // say goodbye properly
        reset,  // break the connection without a word
        hold,   // stay silent until the client goes
        drip,   // send one header byte every 20 ms until the client goes
    };
    std::string text;  // sent as it is
    Then then = Then::keep;
    std::string more{};  // sent right behind it, in a TLS record of its own
};

// A whole HTTP answer.
std::string http_answer(int status, std::string_view body, std::string_view headers = {});

class TlsPeer {
public:
    // Gets the whole request, head and body. Called from several threads, one for each connection.
    using Script = std::function<PeerReply(const std::string& request)>;

    // Asks for no client certificate when `client_ca` is empty.
    TlsPeer(const CertificateFiles& certificate, const std::filesystem::path& client_ca,
            Script script);
    // Breaks all connections and joins their threads.
    ~TlsPeer();
    TlsPeer(const TlsPeer&) = delete;
    TlsPeer& operator=(const TlsPeer&) = delete;

    int port() const { return port_; }
    std::string url(std::string_view host = "127.0.0.1") const;
    int connections() const { return connections_; }  // TCP connections accepted so far
    int open_connections() const;                     // of them, those not yet closed on this side
    int requests() const { return requests_; }        // whole requests read so far
    // The common names of the client certificates that were shown, one for each handshake.
    std::vector<std::string> shown() const;

private:
    struct Tls;
    void accept_all();
    void serve(int socket);

    std::unique_ptr<Tls> tls_;
    Script script_;
    int listener_ = -1;
    int port_ = 0;
    std::atomic<int> connections_ = 0;
    std::atomic<int> requests_ = 0;
    mutable std::mutex mutex_;
    bool stopping_ = false;
    std::vector<std::string> shown_;
    std::vector<int> sockets_;  // closed by their own threads, which take them out of here first
    std::list<std::thread> threads_;
    std::thread acceptor_;
};

}  // namespace tests
