// The network: TCP, TLS and HTTP/1.1 with every size and time bounded. It hands complete requests
// to a RequestHandler and sends the answers. No route, identity or policy in here.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/log.h"
#include "server/gate.h"
#include "server/metrics.h"

namespace server {

enum class TlsVersion { tls_1_2, tls_1_3 };

struct EdgeConfig {
    std::string address = "127.0.0.1";  // numeric
    std::uint16_t port = 0;             // 0: any free port, see Edge::port()

    std::filesystem::path certificate;  // PEM, the server's own, with its chain
    std::filesystem::path key;          // PEM; refused when others can read it
    std::filesystem::path
        client_ca;  // PEM; who may sign client certificates; refused when others can write it
    bool require_client_certificate = false;  // true: no handshake without one
    TlsVersion minimum_version = TlsVersion::tls_1_3;

    std::size_t max_connections = 4096;
    std::size_t max_connections_per_peer = 1024;
    std::size_t max_head_bytes = 16UL * 1024;
    std::chrono::milliseconds handshake_deadline{3000};
    std::chrono::milliseconds head_deadline{5000};
    // From the first byte of a head to the last of its body; the same for taking an answer.
    std::chrono::milliseconds request_deadline{10000};
    std::chrono::milliseconds idle_deadline{60000};  // between requests of one connection
    // The same for a peer without a certificate, who may ask little and could hold every place.
    std::chrono::milliseconds stranger_idle_deadline{5000};
    std::size_t threads = 2;
};

// Thread-safe. `handler`, `metrics` and `log` must outlive it.
class Edge {
public:
    // Reads the certificates, binds and listens; serves from start() on. Throws failed_precondition
    // naming what is wrong and what to do: port in use, certificate or key unreadable or not a
    // pair, key file readable by others, CA file missing.
    Edge(EdgeConfig config, RequestHandler& handler, Metrics& metrics, base::Log& log);
    ~Edge();  // NOLINT(bugprone-exception-escape): nothing is left to do when stopping fails
    Edge(const Edge&) = delete;
    Edge& operator=(const Edge&) = delete;

    void start();
    std::uint16_t port() const;

    // Stops accepting, closes idle connections, lets running requests finish, at most `bound`.
    void stop(std::chrono::milliseconds bound);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace server
