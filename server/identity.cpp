#include "server/identity.h"

#include <algorithm>

#include "server/identity_words.h"

namespace server {
namespace {

constexpr std::string_view authorization_header = "authorization";
constexpr std::size_t max_bearer_bytes = 12UL * 1024;

bool is_bearer_character(char c) {
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return alphanumeric || std::string_view("-._~+/=").find(c) != std::string_view::npos;
}

// The credential in "Bearer <credential>" (RFC 6750 2.1); empty when it is anything else.
std::string_view bearer_in(std::string_view authorization) {
    constexpr std::string_view scheme = "bearer ";
    if (authorization.size() <= scheme.size() || authorization.size() > max_bearer_bytes) return {};
    const bool is_bearer =
        std::equal(scheme.begin(), scheme.end(), authorization.begin(),
                   [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); });
    if (!is_bearer) return {};
    authorization.remove_prefix(
        std::min(authorization.find_first_not_of(' ', scheme.size()), authorization.size()));
    const bool sound =
        std::all_of(authorization.begin(), authorization.end(), &is_bearer_character);
    return sound ? authorization : std::string_view();
}

}  // namespace

// "/v1/keys" fits "/v1/keys" and "/v1/keys/{key}", not "/v1/keyring".
bool is_route_under(std::string_view pattern, std::string_view path) {
    if (!pattern.starts_with(path)) return false;
    return pattern.size() == path.size() || path.ends_with('/') || pattern[path.size()] == '/';
}

Authenticator::Authenticator() = default;
Authenticator::Authenticator(AuthenticatorParts parts) : parts_(std::move(parts)) {}

Caller Authenticator::connected(const Request& request) const {
    Caller caller;
    caller.address = request.local_peer ? "unix:uid=" + std::to_string(request.local_peer->user_id)
                                        : request.peer_address;
    if (!request.certificate) return caller;
    const PeerCertificate& certificate = *request.certificate;
    const std::string& id =
        certificate.uri_names.empty() ? certificate.subject : certificate.uri_names.front();
    const auto is_taken = [&id](const std::string& prefix) { return id.starts_with(prefix); };
    if (!is_sound_name(id) ||
        std::any_of(parts_.caller_prefixes.begin(), parts_.caller_prefixes.end(), is_taken)) {
        return caller;
    }
    caller.id = id;
    caller.method = AuthenticationMethod::client_certificate;
    caller.claims = {{"certificate_sha256", {certificate.fingerprint}},
                     {"subject", {certificate.subject}}};
    return caller;
}

bool Authenticator::accepts(AuthenticationMethod method, std::string_view route_pattern) const {
    const RouteMethods* best = nullptr;
    for (const RouteMethods& rule : parts_.routes) {
        if (!is_route_under(route_pattern, rule.path)) continue;
        if (best == nullptr || rule.path.size() > best->path.size()) best = &rule;
    }
    return best == nullptr || best->methods.contains(method);
}

Caller Authenticator::verify_with(CredentialVerifier& verifier, std::string_view credential,
                                  const Coming& coming) const {
    // Before anybody is asked: what a route does not take costs nothing.
    if (!accepts(verifier.method(), coming.route_pattern)) {
        refuse_credential("method_not_accepted");
    }
    return verifier.verify_from(coming.peer, credential);
}

Caller Authenticator::verify_bearer(std::string_view authorization, const Coming& coming) const {
    const std::string_view credential = bearer_in(authorization);
    if (credential.empty()) refuse_credential("no_bearer");
    for (const auto& verifier : parts_.bearers) {
        if (verifier->recognizes(credential)) {
            return verify_with(*verifier, credential, coming);
        }
    }
    refuse_credential("unknown_form");
}

const base::WipedString* Authenticator::shown_secret(const Request& request) const {
    const base::WipedString* shown = nullptr;
    if (!parts_.shared_secrets) return shown;
    for (const std::string& header : parts_.secret_headers) {
        const auto found = request.headers.find(header);
        if (found == request.headers.end()) continue;
        if (shown != nullptr) refuse_credential("two_credentials");
        shown = &found->second;
    }
    return shown;
}

bool Authenticator::shows_nothing(const Request& request) const {
    const auto stands = [&request](const std::string& header) {
        return request.headers.contains(header);
    };
    return !request.certificate && !request.headers.contains(authorization_header) &&
           !(parts_.shared_secrets &&
             std::any_of(parts_.secret_headers.begin(), parts_.secret_headers.end(), stands));
}

Caller Authenticator::authenticate(const Request& request, std::string_view route_pattern) const {
    Caller connection = connected(request);
    auto other = authenticate(request, route_pattern, connection);
    return other ? std::move(*other) : std::move(connection);
}

std::optional<Caller> Authenticator::authenticate(const Request& request,
                                                  std::string_view route_pattern,
                                                  const Caller& connection) const {
    const auto authorization = request.headers.find(authorization_header);
    const base::WipedString* secret = shown_secret(request);
    const bool has_authorization = authorization != request.headers.end();
    if (has_authorization && secret != nullptr) refuse_credential("two_credentials");
    if (!has_authorization && secret == nullptr) {
        if (!request.certificate) refuse_credential("no_credential");
        if (connection.is_nobody()) refuse_credential("certificate_name");
        if (!parts_.client_certificates ||
            !accepts(AuthenticationMethod::client_certificate, route_pattern)) {
            refuse_credential("method_not_accepted");
        }
        return std::nullopt;
    }
    // A verified name is one peer wherever it connects from.
    const Coming coming{connection.is_nobody() ? request.peer_group : connection.id, route_pattern};
    Caller caller = secret != nullptr ? verify_with(*parts_.shared_secrets, *secret, coming)
                                      : verify_bearer(authorization->second, coming);
    caller.address = connection.address;
    if (!connection.is_nobody()) caller.claims["connection"] = {connection.id};
    return caller;
}

Identified Authenticator::authenticate_server(const Request& request,
                                              std::string_view route_pattern) const {
    const base::WipedString* secret = shown_secret(request);
    if (secret == nullptr) refuse_credential("no_shared_secret");
    const Caller connection = connected(request);
    // Who has the secret is no stranger: he takes any place that is free, for all of his users.
    const Coming coming{{}, route_pattern};
    Identified both{verify_with(*parts_.shared_secrets, *secret, coming), std::nullopt};
    both.caller.address = connection.address;
    if (!connection.is_nobody()) both.caller.claims["connection"] = {connection.id};
    // Behind the secret: what strangers bring is shown to no provider.
    const auto authorization = request.headers.find(authorization_header);
    if (authorization == request.headers.end()) return both;
    both.user = verify_bearer(authorization->second, coming);
    both.user->address = connection.address;
    return both;
}

std::string Authenticator::challenge(const Request& request, std::string_view route_pattern) const {
    const bool takes_bearers = std::any_of(
        parts_.bearers.begin(), parts_.bearers.end(),
        [&](const auto& verifier) { return accepts(verifier->method(), route_pattern); });
    // No scheme is registered for certificates or for a header of one's own choice.
    if (!takes_bearers) return R"(TLS-Client-Certificate realm="strongroom")";
    return request.headers.contains(authorization_header)
               ? R"(Bearer realm="strongroom", error="invalid_token")"
               : R"(Bearer realm="strongroom")";
}

}  // namespace server
