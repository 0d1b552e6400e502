// A request to a row of a route table as the gate makes it, without a socket: route, handler, error
// answer. And what its answer says.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/route.h"
#include "tests/support/intents.h"

namespace tests {

// `request` needs no path parameters; `operation` stays for looking at.
inline server::Response call_route(const server::RouteTable& routes, server::Operation& operation,
                                   server::Request request) {
    try {
        auto match = routes.match(request.method, request.path);
        request.path_parameters = std::move(match.parameters);
        auto response = match.route->handler(operation, request);
        if (response.status < 400) expect_intent(*match.route, operation);
        return response;
    } catch (const base::Error& error) {
        return server::error_answer(error, base::Uuid());
    }
}

inline base::JsonValue json_of(const server::Response& response) {
    base::JsonLimits limits;
    limits.bytes = 1 << 22;
    return base::parse_json(response.body, limits);
}

// The member's text; empty when it is none.
inline std::string text_in(const base::JsonValue& value, std::string_view name) {
    const auto* member = value.find(name);
    if (member == nullptr || member->string() == nullptr) return {};
    return std::string(*member->string());
}

}  // namespace tests
