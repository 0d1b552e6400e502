// The configuration of identity, and the methods built from it.
#include "server/identity_config.h"

#include <gtest/gtest.h>

#include "server/api_token_routes.h"
#include "server/identity_methods.h"
#include "server/policy.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/jwt_signer.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace tests {
namespace {

using server::AuthenticationMethod;

server::IdentityConfig read(const std::string& identity) {
    const base::JsonValue value = base::parse_json("{\"identity\":" + identity + "}");
    base::JsonReader top(value);
    return server::read_identity_config(top, "/etc/strongroom");
}

constexpr const char* issuer =
    R"({"issuer":"https://i","audiences":["kmsd"],"jwks":{"file":"keys.json"}})";

TEST(IdentityConfig, AbsentMeansCertificatesOnly) {
    const base::JsonValue value = base::parse_json("{}");
    base::JsonReader top(value);
    const auto config = server::read_identity_config(top, "/etc/strongroom");
    EXPECT_TRUE(config.client_certificates);
    EXPECT_FALSE(config.api_tokens || config.introspection || config.shared_secrets);
    EXPECT_TRUE(config.jwt.empty() && config.routes.empty());
}

TEST(IdentityConfig, EveryFieldIsRead) {
    const auto config = read(R"({
      "client_certificates": false,
      "api_tokens": {"key_file": "t.key", "max_days": 7},
      "jwt": [{"issuer": "https://i", "audiences": ["kmsd", "both"], "caller_prefix": "idp:",
               "caller_claim": "client_id", "claims": {"groups": "/groups"},
               "leeway_seconds": 5, "max_lifetime_seconds": 3600,
               "jwks": {"url": "https://i/jwks", "ca": "ca.pem", "deadline_ms": 500,
                        "refresh_seconds": 60, "pause_seconds": 20, "keep_seconds": 600}}],
      "introspection": {"url": "https://d", "ca": "ca.pem", "caller_prefix": "cms:",
                        "cache_seconds": 3, "max_concurrent": 3, "deadline_ms": 700},
      "shared_secrets": {"header": "X-RBAC-SYNC-SECRET", "also": ["X-API-Key"],
                         "callers": [{"name": "sync", "hash_files": ["a", "/b"]}]},
      "routes": [{"path": "/v1/keys", "methods": ["jwt", "api_token"]}]})");
    EXPECT_FALSE(config.client_certificates);
    EXPECT_EQ(config.api_tokens->max_lifetime, std::chrono::days(7));
    EXPECT_EQ(config.api_tokens->key_file, "/etc/strongroom/t.key");
    const auto& jwt = config.jwt.at(0);
    EXPECT_EQ(jwt.rules.issuer, "https://i");
    EXPECT_EQ(jwt.rules.audiences, (std::vector<std::string>{"kmsd", "both"}));
    EXPECT_EQ(jwt.rules.caller_prefix, "idp:");
    EXPECT_EQ(jwt.rules.caller_claim, "client_id");
    EXPECT_EQ(jwt.rules.claims.at("groups"), "/groups");
    EXPECT_EQ(jwt.rules.leeway, std::chrono::seconds(5));
    EXPECT_EQ(jwt.rules.max_lifetime, std::chrono::seconds(3600));
    EXPECT_EQ(jwt.https->url, "https://i/jwks");
    EXPECT_EQ(jwt.https->ca, "/etc/strongroom/ca.pem");
    EXPECT_EQ(jwt.https->deadline, std::chrono::milliseconds(500));
    EXPECT_EQ(jwt.times.refresh, std::chrono::seconds(60));
    EXPECT_EQ(jwt.times.pause, std::chrono::seconds(20));
    EXPECT_EQ(jwt.times.keep, std::chrono::seconds(600));
    EXPECT_EQ(config.introspection->https.url, "https://d");
    EXPECT_EQ(config.introspection->rules.caller_prefix, "cms:");
    EXPECT_EQ(config.introspection->rules.cache, std::chrono::seconds(3));
    EXPECT_EQ(config.introspection->rules.max_concurrent, 3U);
    EXPECT_EQ(config.introspection->rules.max_concurrent_per_peer, 2U);
    EXPECT_EQ(config.shared_secrets->headers,
              (std::vector<std::string>{"x-rbac-sync-secret", "x-api-key"}));
    EXPECT_EQ(config.shared_secrets->callers.at(0).hash_files,
              (std::vector<std::filesystem::path>{"/etc/strongroom/a", "/b"}));
    EXPECT_EQ(config.routes.at(0).methods,
              (std::set{AuthenticationMethod::jwt, AuthenticationMethod::api_token}));
}

