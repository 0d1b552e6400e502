// API tokens: made, used, listed and revoked, on a real database and through the gate.
#include "server/api_tokens.h"

#include <gtest/gtest.h>

#include <fstream>

#include "server/api_token_routes.h"
#include "server/digest.h"
#include "server/policy.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/route_calls.h"
#include "tests/support/sql_store.h"
#include "tests/support/temporary_directory.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using server::Method;

// "maker" makes tokens ci-*, gives the claim team=payments, lists; revokes ci-*. "root" has every
// right. "token:root-2" has them, too.
constexpr std::string_view token_policy = R"({"version":1,
  "roles":{
    "maker":[
      {"id":"maker-make","effect":"allow","actions":["create_api_token","revoke_api_token"],
       "resources":["api_token:ci-*"]},
      {"id":"maker-list","effect":"allow","actions":["list_api_tokens"],"resources":["*"]},
      {"id":"maker-claims","effect":"allow","actions":["grant_claim"],
       "resources":["claim:team=payments"]}],
    "root":[{"id":"root-all","effect":"allow","actions":["*"],"resources":["*"]}]},
  "bindings":[{"caller":"maker","roles":["maker"]},{"caller":"root","roles":["root"]},
              {"caller":"token:root-2","roles":["root"]}]})";

base::SecretBytes hash_key(char filling = 'k') {
    return base::SecretBytes(base::as_bytes(std::string(32, filling)));
}

class ApiTokensTest : public testing::Test {
protected:
    static server::Caller certificate(std::string id) {
        server::Caller caller;
        caller.id = std::move(id);
        caller.method = server::AuthenticationMethod::client_certificate;
        return caller;
    }

