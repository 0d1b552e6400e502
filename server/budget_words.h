// The words of what operators do to budgets, the same in each daemon.
#pragma once

#include "server/operation.h"

namespace server {

inline constexpr Action describe_budget{"describe_budget"};
inline constexpr Action lift_suspension{"lift_suspension"};
// What they are done on: a caller's budget.
inline constexpr std::string_view budget_kind = "budget";

}  // namespace server
