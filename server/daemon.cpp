#include "server/daemon.h"

#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <vector>

#include "server/hardening.h"

namespace server {
namespace {

constexpr std::chrono::milliseconds edge_stop_bound{2500};
constexpr std::chrono::milliseconds gate_drain_bound{2500};

// A stop that can't be recorded is still a stop.
void record_stop(const DaemonParts& parts, bool drained) {
    try {
        parts.audit.event("stop", {{"drained", drained ? "true" : "false"}});
    } catch (const base::Error& error) {
        parts.log.error("the stop could not be recorded", {{"reason", error.what()}});
    }
    parts.log.info("stopped", {{"drained", drained}});
}

}  // namespace

void refuse_unsafe_start(int argument_count, char** arguments) {
    refuse_root();
    refuse_secret_environment(environ);
    std::vector<std::string_view> given;
    for (int i = 1; i < argument_count; ++i) given.emplace_back(arguments[i]);
    refuse_secret_arguments(given);
}

StopSignals::StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): ignoring a signal can't fail here
}

std::string_view StopSignals::wait() const {
    int received = 0;
    sigwait(&signals_, &received);
    return received == SIGINT ? "SIGINT" : "SIGTERM";
}

void serve_until_stopped(const DaemonParts& parts, const StopSignals& signals) {
    parts.edge.start();
    parts.audit.event("start", parts.facts);
    const auto fact = [&parts](const std::string& name) {
        const auto found = parts.facts.find(name);
        return found == parts.facts.end() ? std::string() : found->second;
    };
    parts.log.info("ready", {{"address", parts.address},
                             {"port", static_cast<std::int64_t>(parts.edge.port())},
                             {"version", fact("version")},
                             {"policy_hash", fact("policy_hash")}});
    const std::string_view signal = signals.wait();
    parts.log.info("stopping", {{"signal", std::string(signal)}});
    parts.edge.stop(edge_stop_bound);
    const bool drained = parts.gate.drain(gate_drain_bound);
    record_stop(parts, drained);
    // What still runs hangs, in the token or in a peer, and the gate's destructor would wait for
    // it: the process ends here, with its records written and nobody's answer given.
    if (!drained) std::_Exit(1);
}

}  // namespace server
