// TLS of the edge: the context made from configuration, and what a verified peer certificate says.
// Private to server/edge*.cpp. OpenSSL does all parsing of certificates.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/edge.h"
#include "server/request.h"

namespace server {

struct SslDeleter {
    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslDeleter>;
using Ssl = std::unique_ptr<SSL, SslDeleter>;

// Everything that the edge's TLS was made from, as it was read at one moment. Immutable.
struct Tls {
    SslContext context;
    std::map<std::string, std::string> facts;    // of the files, for the audit record
    std::chrono::sys_seconds certificate_end{};  // of the own certificate
    // When the first of the revocation lists ends.
    std::chrono::sys_seconds lists_end = std::chrono::sys_seconds::max();
};

// TLS 1.3, and 1.2 with ECDHE and AEAD suites only where the configuration permits it; no
// compression, renegotiation, early data or resumption: each connection proves its certificate
// anew. A client certificate that is presented must verify against client_ca for client
// authentication; where client_crl is configured, a list of each authority of its chain must be
// there, be in time and not name it (RFC 5280 5, 6.3). Throws failed_precondition naming the file
// and what is wrong with it.
std::shared_ptr<const Tls> load_tls(const EdgeConfig& config);

// The TLS in force, which a reload replaces. Thread-safe.
class TlsInForce {
public:
    explicit TlsInForce(std::shared_ptr<const Tls> tls) : tls_(std::move(tls)) {}

    std::shared_ptr<const Tls> get() const {
        const std::scoped_lock lock(mutex_);
        return tls_;
    }
    void replace(std::shared_ptr<const Tls> tls) {
        const std::scoped_lock lock(mutex_);
        tls_ = std::move(tls);
        generation_.fetch_add(1, std::memory_order_release);
    }
    // Grows with each replacement: cheap to ask with every request.
    std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<const Tls> tls_;
    std::atomic<std::uint64_t> generation_{0};
};

// What TLS proved about the peer; empty when it showed no certificate. Call after the handshake.
// Throws invalid_argument for a URI name with bytes that no URI has.
std::optional<PeerCertificate> read_peer_certificate(const SSL* ssl);

// Until when the peer's certificate holds without looking again: the first end of a certificate of
// its chain or of a revocation list.
std::chrono::sys_seconds holds_until(const SSL* ssl, const Tls& tls);

// Judges the peer's certificate again, by what `tls` says and at that time; why it does not hold,
// or empty.
std::string judge_again(const SSL* ssl, const Tls& tls, std::chrono::sys_seconds now);

// The newest entry of this thread's OpenSSL error queue as text, for logs; the queue is emptied.
std::string take_tls_error();

}  // namespace server
