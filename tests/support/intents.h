// What a handler that changes something owes the audit log, for tests that call it without a gate.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "server/route.h"

namespace tests {

// After a good answer: a change was said before it was made, or none was made.
inline void expect_intent(const server::Route& route, const server::Operation& operation) {
    EXPECT_TRUE(!route.changes || operation.has_intent() || operation.facts().contains("repeated"))
        << to_string(route.method) << " " << route.pattern;
}

// The rows that are not for reading by their method and change nothing that stays, as
// "POST /v1/reveal". Whoever adds one has to say so in the daemon's test.
inline std::set<std::string> rows_that_change_nothing(const std::vector<server::Route>& routes) {
    std::set<std::string> names;
    for (const server::Route& route : routes) {
        if (route.method == server::Method::GET || route.changes) continue;
        names.insert(std::string(to_string(route.method)) + " " + std::string(route.pattern));
    }
    return names;
}

}  // namespace tests
