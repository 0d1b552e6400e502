// Public keys of a token issuer: a JWK set (RFC 7517) read into keys that check signatures. The
// algorithm belongs to the key, so what a token says of it can only be compared. OpenSSL does the
// arithmetic; no OpenSSL type is shown.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/json.h"

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

namespace server {

// The enumerators are the words of "alg" (RFC 7518 3.1, RFC 8037 3.1). Neither "none" nor an HMAC
// is among them: a verifier that knows only public keys has no use for them.
enum class JwtAlgorithm { RS256, PS256, ES256, EdDSA };  // NOLINT(readability-identifier-naming)
std::string_view to_string(JwtAlgorithm algorithm) noexcept;
std::optional<JwtAlgorithm> parse_jwt_algorithm(std::string_view word) noexcept;

// A public key that is for one algorithm. Immutable, cheap to copy, safe to share between threads.
class JwtKey {
public:
    // From one JWK: RSA of 2,048 to 8,192 bits (RS256 unless its "alg" says PS256), EC P-256
    // (ES256) or OKP Ed25519 (EdDSA). Empty for a key that is for something else: another type,
    // curve, algorithm or use. Throws invalid_argument, saying why, for one that is malformed or
    // holds a private half.
    static std::optional<JwtKey> from_jwk(const base::JsonValue& jwk);

    // Whether `signature`, in the form that JWS has it (RFC 7518 3.3 to 3.5, RFC 8037 3.1), is this
    // key's over `text`. Throws internal when OpenSSL fails in a way that says nothing of either.
    bool verifies(std::string_view text, base::ByteView signature) const;

    JwtAlgorithm algorithm() const { return algorithm_; }

private:
    JwtKey(JwtAlgorithm algorithm, std::shared_ptr<evp_pkey_st> key)
        : algorithm_(algorithm), key_(std::move(key)) {}

    JwtAlgorithm algorithm_;
    std::shared_ptr<evp_pkey_st> key_;
};

// The keys of a set that can be used here, by their "kid". Keys without one are left out.
// Immutable.
class JwkSet {
public:
    // Throws invalid_argument, saying why: no JWK set, a key that is malformed, two keys of one
    // "kid", or none that can be used.
    explicit JwkSet(std::string_view json);

    // Null when there is none.
    const JwtKey* find(std::string_view key_id) const;
    std::size_t size() const { return keys_.size(); }

private:
    std::map<std::string, JwtKey, std::less<>> keys_;
};

// The largest set that is read.
inline constexpr std::size_t max_jwk_set_bytes = 256UL * 1024;

}  // namespace server
