// What a request has become on its way through the gate. Private to server/gate.cpp; nothing of how
// it gets there is in here.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "server/answer.h"
#include "server/audit.h"
#include "server/gate_rules.h"
#include "server/operation.h"
#include "server/request.h"
#include "server/route.h"

namespace server {

// A request that was worked on, waiting for its audit record and then sent.
struct Finished {
    Operation operation;
    std::chrono::steady_clock::time_point received;
    std::function<void(Response)> done;
    Response response{};
    Outcome outcome{};
    const Route* route = nullptr;  // null before one is found
    Access access = Access::authenticated;
    bool audited = true;
    std::string challenge{};   // of a 401
    std::string allow{};       // of a 405
    bool receipt = false;      // the caller wants to know the record's place
    bool is_known = false;     // the caller has proven who he is
    bool is_admitted = false;  // the handler is to be called
};

// What goes to the handler. Nothing is owned.
struct Ready {
    Finished* finished;
    const Request* request;
};

inline ErrorShape shape_of(const Route* route) {
    return route == nullptr ? ErrorShape() : route->error_shape;
}

// Whether the audit log was asked before, as AuditLog::append has it: not for an observed route.
inline bool was_begun(const Finished& finished) {
    return finished.is_admitted && finished.access != Access::observed;
}

// Throws internal when the handler changed something without having said so before; an order's
// answer of before changes nothing.
inline void require_intent(const Finished& finished, const Response& response) {
    if (finished.route->changes && response.status < 400 && !finished.operation.has_intent() &&
        finished.operation.facts().count("repeated") == 0) {
        throw internal_error("a change was made without its intent in the audit log");
    }
}

// The handler answered.
inline void succeed(Finished& finished, Response response) {
    finished.response = std::move(response);
    finished.outcome = {
        finished.response.status < 400 ? "ok" : "failed", {}, finished.response.status};
    finished.audited = finished.access == Access::authenticated || finished.route->recorded;
}

}  // namespace server
