// The ways of being known that a configuration asks for, built and kept: an Authenticator, what it
// stands on, and the routes by which API tokens are made.
#pragma once

#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/authorizer.h"
#include "server/identity.h"
#include "server/identity_config.h"
#include "server/jwks_source.h"
#include "server/orders_once.h"
#include "server/reload.h"
#include "server/route.h"
#include "server/shared_secret.h"

namespace server {

class Database;

// References must outlive it. A thread of its own keeps the issuers' keys fresh.
class IdentityMethods {
public:
    // Reads hash files and files of keys, and throws failed_precondition naming what is wrong with
    // one; asks URLs once, and starts without keys where one does not answer: its tokens are
    // refused until it does. Throws as ApiTokens, which keep a table in `database`, where there are
    // any.
    IdentityMethods(const IdentityConfig& config, Database& database, const Authorizer& authorizer,
                    const base::Clock& clock, base::Log& log);
    ~IdentityMethods();
    IdentityMethods(const IdentityMethods&) = delete;
    IdentityMethods& operator=(const IdentityMethods&) = delete;

    const Authenticator& authenticator() const;

    // For a daemon's route table: those of API tokens, none without them. `orders` may be null.
    std::vector<Route> routes(OrdersOnce* orders = nullptr) const;

    // The step "identity": reads hash files and issuers' keys anew; also when one of the files has
    // changed. Must not outlive this object.
    ReloadStep reload_step();

private:
    struct State;
    std::unique_ptr<State> state_;
};

// Reads every file that the configuration names, for --check-config. Throws as the constructor.
void check_identity_files(const IdentityConfig& config);

// Throws invalid_argument when a rule of the configuration fits no route: a slip there would open
// what was to be closed. `patterns` are the routes' where there is no table yet.
void check_identity_routes(const IdentityConfig& config, const RouteTable& routes);
void check_identity_routes(const IdentityConfig& config,
                           const std::vector<std::string_view>& patterns);

}  // namespace server
