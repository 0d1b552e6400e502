// The older shapes as they are served: a real gate, identity, policy, budgets and audit log around
// them, without a network on the callers' side.
#pragma once

#include <algorithm>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_token_routes.h"
#include "server/api_tokens.h"
#include "server/budget.h"
#include "server/gate.h"
#include "server/shared_secret.h"
#include "tests/vault/world.h"
#include "vault/compat/shapes.h"
#include "vault/paths.h"

namespace tests {

inline constexpr std::string_view compat_policy = R"({
  "version": 1,
  "roles": {
    "sync": [{"id": "sync-platforms", "effect": "allow", "actions": ["store_credential", "reveal_credential"],
              "resources": ["credential:*/platforms"]}],
    "downloader": [{"id": "downloads", "effect": "allow", "actions": ["reveal_credential"],
                    "resources": ["credential:*/platforms"], "when": {"context": {"part": ["download"]}}}],
    "user": [{"id": "user-profile", "effect": "allow", "actions": ["store_credential", "reveal_credential"],
              "resources": ["credential:{claim:profile}/platforms"]}],
    "broker": [{"id": "broker-all", "effect": "allow",
                "actions": ["store_credential", "describe_credential", "reveal_credential", "refresh_credential"],
                "resources": ["credential:broker/*"]}],
    "fetcher": [{"id": "fetches", "effect": "allow", "actions": ["reveal_credential"],
                 "resources": ["credential:broker/*"]}]
  },
  "bindings": [
    {"caller": "secret:sync", "roles": ["sync"]},
    {"caller": "secret:downloader", "roles": ["downloader"]},
    {"caller": "secret:broker", "roles": ["broker"]},
    {"caller": "user:*", "roles": ["user"]},
    {"caller": "token:worker", "roles": ["broker", "user"]},
    {"caller": "spiffe://strongroom/broker", "roles": ["broker"]},
    {"caller": "spiffe://strongroom/fetcher", "roles": ["fetcher"]}
  ]
})";

// The same, where every caller of a shape may give what `resources` names tags.
inline std::string with_right_to_tag(std::string_view resources) {
    std::string policy(compat_policy);
    for (const std::string role : {"sync", "broker"}) {
        const std::string before = "\"" + role + "\": [";
        policy.insert(policy.find(before) + before.size(),
                      R"({"id": "tags-)" + role +
                          R"(", "effect": "allow", "actions": ["tag_credential"],
              "resources": ["credential:)" +
                          std::string(resources) + "\"]}, ");
    }
    return policy;
}

// A user's bearer is "<name>.<profile>": the caller user:<name> with that claim. "bad" is refused.
class UserVerifier final : public server::CredentialVerifier {
public:
    server::AuthenticationMethod method() const noexcept override {
        return server::AuthenticationMethod::introspection;
    }
    bool recognizes(std::string_view /*credential*/) const override { return true; }
    server::Caller verify(std::string_view credential) override {
        ++asked;
        const auto dot = credential.find('.');
        if (dot == std::string_view::npos) {
            throw base::Error(base::ErrorCode::unauthenticated, "the credential is not accepted",
                              "bad");
        }
        server::Caller caller;
        caller.id = "user:" + std::string(credential.substr(0, dot));
        caller.method = method();
        caller.claims = {{"profile", {std::string(credential.substr(dot + 1))}}};
        return caller;
    }
    std::atomic<int> asked = 0;
};

struct CompatOptions {
    vault::compat::Config config{vault::compat::SharedSecretConfig{},
                                 vault::compat::BrokerConfig{}};
    bool secret_is_set = true;
    std::string tiers{};  // of budgets; empty: none
    std::string policy{compat_policy};
};

class CompatHouse {
public:
    explicit CompatHouse(CompatOptions options = {}) : options_(std::move(options)) { start(); }

    // A hand in the vault's database while it is stopped, or another configuration.
    void edit(const std::string& sql) {
        stop();
        EXPECT_GT(world.edit(sql), 0);
        start();
    }
    void configure(vault::compat::Config config) {
        stop();
        options_.config = std::move(config);
        start();
    }

