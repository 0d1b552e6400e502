// An issuer of JSON Web Tokens for tests: a key of its own, its JWK, and tokens of every right and
// wrong kind. Nothing in here is for production.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/jwk.h"

namespace tests {

// Throws std::runtime_error when OpenSSL refuses.
class JwtSigner {
public:
    // Makes the key; RSA takes a moment.
    explicit JwtSigner(std::string key_id,
                       server::JwtAlgorithm algorithm = server::JwtAlgorithm::ES256);
    ~JwtSigner();
    JwtSigner(JwtSigner&&) noexcept;

    // The public half.
    std::string jwk() const;
    std::string public_pem() const;

    // Signed by the key in its own way, whatever `header` says.
    std::string token(std::string_view claims) const;
    std::string token(std::string_view header, std::string_view claims) const;

private:
    struct Key;
    std::string key_id_;
    server::JwtAlgorithm algorithm_;
    std::unique_ptr<Key> key_;
};

std::string jwk_set(const std::vector<std::string>& keys);

// header.payload without a signature, and with an HMAC-SHA-256 under `secret`.
std::string unsigned_token(std::string_view header, std::string_view claims);
std::string hmac_token(std::string_view header, std::string_view claims, std::string_view secret);

}  // namespace tests
