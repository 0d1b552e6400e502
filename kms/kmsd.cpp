// The key service's program: reads the configuration, builds every object, and takes them down in
// order on a signal. Nothing else builds objects.
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "hsm/token_config.h"
#include "hsm/token_set.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/audit_key.h"
#include "kms/catalogue.h"
#include "kms/config.h"
#include "kms/follower.h"
#include "kms/lifecycle.h"
#include "kms/paths.h"
#include "kms/reconcile.h"
#include "kms/reconcile_records.h"
#include "kms/schedule.h"
#include "kms/service.h"
#include "kms/sql_store.h"
#include "kms/usage.h"
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

namespace {

// What the audit record of the start says.
std::map<std::string, std::string> start_facts(const std::string& policy_hash,
                                               const kms::Reconciled& reconciled) {
    return {{"version", STRONGROOM_VERSION},
            {"policy_hash", policy_hash},
            {"keys", std::to_string(reconciled.keys.size())},
            {"keys_finished", std::to_string(reconciled.finished)},
            {"keys_abandoned", std::to_string(reconciled.abandoned)},
            {"keys_unproven", std::to_string(reconciled.unproven.size())}};
}

// Nothing when the configuration asks for no checkpoints.
std::unique_ptr<server::AuditSealer> seal(server::AuditLog& audit, hsm::Token& token,
                                          const base::Clock& clock, base::Log& log) {
    if (!audit.config().seal) return nullptr;
    return std::make_unique<server::AuditSealer>(audit, kms::open_audit_key(token, audit),
                                                 *audit.config().seal, clock, log);
}

// Every login at the token but the first, for the audit log. They come at any moment, and the log's
// last record must stay what it is until its sealer has been built.
class LoginNotes {
public:
    explicit LoginNotes(server::AuditLog& audit) : audit_(audit) {}
    void add() {
        const std::lock_guard lock(mutex_);
        ++waiting_;
        if (may_write_) write();
    }
    void begin() {
        const std::lock_guard lock(mutex_);
        may_write_ = true;
        write();
    }

private:
    void write() {
        for (; waiting_ > 0; --waiting_) audit_.note("token_login", {{"again", "true"}});
    }

    server::AuditLog& audit_;
    std::mutex mutex_;
    bool may_write_ = false;
    std::size_t waiting_ = 0;
};

// The one token, or the set of several, which it is then, too.
struct OpenToken {
    std::unique_ptr<hsm::Token> token;
    hsm::TokenSet* set = nullptr;
};

std::unique_ptr<hsm::TokenSet> open_set(kms::Config& config, std::function<void()> logged_in_again,
                                        server::Metrics& metrics, base::Log& log) {
    std::vector<hsm::RemoteMember> members;
    for (kms::TokenAccess& each : config.tokens) {
        members.push_back(
            {each.name,
             {each.token, each.worker_program, each.pin_file, config.log_level, each.deadline},
             std::move(each.pin)});
    }
    hsm::TokenSet::Options options;
    options.logged_in_again = std::move(logged_in_again);
    options.changed = [&metrics](const hsm::TokenSetState& state) {
        metrics.gauge("tokens", static_cast<double>(state.members));
        metrics.gauge("tokens_in_use", static_cast<double>(state.well));
        metrics.gauge("token_keys_different", static_cast<double>(state.different_keys));
    };
    return hsm::open_token_set(members, std::move(options), log);
}

// The configuration's PINs are taken: nobody needs them any more.
OpenToken open_token(kms::Config& config, std::function<void()> logged_in_again,
                     server::Metrics& metrics, base::Log& log) {
    kms::TokenAccess& one = config.tokens.front();
    if (!one.name.empty()) {
        auto set = open_set(config, std::move(logged_in_again), metrics, log);
        hsm::TokenSet* const seen = set.get();
        return {std::move(set), seen};
    }
    const base::SecretBytes pin = std::move(one.pin);
    one.token.logged_in_again = std::move(logged_in_again);
    if (config.process == kms::TokenProcess::in_process) {
        hsm::TokenConfig here = one.token;
        here.call_deadline = one.deadline;
        return {hsm::open_token(here, pin, log)};
    }
    return {hsm::open_remote_token(
        {one.token, one.worker_program, one.pin_file, config.log_level, one.deadline}, pin, log)};
}

void record_logins(server::AuditLog& audit, const kms::Config& config, const OpenToken& opened) {
    for (std::size_t i = 0; i < config.tokens.size(); ++i) {
        const kms::TokenAccess& each = config.tokens[i];
        if (opened.set == nullptr) {
            audit.event("token_login", {{"token", each.token.uri}});
        } else if (opened.set->is_open(i)) {
            audit.event("token_login", {{"token", each.token.uri}, {"name", each.name}});
        }
    }
}

// kmsd is ready while one of several tokens serves; what the others lack is told.
std::vector<server::ReadinessCheck> member_checks(hsm::TokenSet* set) {
    std::vector<server::ReadinessCheck> checks;
    for (std::size_t i = 0; set != nullptr && i < set->members(); ++i)
        checks.push_back({"token." + set->name(i), [set, i] { set->check_member(i); }, false});
    return checks;
}

// A SoftHSM that another node makes keys in has to look at its objects anew, and says no meanwhile;
// reconciling may be done again.
template <typename Reconcile>
kms::Reconciled reconcile_patiently(Reconcile reconcile, base::Log& log) {
    constexpr int most_tries = 6;
    constexpr std::chrono::milliseconds pause{500};
    for (int tries = 1;; ++tries) {
        try {
            return reconcile();
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::unavailable || tries == most_tries) throw;
            log.warning("the keys can't be looked at yet", {{"reason", error.what()}});
            std::this_thread::sleep_for(pause);
        }
    }
}

