// The routes that both daemons serve beside their own API, in one place: what is added here is
// served, documented and tried by the tests of every daemon.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "server/audit_sealer.h"
#include "server/authorizer.h"
#include "server/orders_once.h"
#include "server/route.h"

namespace server {

class Budgets;
class Database;

// References and pointers must outlive the routes.
struct CommonRouteParts {
    std::vector<Route> api_tokens;        // IdentityMethods::routes
    const AuditSealer* sealer = nullptr;  // null: no checkpoints, and no routes of them
    Budgets* budgets = nullptr;           // null: nobody has a budget
    Database& database;
    const Authorizer& authorizer;
    const base::Clock& clock;
    Action back_up;
    std::string daemon;            // "kmsd", "vaultd"
    OrdersOnce* orders = nullptr;  // null: no order is remembered
};

std::vector<Route> common_routes(CommonRouteParts parts);

}  // namespace server
