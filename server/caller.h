// Who is calling, however that was proved.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace server {

// The enumerators are the words of policies and audit records.
enum class AuthenticationMethod {
    none,
    client_certificate,
    api_token,
    jwt,
    introspection,
    shared_secret
};
std::string_view to_string(AuthenticationMethod method) noexcept;
std::optional<AuthenticationMethod> parse_authentication_method(std::string_view word) noexcept;

// What is said of a caller beside its id: a name with one or more values, e.g. "groups".
using Claims = std::map<std::string, std::vector<std::string>>;

// A verified caller: one type, whichever way it came. Made by server/identity only.
struct Caller {
    // A certificate's SPIFFE or other URI, or its RFC 2253 subject; with the other methods their
    // prefix and a name, e.g. "token:ci", so that no two methods can name the same caller. Empty:
    // nobody.
    std::string id;
    AuthenticationMethod method = AuthenticationMethod::none;
    Claims claims;  // not in audit records
    // Network address of the peer, numeric; over a UNIX socket "unix:uid=" and the user's number.
    std::string address;
    // Which credential it was where one caller can have several, e.g. an API token's id; never the
    // credential itself. Empty where the id says it all.
    std::string credential;

    bool is_nobody() const { return method == AuthenticationMethod::none; }
};

}  // namespace server
