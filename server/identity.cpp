#include "server/identity.h"

#include <algorithm>

#include "base/encoding.h"

namespace server {
namespace {

constexpr std::size_t max_id_bytes = 2048;

// A name that could look like another one in a log or a policy names nobody.
bool is_sound(const std::string& name) {
    const auto is_control = [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    };
    return !name.empty() && name.size() <= max_id_bytes && base::is_utf8(name) &&
           std::none_of(name.begin(), name.end(), is_control);
}

}  // namespace

Caller identify(const Request& request) {
    Caller caller;
    caller.address = request.peer_address;
    if (!request.certificate) return caller;
    const PeerCertificate& certificate = *request.certificate;
    const std::string& id =
        certificate.uri_names.empty() ? certificate.subject : certificate.uri_names.front();
    if (!is_sound(id)) return caller;
    caller.id = id;
    caller.method = AuthenticationMethod::client_certificate;
    caller.claims = {{"certificate_sha256", {certificate.fingerprint}},
                     {"subject", {certificate.subject}}};
    return caller;
}

}  // namespace server
