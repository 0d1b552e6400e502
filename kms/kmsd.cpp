// The key service's program: reads the configuration, builds every object, and takes them down in
// order on a signal. Nothing else builds objects.
#include <csignal>
#include <iostream>

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "hsm/token_config.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/catalogue.h"
#include "kms/config.h"
#include "kms/reconcile.h"
#include "kms/service.h"
#include "kms/sqlite_store.h"
#include "kms/usage.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/hardening.h"
#include "server/metrics.h"
#include "server/policy.h"
#include "server/route.h"

namespace {

constexpr std::chrono::milliseconds edge_stop_bound{2500};
constexpr std::chrono::milliseconds gate_drain_bound{2500};

struct Options {
    std::filesystem::path config;
    bool check_config = false;
};

// Blocked before any thread starts, so that only wait_for_stop() ever sees them.
sigset_t block_stop_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): ignoring a signal can't fail here
    return signals;
}

std::string_view wait_for_stop(const sigset_t& signals) {
    int received = 0;
    sigwait(&signals, &received);
    return received == SIGINT ? "SIGINT" : "SIGTERM";
}

// Before the first secret is read, and before the arguments are: nobody should get used to passing
// secrets where everybody can see them.
void refuse_unsafe_start(std::span<char*> arguments) {
    server::refuse_root();
    server::refuse_secret_environment(environ);
    server::refuse_secret_arguments({arguments.begin() + 1, arguments.end()});
}

void note_start(server::AuditLog& audit, base::Log& log, const server::Edge& edge,
                const std::string& address, const std::string& policy_hash,
                const kms::Reconciled& reconciled) {
    audit.event("start", {{"version", STRONGROOM_VERSION},
                          {"policy_hash", policy_hash},
                          {"keys", std::to_string(reconciled.keys.size())},
                          {"keys_finished", std::to_string(reconciled.finished)},
                          {"keys_abandoned", std::to_string(reconciled.abandoned)},
                          {"keys_unproven", std::to_string(reconciled.unproven.size())}});
    log.info("ready", {{"address", address},
                       {"port", static_cast<std::int64_t>(edge.port())},
                       {"version", std::string(STRONGROOM_VERSION)},
                       {"keys", static_cast<std::int64_t>(reconciled.keys.size())},
                       {"policy_hash", policy_hash}});
}

// Members in order of need: each is taken down before what it stands on.
void serve(kms::Config config, base::Log& log, const sigset_t& signals) {
    const base::SystemClock clock;
    const std::shared_ptr<const server::Policy> policy =
        server::load_policy(config.policy, kms::known_actions());
    server::Authorizer authorizer(policy);
    server::Metrics metrics("kmsd");
    kms::SqliteStore store(config.store);
    server::AuditLog audit(config.audit, clock, log);
    const std::unique_ptr<hsm::Token> token = hsm::open_token(config.token, config.pin, log);
    config.pin = base::SecretBytes();

    kms::UsageCounter usage(store);
    const kms::Reconciled reconciled = kms::reconcile(store, *token, usage, log);
    kms::Catalogue catalogue(reconciled.keys);
    kms::KeyService service(catalogue, store, *token, usage, clock, log, reconciled.unproven);
    kms::Api api({service, catalogue, authorizer, store, audit, metrics});
    const server::RouteTable routes(api.routes());
    server::Gate gate(config.gate, routes, audit, metrics, clock, log);
    server::Edge edge(config.edge, gate, metrics, log);

    edge.start();
    note_start(audit, log, edge, config.edge.address, authorizer.policy_hash(), reconciled);
    const std::string_view signal = wait_for_stop(signals);
    log.info("stopping", {{"signal", std::string(signal)}});
    edge.stop(edge_stop_bound);
    const bool drained = gate.drain(gate_drain_bound);
    audit.event("stop", {{"drained", drained ? "true" : "false"}});
    log.info("stopped", {{"drained", drained}});
}

int run(const Options& options) {
    const sigset_t signals = block_stop_signals();
    base::Log start_log("kmsd", base::LogLevel::info);
    server::harden_process(start_log);
    kms::Config config =
        kms::read_config(options.config, std::filesystem::read_symlink("/proc/self/exe"));
    if (options.check_config) {
        static_cast<void>(server::load_policy(config.policy, kms::known_actions()));
        std::cout << "the configuration is in order\n";
        return 0;
    }
    base::Log log("kmsd", config.log_level);
    serve(std::move(config), log, signals);
    return 0;
}

// A start-up refusal is one plain sentence: what is wrong and what to do.
int refuse(const std::exception& error) {
    std::cerr << "kmsd: " << error.what() << '\n';
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        refuse_unsafe_start({argv, static_cast<std::size_t>(argc)});
        CLI::App app("kmsd, the Strongroom key service");
        Options options;
        app.add_option("--config", options.config, "the configuration file")->required();
        app.add_flag("--check-config", options.check_config,
                     "check configuration, policy and PIN file, then exit");
        app.set_version_flag("--version", "kmsd " STRONGROOM_VERSION);
        CLI11_PARSE(app, argc, argv);
        return run(options);
    } catch (const std::exception& error) {
        return refuse(error);
    }
}
