#include "server/budget_routes.h"

#include "base/error.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/budget.h"
#include "server/budget_words.h"

namespace server {
namespace {

constexpr std::size_t max_lift_body_bytes = 8192;
constexpr std::size_t max_budget_caller_bytes = 2048;

Resource budget_of(std::string caller) {
    Resource resource;
    resource.kind = budget_kind;
    resource.id = std::move(caller);
    return resource;
}

void write_suspension(base::JsonWriter& out, const SuspendedCaller& suspended) {
    out.begin_object().field("caller", suspended.caller);
    out.field("since", base::to_rfc3339(suspended.since)).field("limit", suspended.limit);
    out.field("overruns", suspended.overruns).end_object();
}

// The caller that a query names; empty: none.
std::string wanted_caller(const Request& request) {
    std::string caller;
    for (auto& [name, value] : request.query_parameters()) {
        if (name != "caller" || value.empty() || value.size() > max_budget_caller_bytes) {
            throw base::Error(base::ErrorCode::invalid_argument,
                              "the query takes \"caller\" only, with a caller's id");
        }
        caller = value;
    }
    return caller;
}

Response one_budget(Budgets& budgets, const std::string& caller) {
    base::JsonWriter body;
    body.begin_object().field("caller", caller).name("suspended");
    bool is_suspended = false;
    for (const auto& one : budgets.suspended()) {
        if (one.caller != caller) continue;
        write_suspension(body, one);
        is_suspended = true;
    }
    if (!is_suspended) body.null();
    body.name("usage").begin_array();
    for (const auto& usage : budgets.usage(caller)) {
        body.begin_object().field("limit", usage.limit).field("counted", usage.counted);
        body.field("from", base::to_rfc3339(usage.period.begin));
        body.field("to", base::to_rfc3339(usage.period.end)).field("used", usage.used);
        body.end_object();
    }
    body.end_array().end_object();
    return json_answer(std::move(body));
}

Response list_suspended(Budgets& budgets) {
    base::JsonWriter body;
    body.begin_object().name("suspended").begin_array();
    for (const auto& one : budgets.suspended()) write_suspension(body, one);
    body.end_array().end_object();
    return json_answer(std::move(body));
}

Response lift(Budgets& budgets, const Authorizer& authorizer, OrdersOnce* orders,
              Operation& operation, const Request& request) {
    refuse_query(request);
    base::JsonLimits limits;
    limits.bytes = max_lift_body_bytes;
    const auto document = base::parse_json(request.body, limits);
    base::JsonReader reader(document);
    const std::string caller(reader.required_string("caller", max_budget_caller_bytes));
    reader.refuse_unknown();
    static_cast<void>(authorizer.authorize(operation, lift_suspension, budget_of(caller)));
    return do_once(orders, operation, request, [&](const OrdersOnce::Order& order) {
        operation.record_intent();
        // An order that was begun and not answered has most likely lifted the suspension.
        if (!budgets.lift(caller) && !order.begun_before) {
            throw base::Error(base::ErrorCode::not_found, "the caller is not suspended");
        }
        base::JsonWriter body;
        body.begin_object().field("caller", caller).field("lifted", true).end_object();
        return OrdersOnce::Outcome{json_answer(std::move(body))};
    });
}

}  // namespace

std::vector<Route> budget_routes(Budgets& budgets, const Authorizer& authorizer,
                                 OrdersOnce* orders) {
    return {
        {Method::GET, "/v1/budgets", describe_budget, Access::authenticated, 0,
         "Suspended callers, or what one caller has used of its budget",
         [&budgets, &authorizer](Operation& operation, const Request& request) {
             const std::string caller = wanted_caller(request);
             static_cast<void>(authorizer.authorize(operation, describe_budget,
                                                    budget_of(caller.empty() ? "*" : caller)));
             return caller.empty() ? list_suspended(budgets) : one_budget(budgets, caller);
         }},
        changing({Method::POST, "/v1/budgets/lift", lift_suspension, Access::authenticated,
                  max_lift_body_bytes, "Lift a caller's suspension",
                  [&budgets, &authorizer, orders](Operation& operation, const Request& request) {
                      return lift(budgets, authorizer, orders, operation, request);
                  }}),
    };
}

}  // namespace server
