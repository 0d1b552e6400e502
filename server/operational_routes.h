// The routes by which operators watch a daemon, the same in each: /healthz, /readyz, /metrics and
// /openapi.json. What "ready" means is the daemon's, given as named checks.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/authorizer.h"
#include "server/metrics.h"
#include "server/route.h"

namespace server {

struct ReadinessCheck {
    std::string name;             // a field of the answer: "store", "audit"
    std::function<void()> check;  // throws base::Error; its message is shown
    bool is_required = true;      // false: the daemon is ready without it
};

// References must outlive the routes.
struct OperationalParts {
    const Authorizer& authorizer;
    const Metrics& metrics;
    Action observe;  // asked of the policy on resource service:<daemon>, for /readyz and /metrics
    std::string daemon;   // "kmsd", "vaultd"
    std::string title;    // of the OpenAPI document
    std::string version;  // of the program
    std::vector<ReadinessCheck> checks;
    std::string description{};  // of the OpenAPI document; may be empty
};

// What a daemon serves beside its own API, by its configuration.
struct CommonRooms {
    bool api_tokens = false;
    bool checkpoints = false;
    bool budgets = false;
};

// The paths of those rooms and of the four routes, for judging a configuration before there is a
// table.
std::vector<std::string_view> common_paths(const CommonRooms& rooms);

// `rows` and the four routes. The OpenAPI document is made here, from all of them.
std::vector<Route> with_operational_routes(std::vector<Route> rows, OperationalParts parts);

}  // namespace server
