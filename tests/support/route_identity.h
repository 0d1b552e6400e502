// Every route of a daemon against every kind of wrong caller, through a real gate with all methods
// of identity at once. For both daemons, since the rule is one.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_token_routes.h"
#include "server/audit_sealer.h"
#include "server/budget.h"
#include "server/common_routes.h"
#include "server/gate.h"
#include "server/https_client.h"
#include "server/introspection.h"
#include "server/jwt_verifier.h"
#include "server/policy.h"
#include "server/shared_secret.h"
#include "tests/support/fake_clock.h"
#include "tests/support/intents.h"
#include "tests/support/jwt_signer.h"
#include "tests/support/software_signer.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"

namespace tests {

// What a request shows of itself.
struct Shown {
    std::string authorization;
    std::string secret;
    std::string certificate;  // a URI name
};

// An identity provider that knows one user by the tokens that it was told of.
class IdentityProvider {
public:
    explicit IdentityProvider(TestPki& pki)
        : peer_(pki.server("provider"), {},
                [this](const auto& request) { return answer(request); }) {}
    void know(const std::string& token, bool known = true) {
        const std::lock_guard lock(mutex_);
        if (known) {
            tokens_.insert(token);
        } else {
            tokens_.erase(token);
        }
    }
    void break_off_from_now_on() {
        const std::lock_guard lock(mutex_);
        is_broken_ = true;
    }
    std::string url() const { return peer_.url(); }

private:
    PeerReply answer(const std::string& request) {
        const std::lock_guard lock(mutex_);
        if (is_broken_) return {"", PeerReply::Then::reset};
        for (const std::string& token : tokens_) {
            if (request.find("Authorization: Bearer " + token + "\r\n") != std::string::npos)
                return {http_answer(200, R"({"data":{"id":"stranger","role":"r"}})")};
        }
        return {http_answer(401, R"({"errors":[{"message":"Invalid user credentials."}]})")};
    }

    std::mutex mutex_;
    std::set<std::string> tokens_;
    bool is_broken_ = false;
    TlsPeer peer_;
};

class RouteIdentityHouse {
public:
    // `make_rows` gets what every daemon serves beside its own API, and gives the daemon's whole
    // table; all rows ask `authorizer`, which must outlive the house.
    RouteIdentityHouse(
        const server::Authorizer& authorizer, server::Action back_up,
        const std::function<std::vector<server::Route>(std::vector<server::Route>)>& make_rows)
        : authorizer_(authorizer),
          routes_(make_rows(server::common_routes(
              {server::api_token_routes(tokens_, authorizer, std::chrono::hours(24)), &sealer_,
               &budgets_, *database_, authorizer, clock_, back_up, "test"}))) {}

    const std::vector<server::Route>& routes() const { return routes_.routes(); }
    std::set<std::string_view> patterns() const {
        std::set<std::string_view> all;
        for (const auto& route : routes()) all.insert(route.pattern);
        return all;
    }

    // Credentials that were never good, or are no more.
    std::map<std::string, Shown> wrong() {
        const std::string expired = make_token(std::chrono::seconds(60));
        clock_.advance(std::chrono::seconds(60));
        std::string altered = make_token();
        altered.back() = altered.back() == 'A' ? 'E' : 'A';
        std::string forged = signer_.token(claims(300));
        forged[forged.size() - 20] = forged[forged.size() - 20] == 'A' ? 'B' : 'A';
        return {
            {"nothing", {}},
            {"a bearer that the provider does not know", {"Bearer something", {}, {}}},
            {"a token that the provider revoked", revoked_by_provider()},
            {"another scheme", {"Basic c29tZTp0aGluZw==", {}, {}}},
            {"an expired token", {"Bearer " + expired, {}, {}}},
            {"an altered token", {"Bearer " + altered, {}, {}}},
            {"a revoked token", {"Bearer " + make_revoked_token(), {}, {}}},
            {"an expired JWT", {"Bearer " + signer_.token(claims(-300)), {}, {}}},
            {"a forged JWT", {"Bearer " + forged, {}, {}}},
            {"an unsigned JWT",
             {"Bearer " + unsigned_token(R"({"alg":"none","kid":"k"})", claims(300)), {}, {}}},
            {"a JWT for others", {"Bearer " + signer_.token(claims(300, "other")), {}, {}}},
            {"a wrong secret", {{}, std::string(43, 'x'), {}}},
            {"a good secret and a good token",
             {"Bearer " + make_token(), std::string(secret_.expose_text()), {}}},
            {"a wrong bearer on a good connection", {"Bearer x.y.z", {}, "spiffe://t/stranger"}},
            {"another method's name", {{}, {}, "token:stranger"}},
        };
    }

