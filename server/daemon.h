// The frame of a daemon's run, the same in each: what is refused before anything is read, the
// signals that end it, and the order of start and stop. What a daemon is made of is its program's.
#pragma once

#include <csignal>

#include <map>
#include <string>
#include <string_view>

#include "base/log.h"
#include "server/audit.h"
#include "server/edge.h"
#include "server/gate.h"

namespace server {

// Throws failed_precondition for root and for secrets in environment or arguments. Called before
// the first secret is read, and before the arguments are: nobody should get used to passing secrets
// where everybody can see them.
void refuse_unsafe_start(int argument_count, char** arguments);

// SIGTERM and SIGINT, blocked from construction on, so before any thread starts: only wait() ever
// sees them. Ignores SIGPIPE.
class StopSignals {
public:
    StopSignals();
    // Blocks until one comes; its name.
    std::string_view wait() const;

private:
    sigset_t signals_{};
};

// References must outlive the run.
struct DaemonParts {
    Edge& edge;
    Gate& gate;
    AuditLog& audit;
    base::Log& log;
    std::string address;  // as configured, for the log
    std::map<std::string, std::string>
        facts;  // of the start, for audit and log: version, policy_hash
};

// Starts the edge, records the start, logs "ready" with address and port, waits for a signal, and
// stops: no new connection, running requests finish, each within a bound; 5 seconds in all. When
// a request still runs then (a token that hangs) it records the stop and ends the process with exit
// code 1 instead of returning. Throws unavailable when the start can't be recorded.
void serve_until_stopped(const DaemonParts& parts, const StopSignals& signals);

}  // namespace server
