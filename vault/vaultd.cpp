// The credential vault's program: reads the configuration, builds every object, and takes them down
// in order on a signal. Nothing else builds objects.
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "kms/client/certificates.h"
#include "kms/client/client.h"
#include "server/audit.h"
#include "server/audit_sealer.h"
#include "server/authorizer.h"
#include "server/budget.h"
#include "server/common_routes.h"
#include "server/daemon.h"
#include "server/database.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/idempotency.h"
#include "server/identity_methods.h"
#include "server/metrics.h"
#include "server/metrics_listener.h"
#include "server/operational_routes.h"
#include "server/policy.h"
#include "server/reload.h"
#include "server/route.h"
#include "server/sql_order_store.h"
#include "vault/actions.h"
#include "vault/api.h"
#include "vault/caching_data_keys.h"
#include "vault/checkpoint_signer.h"
#include "vault/compat/shapes.h"
#include "vault/config.h"
#include "vault/kms_data_keys.h"
#include "vault/kms_destruction_signer.h"
#include "vault/paths.h"
#include "vault/rewrap_api.h"
#include "vault/rewrap_service.h"
#include "vault/rewrap_work.h"
#include "vault/service.h"
#include "vault/sql_rewrap_store.h"
#include "vault/sql_store.h"
#include "vault/value_api.h"
#include "vault/values.h"
#include "vault/witness.h"

namespace {

// Nothing when the configuration asks for no checkpoints.
std::unique_ptr<server::AuditSealer> seal(server::AuditLog& audit, const kms::ClientConfig& client,
                                          const base::Clock& clock, base::Log& log) {
    const auto& config = audit.config();
    if (!config.seal) return nullptr;
    return std::make_unique<server::AuditSealer>(
        audit, vault::make_checkpoint_signer(client, config.seal->signing_key, config.directory),
        *config.seal, clock, log);
}

// What rewrap jobs stand on.
struct RewrapGround {
    server::AuditLog& audit;
    server::Metrics& metrics;
    const server::Authorizer& authorizer;
    const base::Clock& clock;
    base::Log& log;
    bool has_uncounted_copies;
};

// Rewrap jobs: where they stand, this node's workers, and what may be asked. The tables of
// credentials must be there.
struct Rewraps {
    Rewraps(server::Database& database, vault::DataKeys& keys, const RewrapGround& ground,
            std::size_t worker_count)
        : store(database),
          work({store, keys, ground.audit, ground.metrics, ground.clock, ground.log,
                ground.has_uncounted_copies}),
          workers(work, worker_count, ground.log),
          service(store, keys, ground.clock),
          api({service, ground.authorizer, [this] { workers.wake(); },
               ground.has_uncounted_copies}) {}

