// What the edge and the gate can do alone: the rate of a handler that does nothing, unaudited,
// through the worker pool, over TLS with keep-alive and client certificates; and what an idle
// connection costs in memory. Other benches are read as ratios to this rate.
// Usage: bench_edge [connections [seconds [idle connections]]]
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>

#include "server/answer.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/policy.h"
#include "tests/bench/load.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"

namespace {

constexpr server::Action observe{"observe"};

server::Response nothing(server::Operation& /*operation*/, const server::Request& /*request*/) {
    base::JsonWriter body;
    body.begin_object().field("status", "ok").end_object();
    return server::json_answer(std::move(body));
}

long resident_kib() {
    std::ifstream status("/proc/self/statm");
    long size = 0;
    long resident = 0;
    status >> size >> resident;
    return resident * sysconf(_SC_PAGESIZE) / 1024;
}

// A process of its own that holds idle connections, so that only the server's side is measured. It
// is forked before this process has threads.
class IdlePeers {
public:
    explicit IdlePeers(tests::LoadConfig config) {
        if (::pipe(to_child_.data()) != 0 || ::pipe(from_child_.data()) != 0) {
            throw std::runtime_error("no pipe");
        }
        child_ = ::fork();
        if (child_ == 0) serve_parent(std::move(config));
    }

    // Returns when all connections are open and idle.
    void connect(std::uint16_t port) {
        char done = 0;
        if (::write(to_child_[1], &port, sizeof(port)) != sizeof(port) ||
            ::read(from_child_[0], &done, 1) != 1 || done != 'k') {
            throw std::runtime_error("the idle peers could not connect");
        }
    }
    void end() {
        ::close(to_child_[1]);
        ::waitpid(child_, nullptr, 0);
    }

private:
    [[noreturn]] void serve_parent(tests::LoadConfig config) {
        ::close(to_child_[1]);
        char done = 'k';
        try {
            if (::read(to_child_[0], &config.port, sizeof(config.port)) != sizeof(config.port)) {
                ::_exit(1);
            }
            const tests::IdleConnections idle(config, tests::http_request("GET", "/healthz"));
            if (::write(from_child_[1], &done, 1) != 1) ::_exit(1);
            while (::read(to_child_[0], &done, 1) > 0) {
            }
        } catch (const std::exception& error) {
            std::fprintf(stderr, "idle peers: %s\n", error.what());
            done = 'x';
            static_cast<void>(!::write(from_child_[1], &done, 1));
        }
        ::_exit(0);
    }

    std::array<int, 2> to_child_{};
    std::array<int, 2> from_child_{};
    pid_t child_ = -1;
};

void run(std::size_t connections, std::chrono::seconds duration, std::size_t idle_connections) {
    const tests::TemporaryDirectory directory;
    tests::TestPki pki(directory / "pki");
    const auto server_files = pki.server("server");
    const auto client_files = pki.client("client", "spiffe://strongroom/bench");
    tests::LoadConfig load;
    load.ca = pki.ca();
    load.certificate = client_files.certificate;
    load.key = client_files.key;
    load.connections = idle_connections;
    IdlePeers idle(load);

    base::Log log("bench", base::LogLevel::warning);
    const base::SystemClock clock;
    server::Metrics metrics("bench");
    server::AuditLog audit({directory / "audit", "bench", "node", std::chrono::milliseconds(200)},
                           clock, log);
    const server::RouteTable routes(
        {{server::Method::GET, "/healthz", observe, server::Access::open, 0, "", nothing}});
    const server::Authenticator authenticator;
    const server::Authorizer authorizer(
        server::parse_policy(R"({"version":1,"roles":{},"bindings":[]})", {}));
    server::Gate gate({}, routes, authenticator, authorizer, audit, metrics, clock, log);
    server::EdgeConfig config;
    config.certificate = server_files.certificate;
    config.key = server_files.key;
    config.client_ca = pki.ca();
    config.max_connections_per_peer = config.max_connections;
    server::Edge edge(config, gate, metrics, log);
    edge.start();

    const std::string request = tests::http_request("GET", "/healthz");
    load.port = edge.port();
    load.connections = connections;
    load.duration = duration;
    const auto result = tests::run_load(
        load, [&](std::size_t /*connection*/) -> std::string_view { return request; });
    std::printf("empty handler, %zu connections: %s\n", connections,
                tests::to_text(result).c_str());
    if (!result.first_error.empty()) std::printf("first error: %s\n", result.first_error.c_str());

    const long before = resident_kib();
    idle.connect(edge.port());
    const long growth = resident_kib() - before;
    std::printf("%zu idle connections: %ld KiB, %.1f KiB each\n", idle_connections, growth,
                static_cast<double>(growth) / static_cast<double>(idle_connections));
    idle.end();
    edge.stop(std::chrono::seconds(2));
}

}  // namespace

int main(int argc, char** argv) {
    const auto argument = [&](int index, long otherwise) {
        return argc > index ? std::strtol(argv[index], nullptr, 10) : otherwise;
    };
    try {
        run(static_cast<std::size_t>(argument(1, 16)), std::chrono::seconds(argument(2, 3)),
            static_cast<std::size_t>(argument(3, 500)));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_edge: %s\n", error.what());
        return 1;
    }
}
