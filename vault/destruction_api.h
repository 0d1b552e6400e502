// Destroying a credential or all of an owner's, and the records of it. Shapes of answers, and the
// question to the authorizer; what is done is vault/service.
#pragma once

#include <vector>

#include "server/authorizer.h"
#include "server/route.h"
#include "vault/service.h"

namespace vault {

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them; what it is made
// of outlives it.
class DestructionApi {
public:
    DestructionApi(CredentialService& service, const server::Authorizer& authorizer)
        : service_(service), authorizer_(authorizer) {}
    DestructionApi(const DestructionApi&) = delete;
    DestructionApi& operator=(const DestructionApi&) = delete;

    std::vector<server::Route> routes();

private:
    server::Response destroy(server::Operation& operation, const server::Request& request);
    server::Response erase(server::Operation& operation, const server::Request& request);
    server::Response list(server::Operation& operation, const server::Request& request);

    CredentialService& service_;
    const server::Authorizer& authorizer_;
};

}  // namespace vault
