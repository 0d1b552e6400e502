#include "kms/grants.h"

#include "base/error.h"
#include "kms/actions.h"

namespace kms {

void require_grant(const server::Grant& grant, server::Action action, const std::string& id) {
    const server::Resource& resource = grant.resource();
    if (grant.action() == action && resource.kind == key_kind && resource.id == id) return;
    throw base::Error(base::ErrorCode::internal, "internal error",
                      "grant for " + std::string(grant.action().word) + " on " + resource.id +
                          " used for " + std::string(action.word) + " on " + id);
}

}  // namespace kms
