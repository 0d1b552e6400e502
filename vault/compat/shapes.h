// The older shapes that the configuration asks for, built and kept: what the program knows of this
// folder.
#pragma once

#include <memory>
#include <vector>

#include "server/identity_config.h"
#include "vault/compat/config.h"

namespace vault::compat {

// The copies that the service keeps up; null where none are configured. Throws as DirectusItems.
std::unique_ptr<DirectusItems> open_items(const Config& config);

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class Shapes {
public:
    // References in `parts` and `authorizer` must outlive it. Throws as BrokerApi.
    // `items` are those of open_items(), null if there are none.
    Shapes(const Config& config, const server::IdentityConfig& identity, const RefreshParts& parts,
           const server::Authorizer& authorizer, const DirectusItems* items);

    // For the end of a program: what waits for another service ends now, with unavailable.
    void cancel() const noexcept;

    // Those of every shape that is configured; none without any.
    std::vector<server::Route> routes();

private:
    const DirectusItems* items_;
    std::unique_ptr<SharedSecretApi> shared_secret_;  // null: not served
    std::unique_ptr<BrokerApi> broker_;               // null: not served
};

}  // namespace vault::compat
