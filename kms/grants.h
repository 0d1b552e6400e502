// The check that a service method makes of the Grant it was given.
#pragma once

#include <string>

#include "server/authorizer.h"

namespace kms {

// A grant for something else is a mistake of ours: throws internal rather than work on it. `id` is
// the key's, or "*" where the action is on all keys.
void require_grant(const server::Grant& grant, server::Action action, const std::string& id);

}  // namespace kms