    server::Response call(const server::Caller& caller, Method method, const std::string& path,
                          std::string_view body = {}, const std::string& query = {}) {
        operation_ =
            std::make_unique<server::Operation>(base::Uuid::random(), clock_.now(), caller);
        server::Request request;
        request.method = method;
        request.path = path;
        request.query = query;
        request.body = body;
        return call_route(routes_, *operation_, std::move(request));
    }
    base::JsonValue make(std::string_view body, const std::string& who = "maker") {
        const auto answer = call(certificate(who), Method::POST, "/v1/api-tokens", body);
        EXPECT_EQ(answer.status, 201U) << answer.body;
        return base::parse_json(answer.body);
    }
    unsigned status_of_making(std::string_view body, const std::string& who = "maker") {
        return call(certificate(who), Method::POST, "/v1/api-tokens", body).status;
    }
    std::string reason_of(std::string_view credential) {
        try {
            tokens_->verify(credential);
            return {};
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unauthenticated);
            EXPECT_EQ(error.message(), "the credential is not accepted");
            return error.detail();
        }
    }
    std::string stored() const {
        std::ifstream file(folder_ / "tokens.db", std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    TemporaryDirectory folder_;
    FakeClock clock_;
    std::unique_ptr<server::Database> database_ = open_sqlite(folder_ / "tokens.db");
    std::unique_ptr<server::ApiTokens> tokens_ =
        std::make_unique<server::ApiTokens>(*database_, hash_key(), clock_);
    server::Authorizer authorizer_{
        server::parse_policy(token_policy, server::with_api_token_actions({}))};
    server::RouteTable routes_{server::api_token_routes(*tokens_, authorizer_, 24h)};
    std::unique_ptr<server::Operation> operation_;
};

TEST_F(ApiTokensTest, AMadeTokenNamesItsCallerWithItsClaims) {
    const auto made =
        make(R"({"name":"ci-1","claims":{"team":["payments"]},"expires_in_seconds":60})");
    const std::string token = text_in(made, "token");
    EXPECT_TRUE(tokens_->recognizes(token));
    const auto caller = tokens_->verify(token);
    EXPECT_EQ(caller.id, "token:ci-1");
    EXPECT_EQ(caller.method, server::AuthenticationMethod::api_token);
    EXPECT_EQ(caller.credential, text_in(made, "id"));
    const server::Claims expected = {{"team", {"payments"}}, {"token_id", {caller.credential}}};
    EXPECT_EQ(caller.claims, expected);
    EXPECT_EQ(text_in(made, "caller"), "token:ci-1");
    EXPECT_EQ(text_in(made, "made_by"), "maker");
}

TEST_F(ApiTokensTest, WhatIsStoredIsAHash) {
    const std::string token = text_in(make(R"({"name":"ci-1"})"), "token");
    const std::string secret = token.substr(21);  // behind srt_<id>_
    EXPECT_EQ(stored().find(secret), std::string::npos);
    EXPECT_EQ(stored().find(server::Sha256().hex(token)), std::string::npos);
    const auto list = call(certificate("maker"), Method::GET, "/v1/api-tokens");
    EXPECT_EQ(std::string_view(list.body).find(secret), std::string_view::npos);
    EXPECT_EQ(std::string_view(list.body).find("hash"), std::string_view::npos);
}

TEST_F(ApiTokensTest, EveryAlteredCharacterIsRefused) {
    const std::string token = text_in(make(R"({"name":"ci-1"})"), "token");
    ASSERT_EQ(reason_of(token), "");
    for (std::size_t i = 0; i < token.size(); ++i) {
        std::string other = token;
        other[i] = other[i] == 'a' ? 'b' : 'a';
        EXPECT_NE(reason_of(other), "") << i;
    }
    for (const std::string& other :
         {std::string(), std::string("srt_"), token + "a", token.substr(0, token.size() - 1),
          "srt_" + std::string(60, '_'), "srt_' OR 1=1 --" + std::string(49, 'a')}) {
        EXPECT_NE(reason_of(other), "");
    }
}

TEST_F(ApiTokensTest, RevocationHoldsFromTheAnswerOnAlsoAfterARestart) {
    const auto made = make(R"({"name":"ci-1"})");
    const std::string token = text_in(made, "token");
    const std::string path = "/v1/api-tokens/" + text_in(made, "id");
    ASSERT_EQ(reason_of(token), "");
    const auto answer = call(certificate("maker"), Method::DELETE, path);
    ASSERT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(reason_of(token), "token_revoked");
    const std::string when = text_in(base::parse_json(answer.body), "revoked_at");
    // A second time changes nothing.
    clock_.advance(1h);
    const auto again = base::parse_json(call(certificate("root"), Method::DELETE, path).body);
    EXPECT_EQ(text_in(again, "revoked_at"), when);
    EXPECT_EQ(text_in(again, "revoked_by"), "maker");
    tokens_.reset();
    database_.reset();
    database_ = open_sqlite(folder_ / "tokens.db");
    tokens_ = std::make_unique<server::ApiTokens>(*database_, hash_key(), clock_);
    EXPECT_EQ(reason_of(token), "token_revoked");
}

TEST_F(ApiTokensTest, AHandInTheDatabaseMakesNoTokenAndChangesNone) {
    const std::string token = text_in(
        make(R"({"name":"ci-1","claims":{"team":["payments"]},"expires_in_seconds":60})"), "token");
    const std::string other = text_in(make(R"({"name":"ci-2"})"), "token");
    const auto change = [&](const std::string& sql) {
        database_->write([&](server::Session& session) { session << sql; });
    };
    const std::string id = token.substr(4, 16);
    const auto with = [&](const std::string& column, const std::string& value) {
        std::string before;
        database_->read([&](server::Session& session) {
            session << "SELECT " + column + " FROM api_tokens WHERE id = '" + id + "'",
                soci::into(before);
        });
        change("UPDATE api_tokens SET " + column + " = '" + value + "' WHERE id = '" + id + "'");
        const std::string reason = reason_of(token);
        change("UPDATE api_tokens SET " + column + " = '" + before + "' WHERE id = '" + id + "'");
        return reason;
    };
    ASSERT_EQ(reason_of(token), "");
    EXPECT_EQ(with("name", "root-2"), "token_unknown");
    EXPECT_EQ(with("claims", R"({"team":["root"]})"), "token_unknown");
    EXPECT_EQ(with("made_by", "root"), "token_unknown");
    EXPECT_EQ(with("hash", server::Sha256().hex(token)), "token_unknown");
    EXPECT_EQ(reason_of(token), "");
    change("UPDATE api_tokens SET expires_at = expires_at + 1000 WHERE id = '" + id + "'");
    EXPECT_EQ(reason_of(token), "token_unknown");
    // One's own row under another's name.
    change("UPDATE api_tokens SET hash = (SELECT hash FROM api_tokens WHERE id = '" +
           other.substr(4, 16) + "') WHERE id = '" + id + "'");
    EXPECT_EQ(reason_of("srt_" + id + other.substr(20)), "token_unknown");
    // Nor is a token known under another key, or without one.
    server::ApiTokens elsewhere(*database_, hash_key('x'), clock_);
    EXPECT_ERROR(unauthenticated, elsewhere.verify(other));
    EXPECT_ERROR(invalid_argument, server::ApiTokens(*database_, base::SecretBytes(31), clock_));
}

TEST_F(ApiTokensTest, ATokenEndsWhenItSaysByTheClockOfTheMoment) {
    const std::string token = text_in(make(R"({"name":"ci-1","expires_in_seconds":60})"), "token");
    clock_.advance(59'999ms);
    EXPECT_EQ(reason_of(token), "");
    clock_.advance(1ms);
    EXPECT_EQ(reason_of(token), "token_expired");
    clock_.advance(-1s);
    EXPECT_EQ(reason_of(token), "");
    // Without a word about it: the longest that is allowed.
    const std::string longest = text_in(make(R"({"name":"ci-1"})"), "token");
    clock_.advance(24h - 1s);
    EXPECT_EQ(reason_of(longest), "");
    clock_.advance(1s);
    EXPECT_EQ(reason_of(longest), "token_expired");
}

TEST_F(ApiTokensTest, NamesAndClaimsArePolicysToGive) {
    EXPECT_EQ(status_of_making(R"({"name":"root-2"})"), 403U);
    EXPECT_EQ(status_of_making(R"({"name":"ci-1","claims":{"team":["root"]}})"), 403U);
    EXPECT_EQ(status_of_making(R"({"name":"ci-1","claims":{"team":["payments","root"]}})"), 403U);
    EXPECT_EQ(status_of_making(R"({"name":"ci-1"})", "stranger"), 403U);
    EXPECT_EQ(status_of_making(R"({"name":"root-2","claims":{"team":["root"]}})", "root"), 201U);
}

TEST_F(ApiTokensTest, ATokenMakesNoTokens) {
    const std::string token = text_in(make(R"({"name":"root-2"})", "root"), "token");
    const auto caller = tokens_->verify(token);
    const auto answer = call(caller, Method::POST, "/v1/api-tokens", R"({"name":"ci-9"})");
    EXPECT_EQ(answer.status, 403U) << answer.body;
    EXPECT_EQ(call(caller, Method::GET, "/v1/api-tokens").status, 200U);
}

TEST_F(ApiTokensTest, MalformedOrdersAreRefusedByField) {
    for (const char* body :
         {"", "[]", "{}", R"({"name":""})", R"({"name":"UPPER"})", R"({"name":"a/b"})",
          R"({"name":"ci-1","expires_in_seconds":0})",
          R"({"name":"ci-1","expires_in_seconds":86401})", R"({"name":"ci-1","more":1})",
          R"({"name":"ci-1","claims":{"team":"payments"}})", R"({"name":"ci-1","claims":{"t":[]}})",
          R"({"name":"ci-1","claims":{"t":[""]}})", R"({"name":"ci-1","claims":{"a=b":["c"]}})",
          R"({"name":"ci-1","claims":{"token_id":["x"]}})",
          R"({"name":"ci-1","claims":{"connection":["x"]}})",
          R"({"name":"ci-1","claims":{"t":["a\nb"]}})"}) {
        EXPECT_EQ(status_of_making(body, "root"), 400U) << body;
    }
    for (const char* query : {"limit=0", "limit=101", "limit=x", "cursor=x", "other=1"}) {
        EXPECT_EQ(call(certificate("root"), Method::GET, "/v1/api-tokens", {}, query).status, 400U)
            << query;
    }
    for (const char* id : {"x", "0123456789abcdeF", "0123456789abcdef0"}) {
        EXPECT_EQ(
            call(certificate("root"), Method::DELETE, "/v1/api-tokens/" + std::string(id)).status,
            400U);
    }
}

TEST_F(ApiTokensTest, WhoMayRevokeSomeLearnsNothingOfOthers) {
    const std::string other = text_in(make(R"({"name":"other"})", "root"), "id");
    const std::string unknown = "0000000000000000";
    for (const std::string& id : {other, unknown}) {
        EXPECT_EQ(call(certificate("maker"), Method::DELETE, "/v1/api-tokens/" + id).status, 403U);
    }
    EXPECT_EQ(call(certificate("root"), Method::DELETE, "/v1/api-tokens/" + unknown).status, 404U);
}

TEST_F(ApiTokensTest, AListComesInPages) {
    for (int i = 0; i < 5; ++i) make(R"({"name":"ci-1"})");
    std::string query = "limit=2";
    std::vector<std::string> ids;
    for (int page = 0; page < 3; ++page) {
        const auto answer = base::parse_json(
            call(certificate("maker"), Method::GET, "/v1/api-tokens", {}, query).body);
        for (const auto& token : *answer.find("api_tokens")->array()) {
            ids.push_back(text_in(token, "id"));
        }
        query = "limit=2&cursor=" + text_in(answer, "next_cursor");
        EXPECT_EQ(answer.find("next_cursor") == nullptr, page == 2);
    }
    EXPECT_EQ(ids.size(), 5U);
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
    EXPECT_EQ(call(certificate("stranger"), Method::GET, "/v1/api-tokens").status, 403U);
}

TEST_F(ApiTokensTest, TheRecordNamesTheTokenNotItsSecret) {
    const auto made = make(R"({"name":"ci-1","claims":{"team":["payments"]}})");
    EXPECT_EQ(operation_->facts().at("token_id"), text_in(made, "id"));
    ASSERT_EQ(operation_->decided().size(), 2U);
    EXPECT_EQ(operation_->decided()[0].resource.id, "ci-1");
    EXPECT_EQ(operation_->decided()[1].resource.id, "team=payments");
}

// Answers nothing, like a database whose server is gone.
class DeadDatabase final : public server::Database {
public:
    server::Dialect dialect() const override { return server::Dialect::sqlite; }
    bool is_shared() const override { return true; }
    void migrate(std::string_view, std::span<const server::Migration>, Unnamed) override {}
    void write(const Work&) override { fail(); }
    void write_in_turn(std::string_view, const Work&) override { fail(); }
    void read(const Work&) override { fail(); }
    void check() override { fail(); }
    server::DatabaseBackup back_up(const std::string&) override { fail(); }

private:
    [[noreturn]] static void fail() {
        throw base::Error(base::ErrorCode::unavailable, "the database does not answer");
    }
};

TEST(ApiTokensOutage, WithoutTheDatabaseNobodyIsLetIn) {
    const FakeClock clock;
    DeadDatabase database;
    server::ApiTokens tokens(database, hash_key(), clock);
    EXPECT_ERROR(unavailable, tokens.verify("srt_0123456789abcdef_" + std::string(43, 'A')));
}

}  // namespace
}  // namespace tests
