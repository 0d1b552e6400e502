// The credential vault's program: reads the configuration, builds every object, and takes them down
// in order on a signal. Nothing else builds objects.
#include <iostream>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "kms/client/client.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/daemon.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/hardening.h"
#include "server/metrics.h"
#include "server/policy.h"
#include "server/route.h"
#include "vault/actions.h"
#include "vault/api.h"
#include "vault/config.h"
#include "vault/kms_data_keys.h"
#include "vault/service.h"
#include "vault/sqlite_store.h"

namespace {

struct Options {
    std::filesystem::path config;
    bool check_config = false;
};

// Members in order of need: each is taken down before what it stands on. The key service is not
// asked at the start: vaultd serves metadata without it, and /readyz tells.
void serve(const vault::Config& config, base::Log& log, const server::StopSignals& signals) {
    const base::SystemClock clock;
    const server::Authorizer authorizer(server::load_policy(config.policy, vault::known_actions()));
    server::Metrics metrics("vaultd");
    vault::SqliteStore store(config.store);
    server::AuditLog audit(config.audit, clock, log);
    kms::Client client(config.kms);
    vault::KmsDataKeys keys(client, config.master_key);

    vault::CredentialService service(store, keys, clock);
    vault::Api api({service, authorizer, store, keys, audit, metrics});
    const server::RouteTable routes(api.routes());
    server::Gate gate(config.gate, routes, audit, metrics, clock, log);
    server::Edge edge(config.edge, gate, metrics, log);
    server::serve_until_stopped(
        {edge,
         gate,
         audit,
         log,
         config.edge.address,
         {{"version", STRONGROOM_VERSION}, {"policy_hash", authorizer.policy_hash()}}},
        signals);
}

void run(const Options& options) {
    const server::StopSignals signals;
    base::Log start_log("vaultd", base::LogLevel::info);
    server::harden_process(start_log);
    const vault::Config config = vault::read_config(options.config);
    if (options.check_config) {
        static_cast<void>(server::load_policy(config.policy, vault::known_actions()));
        std::cout << "the configuration is in order\n";
        return;
    }
    base::Log log("vaultd", config.log_level);
    serve(config, log, signals);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        server::refuse_unsafe_start(argc, argv);
        CLI::App app("vaultd, the Strongroom credential vault");
        Options options;
        app.add_option("--config", options.config, "the configuration file")->required();
        app.add_flag("--check-config", options.check_config,
                     "check configuration and policy, then exit");
        app.set_version_flag("--version", "vaultd " STRONGROOM_VERSION);
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : 1;
        }
        run(options);
        return 0;
    } catch (const std::exception& error) {
        // A start-up refusal is one plain sentence: what is wrong and what to do.
        std::cerr << "vaultd: " << error.what() << '\n';
        return 1;
    }
}
