// What an audit log shows of itself over HTTP, so that a caller can keep evidence and notice a log
// that was forked or rolled back: its latest checkpoint, and proofs. No record is shown.
#pragma once

#include <vector>

#include "server/audit_sealer.h"
#include "server/authorizer.h"
#include "server/route.h"

namespace server {

// GET /v1/audit/checkpoint    the signed note, text/plain; not_found while there is none
// GET /v1/audit/proof?record=N        that record N is in the log
// GET /v1/audit/proof?size=N          that the log extends the one of N records
// Each asks the policy for `observe` on audit:<daemon>. References must outlive the routes.
std::vector<Route> audit_routes(const AuditSealer& sealer, const Authorizer& authorizer,
                                Action observe, std::string daemon);

}  // namespace server
