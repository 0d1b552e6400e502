// Counters and histograms for operators, in the Prometheus text format. Names and label values come
// from route tables and enumerations, never from a request: no caller, key name or path is a label.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace server {

// Thread-safe.
class Metrics {
public:
    explicit Metrics(std::string daemon);
    ~Metrics();
    Metrics(const Metrics&) = delete;
    Metrics& operator=(const Metrics&) = delete;

    // One answered request.
    void request(std::string_view action, unsigned status, std::chrono::nanoseconds duration);
    // Adds to a counter; `name` like "audit_records" becomes strongroom_audit_records_total.
    void count(std::string_view name, double amount = 1);
    // Sets a gauge, e.g. "connections".
    void gauge(std::string_view name, double value);

    // The exposition text.
    std::string text() const;

private:
    struct Registry;
    std::unique_ptr<Registry> registry_;
};

}  // namespace server