    // Good credentials of callers whom no policy gives anything.
    std::map<std::string, Shown> without_right() {
        return {{"token", {"Bearer " + make_token(), {}, {}}},
                {"JWT", {"Bearer " + signer_.token(claims(300)), {}, {}}},
                {"secret", {{}, std::string(secret_.expose_text()), {}}},
                {"introspection", known_to_provider()},
                {"certificate", {{}, {}, "spiffe://t/stranger"}}};
    }

    std::future<server::Response> send(const server::Route& route, const Shown& shown,
                                       const std::map<std::string, std::string>& parameters,
                                       std::string_view body = {}, std::string_view query = {}) {
        server::Request request;
        request.method = route.method;
        request.path = path_of(route.pattern, parameters);
        request.query = query;
        request.peer_address = "192.0.2.7";
        request.received = std::chrono::steady_clock::now();
        if (route.max_body_bytes > 0) request.body = body;
        if (!request.body.empty()) request.headers["content-type"] = "application/json";
        if (!shown.authorization.empty()) request.headers["authorization"] = shown.authorization;
        if (!shown.secret.empty()) request.headers["x-secret"] = shown.secret;
        if (!shown.certificate.empty()) {
            request.certificate = std::make_shared<const server::PeerCertificate>(
                server::PeerCertificate{"CN=x", {shown.certificate}, "ab"});
        }
        auto promise = std::make_shared<std::promise<server::Response>>();
        // As the edge does: the head first.
        auto admitted = gate_.admit(request);
        if (auto* refusal = std::get_if<server::Response>(&admitted)) {
            promise->set_value(std::move(*refusal));
            return promise->get_future();
        }
        EXPECT_LE(request.body.size(), std::get<std::size_t>(admitted));
        gate_.handle(std::move(request), [promise](server::Response response) {
            promise->set_value(std::move(response));
        });
        return promise->get_future();
    }

    // Good credentials of somebody whom only the provider knows.
    Shown known_to_provider() {
        provider_.know("users-token");
        return {"Bearer users-token", {}, {}};
    }
    void break_provider() { provider_.break_off_from_now_on(); }

    std::string make_token(std::chrono::seconds lifetime = std::chrono::hours(1)) {
        return std::string(create(lifetime).text.expose_text());
    }

private:
    static std::string path_of(std::string_view pattern,
                               const std::map<std::string, std::string>& parameters) {
        std::string path(pattern);
        for (std::size_t open = 0; (open = path.find('{')) != std::string::npos;) {
            const std::size_t close = path.find('}', open);
            const auto found = parameters.find(path.substr(open + 1, close - open - 1));
            path.replace(open, close - open + 1, found == parameters.end() ? "x" : found->second);
        }
        return path;
    }

