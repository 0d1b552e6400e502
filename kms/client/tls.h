// The client's side of TLS, with OpenSSL's own types: who we are, whom we trust, which versions.
// Nothing of HTTP in here.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <openssl/ssl.h>

namespace kms {

// Certificate, chain and key read once, to be put into as many SSL_CTX as there are connections.
// Safe to share between threads after construction.
class ClientTls {
public:
    // Throws invalid_argument naming the file that is missing, unreadable, no PEM, readable by
    // others (the key), or of another pair. Without `certificate` and `key` nobody is shown. `host`
    // is a name or an IP address without brackets.
    ClientTls(const std::filesystem::path& ca, const std::filesystem::path& certificate,
              const std::filesystem::path& key, std::string host);

    // TLS 1.2 or newer (RFC 9325 3.1.1), our certificate, and the host name or the IP address that
    // the server's certificate must carry. Throws internal when OpenSSL refuses. Does not load the
    // CA.
    void apply_to(SSL_CTX* context) const;

    // Makes OpenSSL itself verify the server, by our CA and the names of apply_to(), and end the
    // handshake otherwise: for connections to which the HTTP library gives no host name. Throws
    // internal when OpenSSL refuses.
    void verify_in_handshake(SSL_CTX* context) const;

    const std::filesystem::path& ca() const noexcept { return ca_; }

private:
    struct Free {
        void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    };

    std::filesystem::path ca_;
    std::string host_;
    std::unique_ptr<SSL_CTX, Free> identity_;  // holds the parsed certificate and key
};

}  // namespace kms
