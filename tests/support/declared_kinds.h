// Policies judge by the kinds of resource that a daemon's words give for an action: what a route
// asks about must be among them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "server/operation.h"
#include "server/policy_words.h"

namespace tests {

inline void expect_declared_kinds(const server::Operation& operation,
                                  const server::PolicyWords& words) {
    for (const auto& decided : operation.decided()) {
        const auto& kinds = words.kinds_of(decided.action);
        EXPECT_NE(std::find(kinds.begin(), kinds.end(), decided.resource.kind), kinds.end())
            << decided.action << " was asked on a resource of the kind " << decided.resource.kind;
    }
}

}  // namespace tests