    std::string claims(int expires_in, std::string_view audience = "us") const {
        const auto now = base::to_milliseconds(clock_.now()) / 1000;
        return R"({"iss":"https://issuer","sub":"stranger","aud":")" + std::string(audience) +
               R"(","exp":)" + std::to_string(now + expires_in) + "}";
    }

    server::Grant grant(server::Operation& operation, server::Action action) {
        server::Resource resource;
        resource.kind = "api_token";
        resource.id = "stranger";
        return issuer_.authorize(operation, action, resource);
    }
    server::Operation operation() const {
        server::Caller caller;
        caller.id = "root";
        caller.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock_.now(), caller};
    }
    server::MadeApiToken create(std::chrono::seconds lifetime) {
        auto order = operation();
        return tokens_.create(grant(order, server::create_api_token), "stranger", {}, lifetime);
    }
    // One that was good a moment ago.
    Shown revoked_by_provider() {
        const std::string token = "revoked-token";
        const Shown shown{"Bearer " + token, {}, {}};
        provider_.know(token);
        for (const auto& route : routes()) {
            if (route.access == server::Access::open) continue;
            EXPECT_EQ(send(route, shown, {}).get().status, 403U) << route.pattern;
            break;
        }
        provider_.know(token, false);
        return shown;
    }
    std::string make_revoked_token() {
        const auto made = create(std::chrono::hours(1));
        auto order = operation();
        tokens_.revoke(grant(order, server::revoke_api_token), made.token.id);
        return std::string(made.text.expose_text());
    }

    server::Authenticator make_authenticator() {
        auto keys = std::make_shared<server::JwksSource>(
            "https://issuer", [this] { return jwk_set({signer_.jwk()}); }, server::JwksTimes{},
            log_);
        keys->refresh_if_due();  // as a daemon does at its start: nobody waits for another's fetch
        server::JwtRules rules;
        rules.issuer = "https://issuer";
        rules.audiences = {"us"};
        rules.caller_prefix = "jwt:";
        server::AuthenticatorParts parts;
        // Not owned: the house outlives them.
        parts.bearers = {{std::shared_ptr<void>(), &tokens_},
                         std::make_shared<server::JwtVerifier>(
                             std::vector<server::JwtIssuer>{{rules, keys}}, clock_),
                         make_introspection()};
        const auto hash = server::shared_secret_hash(secret_.expose_text());
        parts.shared_secrets =
            std::make_shared<server::SharedSecrets>(std::vector<server::SharedSecretCaller>{
                {"stranger", {server::parse_shared_secret_hash(hash)}}});
        parts.secret_headers = {"x-secret"};
        parts.caller_prefixes = {"token:", "secret:", "jwt:", "directus:"};
        return server::Authenticator(std::move(parts));
    }
    std::shared_ptr<server::Introspection> make_introspection() {
        auto https = std::make_shared<server::HttpsClient>(
            server::HttpsConfig{provider_.url(), pki_.ca(), std::chrono::seconds(10), 4096});
        return std::make_shared<server::Introspection>(
            [https](std::string_view bearer) { return https->get("/users/me", bearer); },
            server::IntrospectionRules{});
    }

    TemporaryDirectory directory_;
    FakeClock clock_;
    base::Log log_{"test", base::LogLevel::error};
    std::unique_ptr<server::Database> database_ = open_sqlite(directory_ / "tokens.db");
    server::ApiTokens tokens_{*database_, server::make_shared_secret(), clock_};
    JwtSigner signer_{"k", server::JwtAlgorithm::EdDSA};
    TestPki pki_{directory_ / "pki"};
    IdentityProvider provider_{pki_};
    base::SecretBytes secret_ = server::make_shared_secret();
    server::Authorizer issuer_{server::parse_policy(
        R"({"version":1,"roles":{"root":[{"id":"all","effect":"allow","actions":["*"],"resources":["*"]}]},
            "bindings":[{"caller":"root","roles":["root"]}]})",
        server::with_api_token_actions({}))};
    const server::Authorizer& authorizer_;
    server::AuditLog audit_{
        {directory_.path() / "audit", "test", "node", std::chrono::milliseconds(5000)},
        clock_,
        log_};
    server::AuditSealer sealer_{audit_, SoftwareSigner(server::NoteAlgorithm::ed25519).share(),
                                server::SealConfig{1'000'000,
                                                   std::chrono::hours(1),
                                                   {},
                                                   std::chrono::days{0},
                                                   std::chrono::milliseconds(2000)},
                                clock_, log_};
    server::Budgets budgets_{
        server::parse_budgets(R"({"version":1,"tiers":{"t":[]},"bindings":[],"default":"t"})", {}),
        server::BudgetParts{*database_, clock_, [](std::string_view, const auto&) {}}};
    server::RouteTable routes_;
    server::Authenticator authenticator_ = make_authenticator();
    server::Metrics metrics_{"test"};
    server::Gate gate_{{2, 4096}, routes_,  authenticator_, authorizer_,
                       audit_,    metrics_, clock_,         log_};
};

// The routes that need no identity, as "GET /healthz": whoever opens another one has to say so in
// the daemon's test.
using OpenRoutes = std::set<std::string>;

inline std::string name_of(const server::Route& route) {
    return std::string(to_string(route.method)) + " " + std::string(route.pattern);
}

