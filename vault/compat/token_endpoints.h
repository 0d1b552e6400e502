// The OAuth token endpoints that the configuration allows, and the one question they are asked (RFC
// 6749 sections 4.4 and 6). An address in a record chooses among them and can't be another: nobody
// who stores a record makes this service connect to a place of his choice.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/https_client.h"
#include "vault/compat/broker_record.h"

namespace vault::compat {

struct TokenEndpointConfig {
    server::HttpsConfig https;
    // How the client shows itself (section 2.3.1): HTTP Basic, or in the body.
    bool secret_in_body = false;
};

// An endpoint's answer (section 5.1) to a question of that time. Throws invalid_argument for
// anything else.
FreshToken parse_fresh_token(std::string_view body, base::Time asked);

// Thread-safe. `clock` must outlive it.
class TokenEndpoints {
public:
    // Throws invalid_argument for a URL that is none or a CA file that holds none.
    TokenEndpoints(std::vector<TokenEndpointConfig> endpoints, const base::Clock& clock);

    bool allows(std::string_view url) const { return endpoints_.contains(url); }

    // Asks once, within the endpoint's deadline. Throws failed_precondition when the endpoint is
    // not allowed, or refuses (400, 401, 403: asking again can't help until the record is stored
    // anew); unavailable when it gives no whole or no sound answer. No message or detail holds
    // anything that was sent or received.
    FreshToken ask(const RefreshOrder& order) const;

    // As HttpsClient::cancel(), of all of them.
    void cancel() const noexcept {
        for (const auto& each : endpoints_) each.second.https.cancel();
    }

private:
    struct Endpoint {
        server::HttpsClient https;
        bool secret_in_body;
    };

    std::map<std::string, Endpoint, std::less<>> endpoints_;
    const base::Clock& clock_;
};

}  // namespace vault::compat
