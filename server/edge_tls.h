// TLS of the edge: the context made from configuration, and what a verified peer certificate says.
// Private to server/edge*.cpp. OpenSSL does all parsing of certificates.
#pragma once

#include <openssl/ssl.h>

#include <memory>
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

// TLS 1.3, and 1.2 with ECDHE and AEAD suites only where the configuration permits it; no
// compression, renegotiation, early data or resumption: each connection proves its certificate
// anew. A client certificate that is presented must verify against client_ca for client
// authentication. Throws failed_precondition naming the file and what is wrong with it.
SslContext make_tls_context(const EdgeConfig& config);

// What TLS proved about the peer; empty when it showed no certificate. Call after the handshake.
// Throws invalid_argument for a URI name with bytes that no URI has.
std::optional<PeerCertificate> read_peer_certificate(const SSL* ssl);

// The newest entry of this thread's OpenSSL error queue as text, for logs; the queue is emptied.
std::string take_tls_error();

}  // namespace server