// Whoever proves nothing, or something wrong, gets 401 from every route that is not among `open`,
// whatever else the request says, and hears nothing back of what was shown.
inline void expect_wrong_callers_are_refused(RouteIdentityHouse& house,
                                             const std::map<std::string, std::string>& parameters,
                                             const OpenRoutes& open_routes) {
    OpenRoutes opened;
    for (const auto& route : house.routes()) {
        if (route.access == server::Access::open) opened.insert(name_of(route));
    }
    EXPECT_EQ(opened, open_routes);
    for (const auto& [what, shown] : house.wrong()) {
        std::vector<std::future<server::Response>> answers;
        for (const auto& route : house.routes()) {
            answers.push_back(house.send(route, shown, parameters, "{}"));
        }
        for (std::size_t i = 0; i < answers.size(); ++i) {
            const auto& route = house.routes()[i];
            const auto answer = answers[i].get();
            const bool open = open_routes.contains(name_of(route));
            EXPECT_EQ(answer.status, open ? 200U : 401U) << what << " at " << route.pattern;
            if (open) continue;
            const auto is_challenge = [](const auto& header) {
                return header.first == "WWW-Authenticate" && header.second.starts_with("Bearer ");
            };
            EXPECT_EQ(std::count_if(answer.headers.begin(), answer.headers.end(), is_challenge), 1)
                << what;
            const std::string_view body = answer.body;
            EXPECT_NE(body.find(R"("code":"unauthenticated")"), std::string_view::npos) << body;
            const std::string_view bearer =
                std::string_view(shown.authorization)
                    .substr(std::min<std::size_t>(7, shown.authorization.size()));
            if (!bearer.empty()) {
                EXPECT_EQ(body.find(bearer), std::string_view::npos) << what;
            }
            if (!shown.secret.empty()) {
                EXPECT_EQ(body.find(shown.secret), std::string_view::npos) << what;
            }
        }
    }
}

// While the provider does not answer, who has only its word gets 503 from every route that is not
// among `open_routes`, and hears nothing back of his token.
inline void expect_no_word_of_the_provider_lets_nobody_in(
    RouteIdentityHouse& house, const std::map<std::string, std::string>& parameters,
    const OpenRoutes& open_routes) {
    const Shown shown = house.known_to_provider();
    house.break_provider();
    std::vector<std::future<server::Response>> answers;
    for (const auto& route : house.routes()) {
        answers.push_back(house.send(route, shown, parameters, "{}"));
    }
    for (std::size_t i = 0; i < answers.size(); ++i) {
        const std::string name = name_of(house.routes()[i]);
        const auto answer = answers[i].get();
        const bool open = open_routes.contains(name);
        EXPECT_EQ(answer.status, open ? 200U : 503U) << name;
        if (open) continue;
        const std::string_view body = answer.body;
        EXPECT_NE(body.find(R"("code":"unavailable")"), std::string_view::npos) << body;
        EXPECT_EQ(body.find(shown.authorization.substr(7)), std::string_view::npos) << body;
    }
}

// A caller without any right gets 403 from every route that is not among `open_routes`. `bodies`
// has a well-formed one for each route that takes one.
inline void expect_no_right_is_no_answer(RouteIdentityHouse& house,
                                         const std::map<std::string, std::string>& parameters,
                                         const std::map<std::string, std::string>& bodies,
                                         const OpenRoutes& open_routes) {
    for (const auto& [how, shown] : house.without_right()) {
        std::vector<std::future<server::Response>> answers;
        for (const auto& route : house.routes()) {
            const auto body = bodies.find(name_of(route));
            answers.push_back(
                house.send(route, shown, parameters, body == bodies.end() ? "{}" : body->second));
        }
        for (std::size_t i = 0; i < answers.size(); ++i) {
            const auto& route = house.routes()[i];
            const auto answer = answers[i].get();
            EXPECT_EQ(answer.status, open_routes.contains(name_of(route)) ? 200U : 403U)
                << how << ": " << name_of(route) << "\n"
                << answer.body;
        }
    }
}

// Nor is there one to a request that nothing is right with: not even what is wrong.
inline void expect_no_right_learns_nothing(RouteIdentityHouse& house) {
    for (const auto& [how, shown] : house.without_right()) {
        for (const auto& [body, query] : {std::pair("{", ""), std::pair("[1]", ""),
                                          std::pair("{\"x\":1}", ""), std::pair("", "x=1")}) {
            std::vector<std::future<server::Response>> answers;
            for (const auto& route : house.routes()) {
                answers.push_back(house.send(route, shown, {}, body, query));
            }
            for (std::size_t i = 0; i < answers.size(); ++i) {
                const auto& route = house.routes()[i];
                if (route.access == server::Access::open) continue;
                const auto answer = answers[i].get();
                EXPECT_EQ(answer.status, 403U) << how << ": " << to_string(route.method) << " "
                                               << route.pattern << " " << body << query << "\n"
                                               << answer.body;
            }
        }
    }
}

}  // namespace tests
