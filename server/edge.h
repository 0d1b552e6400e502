// The network: TCP, TLS and HTTP/1.1 with every size and time bounded. It hands complete requests
// to a RequestHandler and sends the answers. No route, identity or policy in here.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "server/gate.h"
#include "server/metrics.h"

namespace server {

enum class TlsVersion { tls_1_2, tls_1_3 };

struct ListenAddress {
    std::string address = "127.0.0.1";  // numeric, or "unix:" and the path of a socket
    std::uint16_t port = 0;             // 0: any free port, see Edge::port(); none for a socket
    unsigned mode = 0600;               // of a UNIX socket: who may connect
};

struct EdgeConfig {
    std::vector<ListenAddress> listen{ListenAddress{}};  // one or more
    // No TLS. Refused where others than this machine could come in; meant for metrics.
    bool plain = false;

    std::filesystem::path certificate;  // PEM, the server's own, with its chain
    std::filesystem::path key;          // PEM; refused when others can read it
    std::filesystem::path
        client_ca;  // PEM; who may sign client certificates; refused when others can write it
    // PEM: revocation lists of the authorities; none: nothing is ever revoked.
    std::vector<std::filesystem::path> client_crl;
    bool require_client_certificate = false;  // true: no handshake without one
    TlsVersion minimum_version = TlsVersion::tls_1_3;

    // Beyond these a connection gets 503: a quarter of the first figure at a time, 64 at least, and
    // further ones are closed at once. A peer is an IPv4 address, the /64 of an IPv6 address, or a
    // local user.
    std::size_t max_connections = 4096;
    std::size_t max_connections_per_peer = 1024;
    std::size_t max_head_bytes = 16UL * 1024;
    // Bodies that announce more than this, which is what any body may take at once, are large: they
    // are taken while all that are under way, over all connections, announce no more than the
    // second figure together, strangers' (peers without a certificate) no more than half of it, and
    // one such peer's no more than a third of that half, or than the largest body that it may send
    // if that is more, so that one address does not take the others' room; local users have no
    // share of their own. Beyond that the answer is 503 before a byte of the body is read. A large
    // body counts until it is answered. So thousands of peers that stop in the middle of one do not
    // fill the memory.
    std::size_t large_body_bytes = 16UL * 1024;
    std::size_t max_large_bodies_bytes = 96UL * 1024 * 1024;
    std::chrono::milliseconds handshake_deadline{3000};
    std::chrono::milliseconds head_deadline{5000};
    // From the first byte of a head to the last of its body; the same for taking an answer.
    std::chrono::milliseconds request_deadline{10000};
    std::chrono::milliseconds idle_deadline{60000};  // between requests of one connection
    // The same for a peer without a certificate, who may ask little and could hold every place.
    std::chrono::milliseconds stranger_idle_deadline{5000};
    // For a connection beyond the caps to send the request that is refused.
    std::chrono::milliseconds refused_deadline{1000};
    // For requests; over TLS as many more shake hands, at a lower priority.
    std::size_t threads = 2;
    // By which the certificate of an open connection is over, or the list that it was judged by;
    // moved on by hand in tests. A handshake goes by the host's clock, always.
    std::function<std::chrono::system_clock::time_point()> now = [] {
        return std::chrono::system_clock::now();
    };
};

// Thread-safe. `handler`, `metrics` and `log` must outlive it.
class Edge {
public:
    // Reads the certificates, binds and listens; serves from start() on. Throws failed_precondition
    // naming what is wrong and what to do: port or socket in use, certificate or key unreadable or
    // not a pair, key file readable by others, CA file missing, a revocation list missing or out of
    // its time, plain bytes asked for on a network.
    Edge(EdgeConfig config, RequestHandler& handler, Metrics& metrics, base::Log& log);
    ~Edge();  // NOLINT(bugprone-exception-escape): nothing is left to do when stopping fails
    Edge(const Edge&) = delete;
    Edge& operator=(const Edge&) = delete;

    void start();
    std::uint16_t port() const;  // of the first TCP address; 0 when there is none
    // Where it listens, in order: "127.0.0.1 port 7443", "unix:/run/kmsd.sock".
    std::vector<std::string> places() const;

    // Reads certificate, key, authorities and revocation lists anew and puts them in force, all or
    // none: on failed_precondition the old ones stay. Returns facts of the new ones for the audit
    // log. Connections stay open; each is judged by the new files before its next request is
    // handled, and refused with 401 when its certificate does not hold any more.
    std::map<std::string, std::string> reload_certificates();
    // The files that it reads.
    std::vector<std::filesystem::path> certificate_files() const;

    // Stops accepting, closes idle connections, refuses requests that have come in part with 503,
    // lets running ones finish and their answers be taken, at most `bound`.
    void stop(std::chrono::milliseconds bound);

private:
    struct State;
    std::unique_ptr<State> state_;
};

// All that Edge would read for `config`, without listening. Throws as Edge does.
void check_edge(const EdgeConfig& config);

}  // namespace server
