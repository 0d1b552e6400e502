// An edge with a handler of its own and a raw TLS client, for tests of what goes over the wire.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "server/edge.h"
#include "server/metrics.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"

namespace tests {

// Answers every request with what it got. "/hold…" waits for release(). Bodies up to max_body.
class EchoHandler final : public server::RequestHandler {
public:
    static constexpr std::size_t max_body = 64UL * 1024;

    std::variant<std::size_t, server::Response> admit(const server::Request& head) override;
    // A caller named as the certificate's first URI.
    std::shared_ptr<const server::Caller> recognize(const server::Request& peer) override;
    void handle(server::Request request, std::function<void(server::Response)> done) override;
    server::Response refuse(const server::Request& head, const base::Error& error) override;

    // Answers what is held, and from now on holds nothing.
    void release();
    // Each waits for it, at most 10 seconds.
    bool wait_for_held(std::size_t count);
    bool wait_for_refusals(std::size_t count);

    std::size_t handled() const;
    std::size_t recognized() const;
    std::vector<std::string> refused() const;  // error words
    std::optional<server::Request> last() const;

    // So many of the next refusals throw.
    std::atomic<int> failing_refusals{0};

private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool released_ = false;
    std::vector<std::function<void()>> held_;
    std::size_t handled_ = 0;
    std::size_t recognized_ = 0;
    std::vector<std::string> refused_;
    std::optional<server::Request> last_;
};

// Everything around an edge under test; short deadlines.
struct EdgeHouse {
    EdgeHouse();
    // Makes and starts the edge with `config`.
    void start();

    TemporaryDirectory directory;
    TestPki pki{directory / "pki"};
    CertificateFiles server_files = pki.server("server");
    CertificateFiles app = pki.client("app", "spiffe://strongroom/app");
    base::Log log{"test", base::LogLevel::error};
    server::Metrics metrics{"test"};
    EchoHandler handler;
    server::EdgeConfig config;
    std::unique_ptr<server::Edge> edge;
};

struct ClientOptions {
    std::filesystem::path ca;
    std::optional<CertificateFiles> certificate;
    int max_version = 0;  // e.g. TLS1_2_VERSION
    std::string suites_1_2;
};

struct WireAnswer {
    int status = 0;  // 0: the connection ended before an answer
    std::string head;
    std::string body;
    bool has(std::string_view header_line) const {
        return head.find(header_line) != std::string::npos;
    }
};

// A blocking TLS connection; every wait is bounded by 10 seconds.
class RawClient {
public:
    RawClient(std::uint16_t port, const ClientOptions& options);
    // The same over a connected socket, which it takes.
    RawClient(int socket, const ClientOptions& options);
    ~RawClient();
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    // The client's side of the handshake is done. With TLS 1.3 the server may refuse it later.
    bool shook_hands() const { return shook_hands_; }
    bool send(std::string_view bytes);
    // The next answer on the connection.
    WireAnswer read();
    WireAnswer ask(std::string_view bytes) {
        send(bytes);
        return read();
    }
    // True when the server ends the connection without another answer.
    bool ends();
    int version() const { return SSL_version(ssl_); }
    SSL* ssl() { return ssl_; }

private:
    bool read_more();

    int socket_ = -1;
    SSL_CTX* context_ = nullptr;
    SSL* ssl_ = nullptr;
    bool shook_hands_ = false;
    std::string input_;
};

// A TCP connection that says nothing; -1 when refused. The peer is `from`, which has to be one of
// this machine: any of 127.0.0.0/8.
int connect_tcp(std::uint16_t port, const std::string& from = "127.0.0.1");
int connect_unix(const std::filesystem::path& path);

// What this process has of real memory.
long resident_kib();

// Asks again and again, at most 10 seconds, until `condition` holds.
bool eventually(const std::function<bool()>& condition);

std::string get(std::string_view path);
std::string post(std::string_view path, std::string_view body);

}  // namespace tests
