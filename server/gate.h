// The way every request goes: route, identity, handler (which authorises and works), audit, answer.
// The gate knows neither sockets nor what the daemon is for.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/log.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/identity.h"
#include "server/metrics.h"
#include "server/request.h"
#include "server/route.h"

namespace server {

// The largest body that is taken without asking for which route it is. A route may take larger ones
// for itself.
inline constexpr std::size_t ordinary_body_bytes = 2UL * 1024 * 1024;

// What the edge needs from above. Thread-safe.
class RequestHandler {
public:
    virtual ~RequestHandler() = default;

    // Called when the head is complete: the body bytes that are read of this request, or the answer
    // that refuses it right away. Must not block.
    virtual std::variant<std::size_t, Response> admit(const Request& head) = 0;

    // Whom a connection shows without a credential of a request's own: asked once for each
    // connection, before its first head is read, so that only certificate and addresses of `peer`
    // are set; given with all of its requests (Request::connected). Must not block; what it throws
    // ends the connection. Null: the handler has no use for it.
    virtual std::shared_ptr<const Caller> recognize(const Request& /*peer*/) { return nullptr; }

    // Called with the whole request; `done` is called exactly once, on any thread, and must not
    // block.
    virtual void handle(Request request, std::function<void(Response)> done) = 0;

    // A refusal by the edge itself (deadline, size, grammar): audited like any other, no answer to
    // wait for.
    virtual Response refuse(const Request& head, const base::Error& error) = 0;
};

struct GateConfig {
    std::size_t workers = 16;       // threads for handlers, which may block on the token or a peer
    std::size_t max_queued = 1024;  // waiting requests; beyond it 503 at once
    // What waited longer hears 503 and is not done: who asked has given up.
    std::chrono::milliseconds longest_wait{10'000};
};

// What the audit log's latest checkpoint says, in one line: see AuditSealer::head().
using LogHead = std::function<std::string()>;

// Every answer has X-Request-Id, the request id of its record. One to a request with
// `Strongroom-Receipt: yes` that is recorded has `Strongroom-Receipt: <origin> <leaf index>`, its
// record's place in the audit log. With `log_head` every good answer to a known caller has
// `Strongroom-Checkpoint: <origin> <size> <root>`, so that callers notice a log that was rolled
// back.
//
// Who proves nothing of himself hears 401 from every path and method but the open routes, whether
// there is such a route or not; without any credential before a body is read, else after one of at
// most the largest size that any route takes; bodies over ordinary_body_bytes are taken by those
// routes only that are for them. What is wrong with a request (its body, its size, its
// query, a name in its path) is told to callers who could be allowed the route's action on
// something; that there is no such path or method to who could be allowed any route's. Who could
// not is refused with 403, whatever he sent.
//
// While the audit log can't be written no handler of an authenticated route is called: the answer
// is unavailable. Thread-safe. `routes`, `authenticator`, `authorizer`, `audit`, `metrics`, `clock`
// and `log` must outlive it.
class Gate final : public RequestHandler {
public:
    Gate(GateConfig config, const RouteTable& routes, const Authenticator& authenticator,
         const Authorizer& authorizer, AuditLog& audit, Metrics& metrics, const base::Clock& clock,
         base::Log& log, LogHead log_head = {});
    // Answers what is queued with unavailable and waits for what runs, without a bound: a handler
    // that hangs uses all of this. A program that must end in time calls drain() first.
    ~Gate() override;

    std::variant<std::size_t, Response> admit(const Request& head) override;
    std::shared_ptr<const Caller> recognize(const Request& peer) override;
    void handle(Request request, std::function<void(Response)> done) override;
    Response refuse(const Request& head, const base::Error& error) override;

    // Refuses new work with unavailable, waits for what runs, at most `bound`. True when all was
    // done.
    bool drain(std::chrono::milliseconds bound);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace server
