#include "server/operational_routes.h"

#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/openapi.h"

namespace server {
namespace {

// "ok", or what is wrong, in the words that callers may see.
std::string state_of(const std::function<void()>& check) {
    try {
        check();
        return "ok";
    } catch (const base::Error& error) {
        return error.message();
    }
}

Response text_answer(std::string_view text, std::string content_type) {
    Response response;
    response.content_type = std::move(content_type);
    response.body = text;
    return response;
}

void authorize_observe(const OperationalParts& parts, Operation& operation) {
    Resource resource;
    resource.kind = service_kind;
    resource.id = parts.daemon;
    static_cast<void>(parts.authorizer.authorize(operation, parts.observe, std::move(resource)));
}

Response health(Operation& /*operation*/, const Request& /*request*/) {
    base::JsonWriter body;
    body.begin_object().field("status", "ok").end_object();
    return json_answer(std::move(body));
}

Response readiness(const OperationalParts& parts, Operation& operation) {
    authorize_observe(parts, operation);
    std::vector<std::string> states;
    bool ready = true;
    for (const auto& check : parts.checks) {
        states.push_back(state_of(check.check));
        ready = ready && (states.back() == "ok" || !check.is_required);
    }
    base::JsonWriter body;
    body.begin_object().field("ready", ready).name("checks").begin_object();
    for (std::size_t i = 0; i < states.size(); ++i) body.field(parts.checks[i].name, states[i]);
    body.end_object().field("policy_hash", parts.authorizer.policy_hash()).end_object();
    return json_answer(std::move(body), ready ? 200 : 503);
}

}  // namespace

std::vector<std::string_view> common_paths(const CommonRooms& rooms) {
    std::vector<std::string_view> paths{"/healthz", "/readyz", "/metrics", "/openapi.json",
                                        "/v1/backups"};
    if (rooms.api_tokens) paths.insert(paths.end(), {"/v1/api-tokens", "/v1/api-tokens/{id}"});
    if (rooms.checkpoints) {
        paths.insert(paths.end(), {"/v1/audit/checkpoint", "/v1/audit/proof", "/v1/audit/receipt"});
    }
    if (rooms.budgets) paths.insert(paths.end(), {"/v1/budgets", "/v1/budgets/lift"});
    return paths;
}

std::vector<Route> with_operational_routes(std::vector<Route> rows, OperationalParts parts) {
    const auto shared = std::make_shared<const OperationalParts>(std::move(parts));
    const auto document = std::make_shared<base::WipedString>();
    const Action observe = shared->observe;
    std::vector<Action> all;
    all.reserve(rows.size() + 1);
    for (const Route& row : rows) all.push_back(row.action);
    all.push_back(observe);
    rows.push_back({Method::GET, "/healthz", observe, Access::open, 0,
                    "Whether the process is alive", health});
    rows.push_back(
        {Method::GET, "/readyz", observe, Access::observed, 0,
         "Whether everything that the service needs is in order",
         [shared](Operation& operation, const Request&) { return readiness(*shared, operation); }});
    rows.push_back({Method::GET, "/metrics", observe, Access::observed, 0,
                    "Counters and histograms in the Prometheus text format",
                    [shared](Operation& operation, const Request&) {
                        authorize_observe(*shared, operation);
                        return text_answer(shared->metrics.text(),
                                           "text/plain; version=0.0.4; charset=utf-8");
                    }});
    rows.push_back({Method::GET, "/openapi.json", observe, Access::observed, 0,
                    "This interface as an OpenAPI document, for whoever may do anything by it",
                    [document, shared, all](Operation& operation, const Request&) {
                        shared->authorizer.require_any(operation, all);
                        return text_answer(*document, "application/json");
                    }});
    *document =
        openapi_document(RouteTable(rows), shared->title, shared->version, shared->description)
            .take();
    return rows;
}

}  // namespace server
