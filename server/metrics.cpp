#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "base/error.h"

namespace server {
namespace {

// From a tenth of a millisecond, what an answer from memory takes, to the request deadline.
prometheus::Histogram::BucketBoundaries duration_buckets() {
    return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
            0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};
}

// The library's families search a locked table for every use; here each child is found once and
// then read under a shared lock, so that requests don't queue for their own counting.
template <typename Key, typename Child>
class Children {
public:
    template <typename Lookup, typename Make>
    Child& get(const Lookup& key, Make make) {
        {
            const std::shared_lock lock(mutex_);
            const auto found = known_.find(key);
            if (found != known_.end()) return *found->second;
        }
        const std::unique_lock lock(mutex_);
        const auto found = known_.find(key);
        if (found != known_.end()) return *found->second;
        Child& made = make();
        known_.emplace(Key(key), &made);
        return made;
    }

private:
    std::shared_mutex mutex_;
    std::map<Key, Child*, std::less<>> known_;  // the registry owns the children
};

// A family's first child by a wrong name is our own mistake, whatever the library calls it.
template <typename Make>
auto& checked(std::string_view name, Make make) {
    try {
        return make();
    } catch (const std::exception& error) {
        throw base::Error(base::ErrorCode::internal, "internal error",
                          "metric " + std::string(name) + ": " + error.what());
    }
}

}  // namespace

struct Metrics::Registry {
    explicit Registry(std::string daemon)
        : labels({{"daemon", std::move(daemon)}}),
          requests(prometheus::BuildCounter()
                       .Name("strongroom_requests_total")
                       .Help("Answered requests")
                       .Labels(labels)
                       .Register(registry)),
          durations(prometheus::BuildHistogram()
                        .Name("strongroom_request_seconds")
                        .Help("Time from the first byte of a request to its answer")
                        .Labels(labels)
                        .Register(registry)) {}

    prometheus::Registry registry;
    prometheus::Labels labels;
    prometheus::Family<prometheus::Counter>& requests;
    prometheus::Family<prometheus::Histogram>& durations;

    // Status first in the map, so that one comparison of numbers settles most.
    std::map<unsigned, Children<std::string, prometheus::Counter>> by_status;
    std::shared_mutex by_status_mutex;
    Children<std::string, prometheus::Histogram> by_action;
    Children<std::string, prometheus::Counter> counters;
    Children<std::string, prometheus::Gauge> gauges;

    Children<std::string, prometheus::Counter>& status_children(unsigned status) {
        {
            const std::shared_lock lock(by_status_mutex);
            const auto found = by_status.find(status);
            if (found != by_status.end()) return found->second;
        }
        const std::unique_lock lock(by_status_mutex);
        return by_status[status];
    }
};

Metrics::Metrics(std::string daemon) : registry_(std::make_unique<Registry>(std::move(daemon))) {}
Metrics::~Metrics() = default;

void Metrics::request(std::string_view action, unsigned status, std::chrono::nanoseconds duration) {
    auto& counter = registry_->status_children(status).get(action, [&]() -> prometheus::Counter& {
        return registry_->requests.Add(
            {{"action", std::string(action)}, {"status", std::to_string(status)}});
    });
    counter.Increment();
    auto& histogram = registry_->by_action.get(action, [&]() -> prometheus::Histogram& {
        return registry_->durations.Add({{"action", std::string(action)}}, duration_buckets());
    });
    histogram.Observe(std::chrono::duration<double>(duration).count());
}

void Metrics::count(std::string_view name, double amount) {
    auto& counter = registry_->counters.get(name, [&]() -> prometheus::Counter& {
        return checked(name, [&]() -> prometheus::Counter& {
            return prometheus::BuildCounter()
                .Name("strongroom_" + std::string(name) + "_total")
                .Labels(registry_->labels)
                .Register(registry_->registry)
                .Add({});
        });
    });
    counter.Increment(amount);
}

void Metrics::gauge(std::string_view name, double value) {
    auto& gauge = registry_->gauges.get(name, [&]() -> prometheus::Gauge& {
        return checked(name, [&]() -> prometheus::Gauge& {
            return prometheus::BuildGauge()
                .Name("strongroom_" + std::string(name))
                .Labels(registry_->labels)
                .Register(registry_->registry)
                .Add({});
        });
    });
    gauge.Set(value);
}

std::string Metrics::text() const {
    return prometheus::TextSerializer().Serialize(registry_->registry.Collect());
}

}  // namespace server
