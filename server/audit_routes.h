// What an audit log shows of itself over HTTP, so that a caller can keep evidence and notice a log
// that was forked or rolled back: its latest checkpoint, proofs, and the caller's own records.
// Nobody sees a record of somebody else here.
#pragma once

#include <vector>

#include "server/audit_sealer.h"
#include "server/authorizer.h"
#include "server/route.h"

namespace server {

// GET /v1/audit/checkpoint        the signed note, text/plain; not_found while there is none
// GET /v1/audit/proof?record=N    that record N (from 1) is in the log
// GET /v1/audit/proof?size=N      that the log extends the one of N records
// GET /v1/audit/receipt?index=N   the record at leaf N (from 0) with its proof (audit_proof.h),
// when
//                                 it is of this caller; not_found as well while no checkpoint
//                                 covers it
// Each asks the policy for `witness_audit` on audit:<daemon>. References must outlive the routes.
std::vector<Route> audit_routes(const AuditSealer& sealer, const Authorizer& authorizer,
                                std::string daemon);

}  // namespace server