TEST(IdentityConfig, AnythingElseIsRefusedByField) {
    const std::string jwt_start = R"({"jwt":[{"issuer":"https://i","audiences":["a"],)";
    for (
        const std::string& text :
        {std::string(R"({"more":1})"),
         std::string(R"({"api_tokens":{"max_days":9}})"),
         std::string(R"({"api_tokens":{"key_file":"k","max_days":0}})"),
         std::string(R"({"api_tokens":true})"),
         std::string(R"({"jwt":[]})"),
         std::string(R"({"jwt":[{"issuer":"i","audiences":[],"jwks":{"file":"f"}}]})"),
         jwt_start + R"("jwks":{}}]})",
         jwt_start + R"("jwks":{"file":"f","url":"https://u"}}]})",
         jwt_start + R"("jwks":{"url":"http://u"}}]})",
         jwt_start + R"("jwks":{"file":"f","keep_seconds":1}}]})",
         jwt_start + R"("jwks":{"file":"f"},"caller_prefix":"spiffe:"}]})",
         jwt_start + R"("jwks":{"file":"f"},"caller_prefix":"token:"}]})",
         jwt_start + R"("jwks":{"file":"f"},"caller_prefix":"jwt"}]})",
         jwt_start + R"("jwks":{"file":"f"},"claims":{"g":"groups"}}]})",
         jwt_start + R"("jwks":{"file":"f"},"claims":{"issuer":"/x"}}]})",
         "{\"jwt\":[" + std::string(issuer) + "," + issuer + "]}",
         std::string(R"({"introspection":{"url":"https://d?x"}})"),
         std::string(R"({"introspection":{"url":"https://d","cache_seconds":61}})"),
         "{\"jwt\":[" + std::string(issuer) +
             R"(],"introspection":{"url":"https://d","caller_prefix":"jwt:d:"}})",
         std::string(R"({"shared_secrets":{"callers":[]}})"),
         std::string(R"({"shared_secrets":{"callers":[{"name":"s","hash_files":[]}]}})"),
         std::string(R"({"shared_secrets":{"callers":[{"name":"S","hash_files":["f"]}]}})"),
         std::string(
             R"({"shared_secrets":{"header":"Authorization","callers":[{"name":"s","hash_files":["f"]}]}})"),
         std::string(
             R"({"shared_secrets":{"also":["Cookie"],"callers":[{"name":"s","hash_files":["f"]}]}})"),
         std::string(
             R"({"shared_secrets":{"header":"a","also":["A"],"callers":[{"name":"s","hash_files":["f"]}]}})"),
         std::string(R"({"routes":[{"path":"v1","methods":["jwt"]}]})"),
         std::string(R"({"routes":[{"path":"/v1","methods":[]}]})"),
         std::string(R"({"routes":[{"path":"/v1","methods":["none"]}]})"),
         std::string(R"({"routes":[{"path":"/v1","methods":["password"]}]})")}) {
        EXPECT_ERROR(invalid_argument, read(text));
    }
}

class IdentityMethodsTest : public testing::Test {
protected:
    std::unique_ptr<server::IdentityMethods> make(const std::string& identity) {
        const base::JsonValue value = base::parse_json("{\"identity\":" + identity + "}");
        base::JsonReader top(value);
        config_ = server::read_identity_config(top, folder_.path());
        return std::make_unique<server::IdentityMethods>(config_, *database_, authorizer_, clock_,
                                                         log_);
    }
    static server::Caller ask(const server::IdentityMethods& methods, const std::string& bearer,
                              const std::string& secret = {}) {
        server::Request request;
        if (!bearer.empty()) request.headers["authorization"] = "Bearer " + bearer;
        if (!secret.empty()) request.headers["x-sync"] = secret;
        return methods.authenticator().authenticate(request, "/v1/keys");
    }
    std::string token(const JwtSigner& signer) const {
        return signer.token(R"({"iss":"https://i","sub":"alice","aud":"kmsd","exp":1800000300})");
    }

    TemporaryDirectory folder_;
    FakeClock clock_;
    base::Log log_{"test", base::LogLevel::error};
    std::unique_ptr<server::Database> database_ = open_sqlite(folder_ / "tokens.db");
    server::Authorizer authorizer_{
        server::parse_policy(R"({"version":1,"roles":{},"bindings":[]})", {})};
    server::IdentityConfig config_;
};

TEST_F(IdentityMethodsTest, AReloadTakesNewKeysAndNewSecrets) {
    const JwtSigner old_key("old");
    const JwtSigner new_key("new");
    const auto old_secret = server::make_shared_secret();
    const auto new_secret = server::make_shared_secret();
    const auto write_hash = [&](const base::SecretBytes& secret) {
        folder_.write("sync.hash", server::shared_secret_hash(secret.expose_text()) + "\n", 0600);
    };
    folder_.write("keys.json", jwk_set({old_key.jwk()}), 0600);
    write_hash(old_secret);
    const auto methods = make("{\"jwt\":[" + std::string(issuer) +
                              R"(],"shared_secrets":{"header":"x-sync",
              "callers":[{"name":"sync","hash_files":["sync.hash"]}]}})");
    EXPECT_EQ(ask(*methods, token(old_key)).id, "jwt:alice");
    EXPECT_EQ(ask(*methods, {}, std::string(old_secret.expose_text())).id, "secret:sync");

    folder_.write("keys.json", jwk_set({new_key.jwk()}), 0600);
    write_hash(new_secret);
    const auto step = methods->reload_step();
    EXPECT_EQ(step.watched.size(), 2U);
    step.run();
    EXPECT_EQ(ask(*methods, token(new_key)).id, "jwt:alice");
    EXPECT_ERROR(unauthenticated, ask(*methods, token(old_key)));
    EXPECT_EQ(ask(*methods, {}, std::string(new_secret.expose_text())).id, "secret:sync");
    EXPECT_ERROR(unauthenticated, ask(*methods, {}, std::string(old_secret.expose_text())));

    // What is no good does not take the place of what is, nor does what stands beside it.
    folder_.write("keys.json", "{}", 0600);
    write_hash(old_secret);
    EXPECT_ERROR(failed_precondition, step.run());
    EXPECT_EQ(ask(*methods, token(new_key)).id, "jwt:alice");
    EXPECT_EQ(ask(*methods, {}, std::string(new_secret.expose_text())).id, "secret:sync");
    folder_.write("sync.hash", "something\n", 0600);
    EXPECT_ERROR(failed_precondition, step.run());
    EXPECT_EQ(ask(*methods, {}, std::string(new_secret.expose_text())).id, "secret:sync");
}

TEST_F(IdentityMethodsTest, AWrongFileIsRefusedAtTheStartByName) {
    const std::string jwt = "{\"jwt\":[" + std::string(issuer) + "]}";
    EXPECT_ERROR_SAYING(failed_precondition, "keys.json", make(jwt));
    EXPECT_ERROR_SAYING(failed_precondition, "keys.json", server::check_identity_files(config_));
    folder_.write("keys.json", R"({"keys":[]})", 0600);
    EXPECT_ERROR_SAYING(failed_precondition, "keys.json", make(jwt));
    const std::string secrets =
        R"({"shared_secrets":{"callers":[{"name":"sync","hash_files":["sync.hash"]}]}})";
    folder_.write("sync.hash", "the secret itself, by mistake", 0600);
    EXPECT_ERROR_SAYING(failed_precondition, "sync.hash", make(secrets));
}

TEST_F(IdentityMethodsTest, AnIssuerThatDoesNotAnswerKeepsNobodyFromStarting) {
    const auto methods = make(R"({"jwt":[{"issuer":"https://i","audiences":["kmsd"],
        "jwks":{"url":"https://127.0.0.1:1/jwks","deadline_ms":200}}]})");
    EXPECT_ERROR(unavailable, ask(*methods, token(JwtSigner("k"))));
}

