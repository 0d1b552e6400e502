// Who is calling, however that was proved.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace server {

// The enumerators are the words of policies and audit records.
enum class AuthenticationMethod { none, client_certificate };
std::string_view to_string(AuthenticationMethod method) noexcept;

// A verified caller: one type, whichever way it came. Made by server/identity only.
struct Caller {
    std::string id;  // a SPIFFE or other URI, or an RFC 2253 subject; empty: nobody
    AuthenticationMethod method = AuthenticationMethod::none;
    std::map<std::string, std::string> claims;
    std::string address;  // network address of the peer, numeric

    bool is_nobody() const { return method == AuthenticationMethod::none; }
};

}  // namespace server
