// The routes of a daemon as data: one row says everything the gate needs to know of an endpoint. The
// OpenAPI document and the tests are made from the same rows.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "server/operation.h"
#include "server/request.h"

namespace server {

enum class Access {
    open,           // no identity needed, not audited: /healthz
    authenticated,  // a verified caller; the handler authorises; audited
    observed,       // a verified caller, authorised; audited only when refused: /metrics, /readyz
};

// Does the work of one route: authorises through the Authorizer, calls the service, and returns the
// answer or throws base::Error. Runs on a worker thread and may block.
using Handler = std::function<Response(Operation&, const Request&)>;

struct Route {
    Method method;
    std::string_view pattern;  // "/v1/keys/{key}/data-keys"; a parameter is one whole segment
    Action action;
    Access access;
    std::size_t max_body_bytes;  // 0: a body is refused
    std::string_view summary;    // one line, for the OpenAPI document
    Handler handler;
};

struct RouteMatch {
    const Route* route = nullptr;
    std::map<std::string, std::string, std::less<>> parameters;
};

// Immutable after construction; thread-safe.
class RouteTable {
public:
    // Throws internal when two rows are ambiguous or a pattern is malformed.
    explicit RouteTable(std::vector<Route> routes);

    // Throws not_found when no pattern matches the path, method_not_allowed when only the method
    // differs, invalid_argument for a segment with %2F, %00 or bad escapes. Segments are decoded after splitting.
    RouteMatch match(Method method, std::string_view path) const;

    const std::vector<Route>& routes() const { return routes_; }

private:
    std::vector<Route> routes_;
};

}  // namespace server
