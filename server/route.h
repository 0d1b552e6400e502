// The routes of a daemon as data: one row says everything the gate needs to know of an endpoint.
// The OpenAPI document and the tests are made from the same rows.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "server/answer.h"
#include "server/operation.h"
#include "server/request.h"

namespace server {

enum class Access {
    open,           // no identity needed, not audited: /healthz
    authenticated,  // a verified caller; the handler authorises; audited
    observed,       // a verified caller, authorised; audited only when refused: /metrics, /readyz
};

enum class Credential {
    any,
    shared_secret,  // that only; a bearer beside it is the user's for whom the server calls
};

// Does the work of one route: authorises through the Authorizer, calls the service, and returns the
// answer or throws base::Error. Runs on a worker thread and may block.
using Handler = std::function<Response(Operation&, const Request&)>;

// One of several requests of one route that are handled together.
struct JointCall {
    Operation& operation;
    const Request& request;
    // What came of it: one of the two is set.
    std::optional<Response> response{};
    std::optional<base::Error> error{};
};

// Does a part of the work of one call: what `part` returns is its response, what it throws its
// error.
template <typename Part>
void settle(JointCall& call, Part part) {
    try {
        call.response = part();
    } catch (const base::Error& error) {
        call.error = error;
    } catch (const std::exception& error) {
        call.error = base::Error(base::ErrorCode::internal, "internal error", error.what());
    }
}

// Does the work of a route for several requests at once, as its handler would for each; what comes
// of one is no matter of the others. Throws only what meets all of them.
using JointHandler = std::function<void(std::span<JointCall>)>;

struct Route {
    Method method;
    std::string_view pattern;  // "/v1/keys/{key}/data-keys"; a parameter is one whole segment
    Action action;
    Access access;
    std::size_t max_body_bytes;  // 0: a body is refused
    std::string_view summary;    // one line, for the OpenAPI document
    Handler handler;
    // Of every error answer on this route, the gate's and the edge's own among them; empty: the
    // house's.
    ErrorShape error_shape{};
    Credential credential = Credential::any;
    // An open route whose requests are recorded all the same, those of strangers up to a rate.
    bool recorded = false;
    // For the hot path: small requests that wait at the same time are handled by this, in place of
    // `handler`. Empty: each by itself. The path must have no parameters.
    JointHandler together{};
    // A good answer means that something was changed that stays: the handler has recorded its
    // intent before (Operation::record_intent). One that has not is a fault: internal. Not with
    // `together`: who changes something waits for its own intent.
    bool changes = false;
};

// The same row, as one whose handler changes what stays.
inline Route changing(Route row) {
    row.changes = true;
    return row;
}

// The rows of two rooms, in that order.
std::vector<Route> join(std::vector<Route> rows, std::vector<Route> more);

struct RouteMatch {
    const Route* route = nullptr;
    std::map<std::string, std::string, std::less<>> parameters;
};

// Immutable after construction; thread-safe.
class RouteTable {
public:
    // Throws internal when a pattern is malformed, when two rows take the same method and path,
    // when rows of one path name its parameters differently, or when requests that change something
    // would be handled together.
    explicit RouteTable(std::vector<Route> routes);

    // Throws not_found when no pattern matches the path, method_not_allowed when only the method
    // differs, invalid_argument for a segment with %2F, %00 or bad escapes. Segments are decoded
    // after splitting.
    RouteMatch match(Method method, std::string_view path) const;

    // The methods that `path` takes, e.g. "GET, POST": the Allow header of a 405 (RFC 9110 15.5.6).
    // Empty when no pattern matches. Throws invalid_argument like match.
    std::string allowed_methods(std::string_view path) const;

    const std::vector<Route>& routes() const { return routes_; }

private:
    struct Segment {
        bool parameter;
        std::string_view text;  // the literal, or the parameter's name
    };
    // One path with the rows that serve it, one for each method.
    struct Shape {
        std::vector<Segment> segments;
        std::vector<std::size_t> rows;
    };
    static Shape parse_pattern(std::string_view pattern);
    static bool same_path(const Shape& left, const Shape& right);
    static bool goes_before(const Shape& left, const Shape& right);
    static bool fits(const Shape& shape, std::span<const std::string_view> segments);
    const Shape* find_shape(std::span<const std::string_view> segments) const;

    std::vector<Shape> shapes_;
    std::vector<Route> routes_;
};

}  // namespace server