    struct Shown {
        std::string secret{};   // in X-RBAC-SYNC-SECRET
        std::string api_key{};  // in X-API-Key
        std::string bearer{};
        std::string certificate{};  // a URI name
    };

    // As by the native API.
    void store_natively(const vault::CredentialId& id, std::string_view secret) {
        server::Caller caller;
        caller.id = "spiffe://strongroom/broker";
        caller.method = server::AuthenticationMethod::client_certificate;
        server::Operation operation(base::Uuid::random(), world.clock.now(), caller);
        const server::Authorizer authorizer(
            server::parse_policy(compat_policy, vault::known_actions()));
        const auto grant = authorizer.authorize(operation, vault::store_credential,
                                                vault::credential_resource(id));
        vault::StoreRequest wanted;
        wanted.secret = base::SecretBytes(base::as_bytes(secret));
        world.service->store(grant, wanted, {});
    }

    // "GET /api/credentials?client_id=a".
    server::Response ask(std::string_view target, std::string_view body, const Shown& shown) {
        return begin(target, body, shown).get();
    }
    std::future<server::Response> begin(std::string_view target, std::string_view body,
                                        const Shown& shown) {
        const auto blank = target.find(' ');
        server::Request request;
        request.method = *server::parse_method(target.substr(0, blank));
        const std::string_view rest = target.substr(blank + 1);
        const auto question = rest.find('?');
        request.path = rest.substr(0, question);
        if (question != std::string_view::npos) request.query = rest.substr(question + 1);
        request.body = body;
        if (!body.empty()) request.headers["content-type"] = "application/json";
        request.peer_address = "192.0.2.7";
        request.received = std::chrono::steady_clock::now();
        if (!shown.secret.empty()) request.headers["x-rbac-sync-secret"] = shown.secret;
        if (!shown.api_key.empty()) request.headers["x-api-key"] = shown.api_key;
        if (!shown.bearer.empty()) request.headers["authorization"] = "Bearer " + shown.bearer;
        if (!shown.certificate.empty()) {
            request.certificate = std::make_shared<const server::PeerCertificate>(
                server::PeerCertificate{"CN=x", {shown.certificate}, "ab"});
        }
        auto promise = std::make_shared<std::promise<server::Response>>();
        gate_->handle(std::move(request), [promise](server::Response answer) {
            promise->set_value(std::move(answer));
        });
        return promise->get_future();
    }

    server::Gate& gate() { return *gate_; }
    // The rows of the table with one of `paths`, as ask() takes them.
    template <typename Paths>
    std::vector<std::string> targets(const Paths& paths) const {
        std::vector<std::string> found;
        for (const auto& route : routes_->routes()) {
            if (std::find(paths.begin(), paths.end(), route.pattern) == paths.end()) continue;
            found.push_back(std::string(to_string(route.method)) + " " +
                            std::string(route.pattern));
        }
        return found;
    }
    const std::vector<server::Route>& rows() const { return routes_->routes(); }
    std::set<std::string_view> patterns() const {
        std::set<std::string_view> all;
        for (const auto& route : routes_->routes()) all.insert(route.pattern);
        return all;
    }
    const UserVerifier& users() const { return *users_; }

    std::string last_record() const {
        std::ifstream file(world.directory / "audit/audit.jsonl");
        std::string line;
        std::string last;
        while (std::getline(file, line)) last = line;
        return last;
    }

    // What the counter of that name stands at; empty: nothing was counted.
    std::string counted(const std::string& name) const {
        const std::string all = metrics.text();
        const std::string before = "\nstrongroom_" + name + "_total{daemon=\"vaultd\"} ";
        const auto at = all.find(before);
        if (at == std::string::npos) return "";
        const auto begin = at + before.size();
        return all.substr(begin, all.find('\n', begin) - begin);
    }

