// How operators see budgets and lift suspensions, the same in each daemon.
#pragma once

#include <vector>

#include "server/authorizer.h"
#include "server/orders_once.h"
#include "server/route.h"

namespace server {

class Budgets;

// GET /v1/budgets, the suspended callers; GET /v1/budgets?caller=ID, what that one has used; POST
// /v1/budgets/lift {"caller"}. They ask the policy for describe_budget and lift_suspension on
// budget:<caller>. References, and `orders`, which may be null, must outlive the routes.
std::vector<Route> budget_routes(Budgets& budgets, const Authorizer& authorizer,
                                 OrdersOnce* orders = nullptr);

}  // namespace server
