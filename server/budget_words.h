// The words of what operators do to budgets, the same in each daemon.
#pragma once

#include "server/operation.h"

namespace server {

inline constexpr Action describe_budget{"describe_budget"};
inline constexpr Action lift_suspension{"lift_suspension"};

}  // namespace server