    static std::string secret_of(std::string_view name) {
        return "0123456789abcdef0123456789abcdef-" + std::string(name);
    }
    // An API token of "token:worker", who may do what the broker may, and is the user of `profile`.
    std::string worker_token(std::chrono::seconds lifetime, const std::string& profile = {}) {
        server::Caller caller;
        caller.id = "root";
        caller.method = server::AuthenticationMethod::client_certificate;
        server::Operation operation(base::Uuid::random(), world.clock.now(), caller);
        server::Resource resource;
        resource.kind = "api_token";
        resource.id = "worker";
        const server::Authorizer authorizer(server::parse_policy(
            R"({"version":1,"roles":{"root":[{"id":"all","effect":"allow","actions":["*"],"resources":["*"]}]},
                "bindings":[{"caller":"root","roles":["root"]}]})",
            server::with_api_token_actions({})));
        const auto grant = authorizer.authorize(operation, server::create_api_token, resource);
        const server::Claims claims{{"profile", {profile}}};
        return std::string(tokens_->create(grant, "worker", claims, lifetime).text.expose_text());
    }
    Shown sync() const { return {.secret = secret_of("sync")}; }
    Shown broker() const { return {.api_key = secret_of("broker")}; }

    World world;
    std::unique_ptr<server::Database> database = open_sqlite(world.directory / "compat.db");
    server::Metrics metrics{"vaultd"};

private:
    void stop() {
        gate_.reset();
        routes_.reset();
        shapes_.reset();
    }

    void start() {
        items_ = vault::compat::open_items(options_.config);
        world.copies = items_.get();
        world.start();
        if (!options_.tiers.empty()) {
            budgets_ = std::make_unique<server::Budgets>(
                server::parse_budgets(options_.tiers, vault::known_actions()),
                server::BudgetParts{*database, world.clock, [](auto, const auto&) {}});
        }
        authorizer_ = std::make_unique<server::Authorizer>(
            server::parse_policy(options_.policy, vault::known_actions()), nullptr,
            server::AuthorizerParts{nullptr, nullptr, budgets_.get()});
        server::IdentityConfig identity;
        if (options_.secret_is_set) {
            identity.shared_secrets.emplace().headers = {"x-rbac-sync-secret", "x-api-key"};
        }
        shapes_ = std::make_unique<vault::compat::Shapes>(
            options_.config, identity,
            vault::compat::RefreshParts{*world.service, *database, world.clock, metrics},
            *authorizer_, items_.get());
        routes_ = std::make_unique<server::RouteTable>(shapes_->routes());
        authenticator_ = std::make_unique<server::Authenticator>(identity_parts());
        gate_ = std::make_unique<server::Gate>(server::GateConfig{8, 64}, *routes_, *authenticator_,
                                               *authorizer_, audit_, metrics, world.clock, log_);
    }

    server::AuthenticatorParts identity_parts() {
        server::AuthenticatorParts parts;
        parts.bearers = {tokens_, users_};
        parts.caller_prefixes = {"secret:", "token:", "user:"};
        if (!options_.secret_is_set) return parts;
        std::vector<server::SharedSecretCaller> callers;
        for (const char* name : {"sync", "downloader", "broker", "stranger"}) {
            callers.push_back(
                {name,
                 {server::parse_shared_secret_hash(server::shared_secret_hash(secret_of(name)))}});
        }
        parts.shared_secrets = std::make_shared<server::SharedSecrets>(std::move(callers));
        parts.secret_headers = {"x-rbac-sync-secret", "x-api-key"};
        return parts;
    }

    CompatOptions options_;
    base::Log log_{"test", base::LogLevel::error};
    server::AuditLog audit_{// A busy disk is no reason to refuse.
                            {world.directory / "audit", "vaultd", "node", std::chrono::minutes(1)},
                            world.clock,
                            log_};
    std::shared_ptr<server::ApiTokens> tokens_ =
        std::make_shared<server::ApiTokens>(*database, server::make_shared_secret(), world.clock);
    std::shared_ptr<UserVerifier> users_ = std::make_shared<UserVerifier>();
    std::unique_ptr<server::Budgets> budgets_;
    std::unique_ptr<server::Authorizer> authorizer_;
    std::unique_ptr<vault::compat::DirectusItems> items_;
    std::unique_ptr<vault::compat::Shapes> shapes_;
    std::unique_ptr<server::RouteTable> routes_;
    std::unique_ptr<server::Authenticator> authenticator_;
    std::unique_ptr<server::Gate> gate_;
};

inline bool says(const server::Response& answer, std::string_view text) {
    return std::string_view(answer.body).find(text) != std::string_view::npos;
}

}  // namespace tests
