#include "server/caller.h"

namespace server {

std::string_view to_string(AuthenticationMethod method) noexcept {
    switch (method) {
        case AuthenticationMethod::none:
            return "none";
        case AuthenticationMethod::client_certificate:
            return "client_certificate";
    }
    return "";
}

}  // namespace server
