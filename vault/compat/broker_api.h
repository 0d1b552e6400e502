// The shape of a token broker: POST /api/credentials stores a client's token, GET /api/credentials
// shows all but the token, GET /api/credentials/token gives it out. Shapes of requests and answers
// only. See README.md.
#pragma once

#include <string>
#include <vector>

#include "server/authorizer.h"
#include "server/route.h"
#include "vault/compat/token_refresh.h"
#include "vault/service.h"

namespace vault::compat {

struct BrokerConfig {
    std::string owner = "broker";  // a client's credential is credential:<owner>/<client_id>
    std::string default_client;    // of a GET without client_id; empty: there is none
    RefreshConfig refresh;
};

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class BrokerApi {
public:
    // References in `parts` and `authorizer` must outlive it. Throws as TokenRefresh.
    BrokerApi(BrokerConfig config, const RefreshParts& parts, const server::Authorizer& authorizer);
    BrokerApi(const BrokerApi&) = delete;
    BrokerApi& operator=(const BrokerApi&) = delete;

    std::vector<server::Route> routes();

    // TokenRefresh::cancel().
    void cancel() noexcept { refresh_.cancel(); }

private:
    server::Response store(server::Operation& operation, const server::Request& request);
    server::Response describe(server::Operation& operation, const server::Request& request);
    server::Response token(server::Operation& operation, const server::Request& request);
    CredentialId wanted_client(const server::Request& request) const;

    BrokerConfig config_;
    CredentialService& service_;
    server::Metrics& metrics_;
    const server::Authorizer& authorizer_;
    TokenRefresh refresh_;
};

}  // namespace vault::compat
