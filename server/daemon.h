// The frame of a daemon's run, the same in each: what is refused before anything is read, the
// command line, the signals, and the order of start, reload and stop. What a daemon is made of is
// its program's.
#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "server/audit.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/reload.h"

namespace server {

// Throws failed_precondition for root and for secrets in environment or arguments. Called before
// the first secret is read, and before the arguments are: nobody should get used to passing secrets
// where everybody can see them.
void refuse_unsafe_start(int argument_count, char** arguments);

// SIGTERM, SIGINT and SIGHUP, blocked from construction on, so before any thread starts: only
// wait() ever sees them. Ignores SIGPIPE.
class DaemonSignals {
public:
    enum class Signal { terminate, interrupt, hang_up };

    DaemonSignals();
    // Blocks until one comes, at most `bound`; empty when none came.
    std::optional<Signal> wait(std::chrono::milliseconds bound) const;
    // Blocks until one comes that asks for the end; its name.
    std::string_view wait_for_stop() const;

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
    std::vector<ReloadStep> reload_steps{};
    // Ends what waits for another service, so that its caller is still answered. Called in a stop,
    // by a thread of its own, when requests run 4 seconds after the signal. May be empty.
    std::function<void()> break_off{};
    // Makes a last checkpoint of the audit log, bounded, when the process ends with objects still
    // in use: the sealer's destructor, which does so otherwise, is not reached then. May throw
    // base::Error. Empty: the log has no checkpoints.
    std::function<void()> seal{};
};

// Starts the edge, records the start, logs "ready" with address and port, and waits for signals.
// SIGHUP runs the step "certificates" of the edge, which watches its files, and all of
// parts.reload_steps; a step also runs soon after a file that it watches has changed.
// SIGTERM and SIGINT stop: no new connection, running requests finish, each within a bound; 5
// seconds in all. When a request still runs then (a token that hangs) it records the stop, seals
// the audit log and ends the process with exit code 1 instead of returning. What the program takes
// down afterwards has until 6 seconds after the signal: the process ends then, with exit code 1.
// Throws unavailable when the start can't be recorded.
void serve_until_stopped(const DaemonParts& parts, const DaemonSignals& signals);

// A daemon as its main describes it.
struct DaemonProgram {
    std::string name;     // "kmsd": of the log and before every message
    std::string purpose;  // "the Strongroom key service"
    std::string version;
    // Reads the configuration file and all that can be checked without serving. Throws base::Error.
    std::function<void(const std::filesystem::path& config)> check;
    // Builds every object, serves, and returns when the daemon has stopped. Throws base::Error.
    std::function<void(const std::filesystem::path& config, const DaemonSignals& signals)> serve;
};

// The whole of a daemon's main: refuses an unsafe start, reads the command line (--config FILE,
// --check-config, --version, --help), hardens the process, then checks or serves. Returns the exit
// code; a refusal is one plain sentence on standard error and exit code 1.
int run_daemon(int argument_count, char** arguments, const DaemonProgram& program);

}  // namespace server