TEST_F(IdentityMethodsTest, TokenRoutesAreThereWhereTokensAre) {
    EXPECT_ERROR_SAYING(failed_precondition, "t.key",
                        make(R"({"api_tokens":{"key_file":"t.key"}})"));
    folder_.write("t.key", std::string(31, 'k'), 0600);
    EXPECT_ERROR_SAYING(failed_precondition, "t.key",
                        make(R"({"api_tokens":{"key_file":"t.key"}})"));
    folder_.write("t.key", std::string(32, 'k'), 0600);
    EXPECT_TRUE(make("{}")->routes().empty());
    EXPECT_EQ(make(R"({"api_tokens":{"key_file":"t.key"}})")->routes().size(), 3U);
}

TEST_F(IdentityMethodsTest, ARuleThatFitsNoRouteIsRefused) {
    folder_.write("t.key", std::string(32, 'k'), 0600);
    const auto methods = make(R"({"api_tokens":{"key_file":"t.key"},"routes":[
        {"path":"/v1/api-tokens","methods":["client_certificate"]}]})");
    const server::RouteTable routes(methods->routes());
    EXPECT_NO_THROW(server::check_identity_routes(config_, routes));
    config_.routes[0].path = "/v1/api-token";
    EXPECT_ERROR_SAYING(invalid_argument, "/v1/api-token",
                        server::check_identity_routes(config_, routes));
}

}  // namespace
}  // namespace tests