    vault::SqlRewrapStore store;
    vault::RewrapWork work;
    vault::RewrapWorkers workers;
    vault::RewrapService service;
    vault::RewrapApi api;
};

// Members in order of need: each is taken down before what it stands on. The key service is not
// asked at the start: vaultd serves metadata without it, and /readyz tells.
void serve(vault::Config config, const server::DaemonSignals& signals) {
    base::Log log("vaultd", config.log_level);
    const base::SystemClock clock;
    server::Metrics metrics("vaultd");
    const auto database = server::open_database(std::move(config.store), log);
    vault::SqlStore store(*database);
    server::AuditLog audit(config.audit, clock, log);
    const auto budgets = server::open_budgets(
        config.budgets, vault::known_actions(),
        {*database, clock,
         [&audit](std::string_view action, const auto& facts) { audit.event(action, facts); },
         &metrics, &log});
    server::Authorizer authorizer(server::load_policy(config.policy.file, vault::known_actions()),
                                  server::load_shadow(config.policy, vault::known_actions()),
                                  {&metrics, &log, budgets.get(), [&store](const auto& resource) {
                                       return store.tags({resource.owner, resource.id});
                                   }});
    // All that ask the key service share it, so that one step renews all or none.
    const auto kms_certificates = std::make_shared<kms::ClientCertificates>(
        config.kms.ca, config.kms.certificate, config.kms.key);
    config.kms.certificates = kms_certificates;
    const std::unique_ptr<server::AuditSealer> sealer = seal(audit, config.kms, clock, log);
    vault::LogWitness witness(config.witness, config.kms, audit, metrics, log);
    kms::ClientConfig watched = config.kms;
    watched.watch = &witness;
    kms::Client client(std::move(watched));
    vault::KmsDataKeys kms_keys(client, config.master_key);
    std::optional<vault::CachingDataKeys> cache;
    if (config.key_cache) cache.emplace(kms_keys, *config.key_cache);
    vault::DataKeys& keys = cache ? static_cast<vault::DataKeys&>(*cache) : kms_keys;

    if (config.destruction_key.empty()) {
        log.warning(
            "records of destructions are not signed: neither destructions.signing_key nor "
            "audit.checkpoints.signing_key is configured");
    }
    vault::KmsDestructionSigner signer(client, config.destruction_key);
    const auto items = vault::compat::open_items(config.compat);
    vault::CredentialService service(
        store, keys, clock,
        {std::move(config.reasons), config.destruction_key.empty() ? nullptr : &signer, &authorizer,
         items.get()});
    server::IdentityMethods identity(config.identity, *database, authorizer, clock, log);
    vault::ValueService values(keys, clock, config.passthrough);
    vault::ValueApi value_api({values, authorizer, metrics, config.value_owners});
    vault::compat::Shapes shapes(config.compat, config.identity,
                                 {service, *database, clock, metrics}, authorizer, items.get());
    Rewraps rewraps(*database, keys,
                    {audit, metrics, authorizer, clock, log, items && items->reads_back()},
                    config.rewrap_workers);
    server::SqlOrderStore remembered(*database);
    server::Idempotency orders(remembered, clock);
    vault::Api api(
        {service,
         authorizer,
         store,
         keys,
         audit,
         metrics,
         server::join(value_api.routes(), rewraps.api.routes()),
         {{"witness", [&witness] { witness.check(); }}},
         &log,
         server::common_routes({identity.routes(&orders), sealer.get(), budgets.get(), *database,
                                authorizer, clock, vault::back_up, "vaultd", &orders}),
         &orders,
         shapes.routes()});
    const server::RouteTable routes(api.routes());
    server::check_identity_routes(config.identity, routes);
    server::Gate gate(config.gate, routes, identity.authenticator(), authorizer, audit, metrics,
                      clock, log,
                      sealer ? server::LogHead([&sealer] { return sealer->head(); }) : nullptr);
    server::Edge edge(config.edge, gate, metrics, log);
    const auto metrics_listener = server::open_metrics_listener(config.metrics, metrics, log);
    server::serve_until_stopped(
        {edge,
         gate,
         audit,
         log,
         config.edge.listen.front().address,
         {{"version", STRONGROOM_VERSION}, {"policy_hash", authorizer.policy_hash()}},
         {server::policy_step(authorizer, config.policy, vault::known_actions()),
          server::budgets_step(budgets.get(), config.budgets, vault::known_actions()),
          identity.reload_step(),
          {"kms_certificates", kms_certificates->files(),
           [&kms_certificates] { return kms_certificates->reload(); }}},
         [&shapes] { shapes.cancel(); },
         sealer ? std::function<void()>([&sealer] { sealer->seal_now(); }) : nullptr},
        signals);
}

void check(const std::filesystem::path& file) {
    const vault::Config config = vault::read_config(file);
    static_cast<void>(server::load_policy(config.policy.file, vault::known_actions()));
    static_cast<void>(server::load_shadow(config.policy, vault::known_actions()));
    server::check_identity_files(config.identity);
    auto paths = server::common_paths({config.identity.api_tokens.has_value(),
                                       config.audit.seal.has_value(), !config.budgets.empty()});
    const auto add = [&paths](const auto& more) {
        paths.insert(paths.end(), more.begin(), more.end());
    };
    add(vault::api_paths);
    if (config.compat.shared_secret) add(vault::shared_secret_paths);
    if (config.compat.broker) add(vault::broker_paths);
    server::check_identity_routes(config.identity, paths);
    if (!config.budgets.empty()) {
        static_cast<void>(server::load_budgets(config.budgets, vault::known_actions()));
    }
    vault::compat::check_files(config.compat);
    server::check_edge(config.edge);
}

}  // namespace

int main(int argc, char** argv) {
    return server::run_daemon(
        argc, argv,
        {"vaultd", "the Strongroom credential vault", STRONGROOM_VERSION, check,
         [](const auto& file, const auto& signals) { serve(vault::read_config(file), signals); }});
}
