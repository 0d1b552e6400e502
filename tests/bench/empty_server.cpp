// A server of its own with the house's edge and gate and a handler that does nothing, unaudited:
// what tests/bench/run holds the daemons' rates against. Any POST to /empty is answered
// {"status":"ok"}. Usage: bench_empty_server CERTIFICATE KEY CLIENT_CA FOLDER (of its audit log);
// prints the port on standard output when it is ready; SIGTERM ends it.
#include <exception>
#include <iostream>

#include "server/answer.h"
#include "server/daemon.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/policy.h"

namespace {

constexpr server::Action observe{"observe"};
constexpr std::size_t max_body_bytes = 4096;

server::Response nothing(server::Operation& /*operation*/, const server::Request& /*request*/) {
    base::JsonWriter body;
    body.begin_object().field("status", "ok").end_object();
    return server::json_answer(std::move(body));
}

void serve(char** argv) {
    const server::DaemonSignals signals;
    base::Log log("bench", base::LogLevel::warning);
    const base::SystemClock clock;
    server::Metrics metrics("bench");
    server::AuditConfig audit_config;
    audit_config.directory = argv[4];
    audit_config.daemon = "bench";
    audit_config.node = "bench";
    server::AuditLog audit(audit_config, clock, log);
    const server::RouteTable routes({{server::Method::POST, "/empty", observe, server::Access::open,
                                      max_body_bytes, "does nothing", nothing}});
    const server::Authenticator authenticator;
    const server::Authorizer authorizer(
        server::parse_policy(R"({"version":1,"roles":{},"bindings":[]})", {}));
    server::Gate gate({}, routes, authenticator, authorizer, audit, metrics, clock, log);
    server::EdgeConfig config;
    config.certificate = argv[1];
    config.key = argv[2];
    config.client_ca = argv[3];
    server::Edge edge(config, gate, metrics, log);
    edge.start();
    std::cout << edge.port() << std::endl;
    static_cast<void>(signals.wait_for_stop());
    edge.stop(std::chrono::seconds(2));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "usage: bench_empty_server CERTIFICATE KEY CLIENT_CA FOLDER\n";
        return 2;
    }
    try {
        serve(argv);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "bench_empty_server: " << error.what() << '\n';
        return 1;
    }
}
