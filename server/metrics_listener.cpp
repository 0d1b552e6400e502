#include "server/metrics_listener.h"

#include "base/error.h"
#include "base/uuid.h"
#include "server/answer.h"

namespace server {
namespace {

constexpr std::size_t max_scrapers = 64;

EdgeConfig metrics_settings(const EdgeConfig& given) {
    EdgeConfig config;
    config.listen = given.listen;
    config.plain = true;
    config.max_connections = max_scrapers;
    config.max_connections_per_peer = max_scrapers;
    config.threads = 1;
    return config;
}

class MetricsHandler final : public RequestHandler {
public:
    explicit MetricsHandler(const Metrics& metrics) : metrics_(metrics) {}

    std::variant<std::size_t, Response> admit(const Request& head) override {
        if (head.path != "/metrics" && head.path != "/healthz") {
            return refuse(head, {base::ErrorCode::not_found, "there is no such path"});
        }
        if (head.method != Method::GET) {
            return refuse(head, {base::ErrorCode::method_not_allowed, "only GET is served here"});
        }
        if (!head.query.empty()) {
            return refuse(head, {base::ErrorCode::invalid_argument, "no parameters are known"});
        }
        return std::size_t{0};
    }

    void handle(Request request, std::function<void(Response)> done) override {
        if (request.path == "/healthz") {
            base::JsonWriter body;
            body.begin_object().field("status", "ok").end_object();
            return done(json_answer(std::move(body)));
        }
        Response response;
        response.content_type = "text/plain; version=0.0.4; charset=utf-8";
        response.body = metrics_.text();
        done(std::move(response));
    }

    Response refuse(const Request& /*head*/, const base::Error& error) override {
        return error_answer(error, base::Uuid::random());
    }

private:
    const Metrics& metrics_;
};

}  // namespace

struct MetricsListener::State {
    State(const EdgeConfig& config, Metrics& metrics, base::Log& log)
        : handler(metrics), edge(metrics_settings(config), handler, own_metrics, log) {}

    // What is counted here must not be taken for the daemon's own connections.
    Metrics own_metrics{"metrics"};
    MetricsHandler handler;
    Edge edge;
};

MetricsListener::MetricsListener(const EdgeConfig& config, Metrics& metrics, base::Log& log)
    : state_(std::make_unique<State>(config, metrics, log)) {
    state_->edge.start();
}

MetricsListener::~MetricsListener() = default;

std::uint16_t MetricsListener::port() const { return state_->edge.port(); }

std::unique_ptr<MetricsListener> open_metrics_listener(const std::optional<EdgeConfig>& config,
                                                       Metrics& metrics, base::Log& log) {
    if (!config) return nullptr;
    auto listener = std::make_unique<MetricsListener>(*config, metrics, log);
    log.info("metrics are served", {{"port", static_cast<std::int64_t>(listener->port())}});
    return listener;
}

}  // namespace server