// Members in order of need: each is taken down before what it stands on.
void serve(kms::Config config, const server::DaemonSignals& signals) {
    base::Log log("kmsd", config.log_level);
    const base::SystemClock clock;
    server::Metrics metrics("kmsd");
    const auto database = server::open_database(std::move(config.store), log);
    kms::SqlStore store(*database);
    server::AuditLog audit(config.audit, clock, log);
    const auto budgets = server::open_budgets(
        config.budgets, kms::known_actions(),
        {*database, clock,
         [&audit](std::string_view action, const auto& facts) { audit.event(action, facts); },
         &metrics, &log});
    server::Authorizer authorizer(server::load_policy(config.policy.file, kms::known_actions()),
                                  server::load_shadow(config.policy, kms::known_actions()),
                                  {&metrics, &log, budgets.get()});
    LoginNotes login_notes(audit);
    const OpenToken opened = open_token(
        config, [&login_notes] { login_notes.add(); }, metrics, log);
    const std::unique_ptr<hsm::Token>& token = opened.token;
    record_logins(audit, config, opened);
    const std::unique_ptr<server::AuditSealer> sealer = seal(audit, *token, clock, log);
    login_notes.begin();

    kms::UsageCounter usage(store, clock);
    const kms::Reconciled reconciled = reconcile_patiently(
        [&] {
            return kms::reconcile(
                store, *token, usage, clock, log, kms::named_audit_key(audit),
                [&audit](const kms::GivenUp& given_up) { kms::record_giving_up(audit, given_up); });
        },
        log);
    kms::record_settled(audit, reconciled);
    kms::Catalogue catalogue(reconciled.keys);
    const kms::CatalogueFollower follower(catalogue, store, reconciled.change_count, log);
    kms::KeyService service(catalogue, *token, usage, log, reconciled.unproven);
    kms::KeyLifecycle lifecycle(catalogue, store, *token, usage, clock, log);
    kms::KeySigning signing(catalogue, *token, usage, log);
    server::Idempotency idempotency(store, clock);
    server::IdentityMethods identity(config.identity, *database, authorizer, clock, log);
    kms::Api api(
        {service, lifecycle, idempotency, signing, catalogue, authorizer, store, audit, metrics,
         server::common_routes({identity.routes(&idempotency), sealer.get(), budgets.get(),
                                *database, authorizer, clock, kms::back_up, "kmsd", &idempotency}),
         member_checks(opened.set)});
    const server::RouteTable routes(api.routes());
    server::check_identity_routes(config.identity, routes);
    server::Gate gate(config.gate, routes, identity.authenticator(), authorizer, audit, metrics,
                      clock, log,
                      sealer ? server::LogHead([&sealer] { return sealer->head(); }) : nullptr);
    server::Edge edge(config.edge, gate, metrics, log);
    const auto metrics_listener = server::open_metrics_listener(config.metrics, metrics, log);
    const kms::Schedule schedule({lifecycle, catalogue, store, usage, audit, clock, log});
    server::serve_until_stopped(
        {edge,
         gate,
         audit,
         log,
         config.edge.listen.front().address,
         start_facts(authorizer.policy_hash(), reconciled),
         {server::policy_step(authorizer, config.policy, kms::known_actions()),
          server::budgets_step(budgets.get(), config.budgets, kms::known_actions()),
          identity.reload_step()},
         {},
         sealer ? std::function<void()>([&sealer] { sealer->seal_now(); }) : nullptr},
        signals);
}

kms::Config read_config(const std::filesystem::path& file) {
    return kms::read_config(file, std::filesystem::read_symlink("/proc/self/exe"));
}

void check(const std::filesystem::path& file) {
    const kms::Config config = read_config(file);
    static_cast<void>(server::load_policy(config.policy.file, kms::known_actions()));
    static_cast<void>(server::load_shadow(config.policy, kms::known_actions()));
    server::check_identity_files(config.identity);
    auto paths = server::common_paths({config.identity.api_tokens.has_value(),
                                       config.audit.seal.has_value(), !config.budgets.empty()});
    paths.insert(paths.end(), kms::api_paths.begin(), kms::api_paths.end());
    server::check_identity_routes(config.identity, paths);
    if (!config.budgets.empty()) {
        static_cast<void>(server::load_budgets(config.budgets, kms::known_actions()));
    }
    server::check_edge(config.edge);
}

}  // namespace

int main(int argc, char** argv) {
    return server::run_daemon(
        argc, argv,
        {"kmsd", "the Strongroom key service", STRONGROOM_VERSION, check,
         [](const auto& file, const auto& signals) { serve(read_config(file), signals); }});
}
