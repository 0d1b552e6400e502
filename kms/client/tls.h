// The client's side of TLS, with OpenSSL's own types: who we are, whom we trust, which versions.
// Nothing of HTTP in here.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include <openssl/ssl.h>

namespace kms {

// Certificate, chain, key and authorities read once, to be put into as many SSL_CTX as there are
// connections: a file that changes or breaks later changes nothing here.
// Safe to share between threads after construction.
class ClientTls {
public:
    // Throws invalid_argument naming the file that is missing, unreadable, no PEM, readable by
    // others (the key), or of another pair. Without `certificate` and `key` nobody is shown.
    ClientTls(const std::filesystem::path& ca, const std::filesystem::path& certificate,
              const std::filesystem::path& key);

    // TLS 1.2 or newer (RFC 9325 3.1.1), our certificate, our authorities as the only ones, and the
    // name that the server's certificate must carry: `host`, or an IP address without brackets.
    // Throws internal when OpenSSL refuses.
    void apply_to(SSL_CTX* context, const std::string& host) const;

    // Of the certificate, when there is one: certificate_sha256 and certificate_end (RFC 3339).
    std::map<std::string, std::string> facts() const;

private:
    struct Free {
        void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
    };

    std::unique_ptr<SSL_CTX, Free> identity_;  // holds all that was read
};

}  // namespace kms
