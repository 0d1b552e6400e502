// Requests to the key service's routes as the gate makes them.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "tests/kms/key_service_rig.h"
#include "tests/support/declared_kinds.h"
#include "tests/support/route_calls.h"

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
    operation.set_intents(rig.audit);
    auto answer = call_route(rig.routes, operation, std::move(request));
    expect_declared_kinds(operation, kms::known_actions());
    return answer;
}

inline server::Response send_as(KeyServiceRig& rig, const std::string& caller,
                                server::Method method, const std::string& path,
                                std::string_view body = {}, const std::string& query = {}) {
    server::Operation operation = operation_of(caller);
    return send(rig, operation, method, path, body, query);
}

}  // namespace tests
