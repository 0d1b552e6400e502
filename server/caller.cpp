#include "server/caller.h"

namespace server {

std::string_view to_string(AuthenticationMethod method) noexcept {
    switch (method) {
        case AuthenticationMethod::none:
            return "none";
        case AuthenticationMethod::client_certificate:
            return "client_certificate";
        case AuthenticationMethod::api_token:
            return "api_token";
        case AuthenticationMethod::jwt:
            return "jwt";
        case AuthenticationMethod::introspection:
            return "introspection";
        case AuthenticationMethod::shared_secret:
            return "shared_secret";
    }
    return "";
}

std::optional<AuthenticationMethod> parse_authentication_method(std::string_view word) noexcept {
    for (const AuthenticationMethod method :
         {AuthenticationMethod::none, AuthenticationMethod::client_certificate,
          AuthenticationMethod::api_token, AuthenticationMethod::jwt,
          AuthenticationMethod::introspection, AuthenticationMethod::shared_secret}) {
        if (word == to_string(method)) return method;
    }
    return std::nullopt;
}

}  // namespace server
