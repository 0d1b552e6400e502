// Who is calling: chooses between the ways of being known and makes a Caller, one type for all. No
// rights are decided here.
//
// The rule. What stands in the request's own head goes before the connection's certificate, and
// what is shown must be good: a wrong credential is refused though another would pass, so that
// nobody is taken for somebody else than he says. In this order:
//   1. the shared-secret header and Authorization together: refused;
//   2. the shared-secret header, or one of them: its verdict; two of them are refused;
//   3. Authorization: must be "Bearer"; the first verifier that recognizes the credential's form
//   has
//      the verdict, and where none does it is refused;
//   4. the client certificate.
// A route may take shared secrets only (Credential::shared_secret). Then Authorization beside the
// secret is no second caller: it says for which user the server calls.
// A caller known by 2 or 3 has nothing of the certificate's rights; the connection's name stands
// beside his claims as "connection", so that a policy can ask for both.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/caller.h"
#include "server/credential_verifier.h"
#include "server/request.h"

namespace server {

// Which methods the routes under a path take.
struct RouteMethods {
    std::string path;  // "/v1/keys": that path and what is below it; matched against route patterns
    std::set<AuthenticationMethod> methods;
};

// Whether a rule for `path` is about the route with that pattern.
bool is_route_under(std::string_view pattern, std::string_view path);

struct AuthenticatorParts {
    bool client_certificates = true;
    std::shared_ptr<CredentialVerifier> shared_secrets;  // null: not taken
    // Lower case. One caller may come by any of them, but by one at a time.
    std::vector<std::string> secret_headers = {"x-strongroom-secret"};
    // For bearers, in the order in which they are asked whether they recognize one.
    std::vector<std::shared_ptr<CredentialVerifier>> bearers;
    // The longest path that fits a route decides; a route that none fits takes every method.
    std::vector<RouteMethods> routes;
    // What callers' ids of the other methods begin with: no certificate may bear such a name.
    std::vector<std::string> caller_prefixes;
};

// Who stands behind one request.
struct Identified {
    Caller caller;
    std::optional<Caller> user;  // for whom a server calls, proven by the user's own bearer
};

// Immutable; thread-safe.
class Authenticator {
public:
    // Takes client certificates only.
    Authenticator();
    explicit Authenticator(AuthenticatorParts parts);

    // The caller of a request to the route with that pattern. May block (see CredentialVerifier).
    // Throws unauthenticated when there is no credential ("no_credential" is the detail then) or a
    // wrong one, with one word as detail; unavailable when it can't be told now. No message or
    // detail holds any of it.
    Caller authenticate(const Request& request, std::string_view route_pattern) const;

    // The same for a route that takes shared secrets only, and a user's bearer beside one. Both
    // must be good.
    Identified authenticate_server(const Request& request, std::string_view route_pattern) const;

    // The same for who has asked connected() already: empty when its answer, `connection`, stands.
    std::optional<Caller> authenticate(const Request& request, std::string_view route_pattern,
                                       const Caller& connection) const;

    // Whether there is neither a certificate nor a header with a credential: authenticate() will
    // throw, and ask nobody before.
    bool shows_nothing(const Request& request) const;

    // Whose connection it is, by certificate alone; nobody without one. For records of what was
    // refused before anybody asked further. Never blocks.
    Caller connected(const Request& request) const;

    // The WWW-Authenticate header of a 401 on that route (RFC 9110 11.6.1, RFC 6750 3).
    std::string challenge(const Request& request, std::string_view route_pattern) const;

private:
    // The shared secret in the request's head; null when there is none. Throws unauthenticated when
    // there are two.
    const base::WipedString* shown_secret(const Request& request) const;
    bool accepts(AuthenticationMethod method, std::string_view route_pattern) const;
    // What came with a request: from whom, and to which route.
    struct Coming {
        std::string_view peer;
        std::string_view route_pattern;
    };
    Caller verify_bearer(std::string_view authorization, const Coming& coming) const;
    Caller verify_with(CredentialVerifier& verifier, std::string_view credential,
                       const Coming& coming) const;

    AuthenticatorParts parts_;
};

}  // namespace server
