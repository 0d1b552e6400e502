// /metrics and /healthz for whoever can reach a listener of its own: without TLS and without asking
// who it is, so on loopback or a UNIX socket only. Everybody else asks the daemon's own /metrics.
// It says what the program counts, which names no key, no caller and no path.
#pragma once

#include <memory>
#include <optional>

#include "base/log.h"
#include "server/edge.h"
#include "server/metrics.h"

namespace server {

// Serves from construction to destruction. Nothing it does is recorded in the audit log.
// Thread-safe; `metrics` and `log` must outlive it.
class MetricsListener {
public:
    // Of `config` the addresses count; sizes, times and threads are its own. Throws
    // failed_precondition as Edge does, also for an address that others can reach.
    MetricsListener(const EdgeConfig& config, Metrics& metrics, base::Log& log);
    ~MetricsListener();
    MetricsListener(const MetricsListener&) = delete;
    MetricsListener& operator=(const MetricsListener&) = delete;

    std::uint16_t port() const;  // as Edge::port()

private:
    struct State;
    std::unique_ptr<State> state_;
};

// Nothing when the configuration asks for none.
std::unique_ptr<MetricsListener> open_metrics_listener(const std::optional<EdgeConfig>& config,
                                                       Metrics& metrics, base::Log& log);

}  // namespace server
