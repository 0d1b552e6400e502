// JSON Web Tokens (RFC 7519) as compact JWS (RFC 7515): reading one, and judging what it claims.
// Where keys come from is server/jwks_source.h. Nothing of HTTP in here.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "server/caller.h"
#include "server/jwk.h"

namespace server {

inline constexpr std::size_t max_jwt_bytes = 12UL * 1024;

// A token as it came: nothing in here is proven.
struct Jwt {
    JwtAlgorithm algorithm{};
    std::string key_id;
    std::string_view signed_text;  // header and payload, what the signature is over: in the text
    base::Bytes signature;
    base::JsonValue claims;  // an object
};

// Reads a token. Refused, beside all that is malformed: "alg" that is none of JwtAlgorithm, no
// "kid", a "crit" (nothing critical is understood), and a "typ" other than JWT or at+jwt. Keys and
// addresses in the header ("jwk", "jku", "x5c", "x5u") are not looked at. Throws unauthenticated;
// the detail says in one word why, the token is quoted nowhere. For any bytes.
Jwt parse_jwt(std::string_view text);

// The issuer that a token claims, without believing it; empty when it is no token.
std::string claimed_issuer(std::string_view text);

struct JwtRules {
    std::string issuer;
    std::vector<std::string> audiences;  // one of them must be among the token's
    std::string caller_prefix;           // before the claim that names the caller
    std::string caller_claim = "sub";
    // Names of a caller's claims and where they stand in the token, as JSON pointers (RFC 6901),
    // e.g. "roles" at "/realm_access/roles": a text, or a list of texts.
    std::map<std::string, std::string> claims;
    std::chrono::seconds leeway{30};  // for clocks that differ
    // Longest time from "iat" to "exp"; "iat" is required then.
    std::optional<std::chrono::seconds> max_lifetime;
};

// The caller whom a token with a good signature names: issuer and audience fit, `now` lies between
// "nbf" and "exp" (which is required), "iat" is not in the future, each with the leeway. Times are
// whole seconds. Claims of the token that the rules don't name are left out; "issuer" is added.
// Throws unauthenticated, with one word for why as detail.
Caller caller_of(const Jwt& token, const JwtRules& rules, base::Time now);

// Whether `pointer` is a JSON pointer for JwtRules::claims.
bool is_json_pointer(std::string_view pointer);

}  // namespace server
