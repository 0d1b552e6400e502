// The history of a credential: which versions there were, and making an older one the current one.
// Shapes of requests and answers, and the question to the authorizer; what is done is
// vault/service.
#pragma once

#include <vector>

#include "server/authorizer.h"
#include "server/route.h"
#include "vault/service.h"

namespace vault {

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them; what it is made
// of outlives it.
class HistoryApi {
public:
    HistoryApi(CredentialService& service, const server::Authorizer& authorizer)
        : service_(service), authorizer_(authorizer) {}
    HistoryApi(const HistoryApi&) = delete;
    HistoryApi& operator=(const HistoryApi&) = delete;

    std::vector<server::Route> routes();

private:
    server::Response history(server::Operation& operation, const server::Request& request);
    server::Response restore(server::Operation& operation, const server::Request& request);

    CredentialService& service_;
    const server::Authorizer& authorizer_;
};

}  // namespace vault
