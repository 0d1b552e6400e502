// Calls to the vault's routes as the gate makes them, without sockets.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/route.h"
#include "tests/support/intents.h"

namespace tests {

struct Answer {
    unsigned status = 0;
    std::string body;
    base::JsonValue json;

    std::string error_code() const { return text({"error", "code"}); }
    std::string message() const { return text({"error", "message"}); }
    // The compact JSON of what stands at `path`; "(none)" when nothing does.
    std::string at(std::initializer_list<std::string_view> path) const {
        const base::JsonValue* value = find(path);
        return value == nullptr ? "(none)" : std::string(base::to_json(*value));
    }

private:
    const base::JsonValue* find(std::initializer_list<std::string_view> path) const {
        const base::JsonValue* value = &json;
        for (const auto name : path) value = value == nullptr ? nullptr : value->find(name);
        return value;
    }
    std::string text(std::initializer_list<std::string_view> path) const {
        const auto* value = find(path);
        return value == nullptr || value->string() == nullptr ? "" : std::string(*value->string());
    }
};

// Route, handler, and any Error as an answer.
inline Answer call(const server::RouteTable& routes, server::Operation& operation,
                   server::Method method, const std::string& target, const std::string& body,
                   const std::string& content_type = "application/json") {
    server::Request request;
    request.method = method;
    const auto question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    request.body = body;
    if (!content_type.empty()) request.headers["content-type"] = content_type;
    server::Response response;
    try {
        const auto match = routes.match(method, request.path);
        request.path_parameters = match.parameters;
        response = match.route->handler(operation, request);
        if (response.status < 400) expect_intent(*match.route, operation);
    } catch (const base::Error& error) {
        response = server::error_answer(error, operation.request_id());
    }
    Answer answer{response.status, std::string(response.body), {}};
    if (response.content_type == "application/json") {
        answer.json = base::parse_json(response.body, {.bytes = 4UL << 20U, .depth = 32});
    }
    return answer;
}

}  // namespace tests
