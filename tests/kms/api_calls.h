// Requests to the key service's routes as the gate makes them: route, handler, error answer.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "server/answer.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/declared_kinds.h"

namespace tests {

// `operation` stays for looking at.
inline server::Response send(
    KeyServiceRig& rig, server::Operation& operation, server::Method method,
    const std::string& path, std::string_view body = {}, const std::string& query = {},
    const std::map<std::string, base::WipedString, std::less<>>& headers = {}) {
    server::Request request;
    request.method = method;
    request.path = path;
    request.query = query;
    request.body = body;
    request.headers = headers;
    server::Response answer;
    try {
        const auto match = rig.routes.match(method, path);
        request.path_parameters = match.parameters;
        answer = match.route->handler(operation, request);
    } catch (const base::Error& error) {
        answer = server::error_answer(error, base::Uuid());
    }
    expect_declared_kinds(operation, kms::known_actions());
    return answer;
}

inline server::Response send_as(KeyServiceRig& rig, const std::string& caller,
                                server::Method method, const std::string& path,
                                std::string_view body = {}, const std::string& query = {}) {
    server::Operation operation = operation_of(caller);
    return send(rig, operation, method, path, body, query);
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
