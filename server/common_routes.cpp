#include "server/common_routes.h"

#include "server/audit_routes.h"
#include "server/backup.h"
#include "server/budget_routes.h"

namespace server {

std::vector<Route> common_routes(CommonRouteParts parts) {
    std::vector<Route> rows = std::move(parts.api_tokens);
    if (parts.sealer != nullptr) {
        rows = join(std::move(rows), audit_routes(*parts.sealer, parts.authorizer, parts.daemon));
    }
    if (parts.budgets != nullptr) {
        rows = join(std::move(rows), budget_routes(*parts.budgets, parts.authorizer, parts.orders));
    }
    return join(std::move(rows), backup_routes(parts.database, parts.authorizer, parts.clock,
                                               parts.back_up, parts.daemon, parts.orders));
}

}  // namespace server
