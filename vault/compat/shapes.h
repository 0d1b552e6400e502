// The older shapes that the configuration asks for, built and kept: what the program knows of this
// folder.
#pragma once

#include <memory>
#include <vector>

#include "server/identity_config.h"
#include "vault/compat/config.h"

namespace vault::compat {

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class Shapes {
public:
    // References in `parts` and `authorizer` must outlive it. Throws as BrokerApi.
    Shapes(const Config& config, const server::IdentityConfig& identity, const RefreshParts& parts,
           const server::Authorizer& authorizer);

    // Those of every shape that is configured; none without any.
    std::vector<server::Route> routes();

private:
    std::unique_ptr<SharedSecretApi> shared_secret_;  // null: not served
    std::unique_ptr<BrokerApi> broker_;               // null: not served
};

}  // namespace vault::compat
