// One HTTP request and its answer, complete and bounded, as everything above the edge sees them.
// No socket, no TLS and no HTTP library type may appear here.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret_bytes.h"

namespace server {

// The enumerators are the words on the wire.
enum class Method { GET, POST, PUT, PATCH, DELETE };  // NOLINT(readability-identifier-naming)
std::string_view to_string(Method method) noexcept;
std::optional<Method> parse_method(std::string_view text) noexcept;

struct Caller;

// What TLS proved about the peer. Identity makes a caller of it.
struct PeerCertificate {
    std::string subject;                 // RFC 2253
    std::vector<std::string> uri_names;  // subject alternative names of type URI, as they stand
    std::string fingerprint;             // SHA-256, hex
};

// Who the kernel says is at the other end of a UNIX socket (SO_PEERCRED, when it connected).
struct LocalPeer {
    std::uint32_t user_id = 0;
    std::uint32_t group_id = 0;
    std::int32_t process_id = 0;
};

// Header names are lower case; a repeated header keeps its first value and is marked.
struct Request {
    Method method = Method::GET;
    std::string path;   // as sent, without query; undecoded, starts with '/'
    std::string query;  // undecoded, without '?'
    std::map<std::string, base::WipedString, std::less<>> headers;  // credentials are among them
    base::WipedString body;
    std::string peer_address;             // numeric; empty for UNIX sockets
    std::string peer_group;               // whom the edge counts as one peer; may be binary
    std::optional<LocalPeer> local_peer;  // for UNIX sockets
    std::shared_ptr<const PeerCertificate> certificate;  // null: none; all requests share it
    std::shared_ptr<const Caller> connected;  // of RequestHandler::recognize(); null: not asked
    std::map<std::string, std::string, std::less<>> path_parameters;  // filled by routing, decoded
    std::chrono::steady_clock::time_point received{};

    // The header's value, or empty.
    std::string_view header(std::string_view lower_case_name) const;
    const std::string& path_parameter(std::string_view name) const;
    // The parameters of the query, percent-decoded; throws invalid_argument when malformed or
    // repeated.
    std::map<std::string, std::string> query_parameters() const;
};

// For routes that take no query: throws invalid_argument naming the first parameter.
void refuse_query(const Request& request);

struct Response {
    unsigned status = 200;
    std::string content_type = "application/json";
    base::WipedString body;
    std::vector<std::pair<std::string, std::string>> headers;
};

}  // namespace server
