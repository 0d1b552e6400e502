#include "kms/api.h"

#include <gtest/gtest.h>

#include <set>

#include "kms/paths.h"
#include "tests/kms/api_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

class ApiTest : public ApiFixture {};

TEST_F(ApiTest, ACreatedKeyIsDescribedByIdAndByAlias) {
    const auto created =
        post("root", "/v1/keys", R"({"alias":"credentials","description":"d","tags":{"a":"b"}})");
    ASSERT_EQ(created.status, 201U) << created.body;
    const auto key = parse(created);
    EXPECT_EQ(text_of(key, "state"), "enabled");
    EXPECT_EQ(text_of(key, "profile"), "sealed");
    EXPECT_EQ(text_of(key, "description"), "d");
    EXPECT_NE(created.body.find(R"("aliases":["credentials"])"), std::string::npos);
    EXPECT_NE(created.body.find(R"("extractable":false)"), std::string::npos);
    EXPECT_NE(created.body.find(R"("check_value":{"value")"), std::string::npos);
    const auto by_id = get("operator", "/v1/keys/" + text_of(key, "id"));
    const auto by_alias = get("operator", "/v1/keys/alias/credentials");
    EXPECT_EQ(by_id.status, 200U);
    EXPECT_EQ(by_id.body, by_alias.body);
    EXPECT_EQ(by_id.body, created.body);
    EXPECT_EQ(post("root", "/v1/keys", R"({"alias":"credentials"})").status, 409U);
}

TEST_F(ApiTest, EveryWrongFieldOfCreateIsNamed) {
    const std::string path = "/v1/keys";
    expect_refused(path, R"({"alias":7})", "\\\"alias\\\"");
    expect_refused(path, R"({"alias":"No"})", "\\\"alias\\\"");
    expect_refused(path, R"({"alias":""})", "\\\"alias\\\"");
    expect_refused(path, R"({"alias":"-a"})", "\\\"alias\\\"");
    expect_refused(path, "{\"alias\":\"" + std::string(65, 'a') + "\"}", "\\\"alias\\\"");
    expect_refused(path, "{\"description\":\"" + std::string(257, 'a') + "\"}",
                   "\\\"description\\\"");
    expect_refused(path, R"({"tags":[]})", "\\\"tags\\\"");
    expect_refused(path, R"({"tags":{"a":1}})", "\\\"tags.a\\\"");
    expect_refused(path, R"({"profile":"open"})", "\\\"profile\\\"");
    expect_refused(path, R"({"colour":"red"})", "\\\"colour\\\"");
    expect_refused(path, R"({"alias":"a","alias":"b"})", "alias");
    expect_refused(path, R"([])", "object");
    expect_refused(path, R"({"alias")", "byte");
    expect_refused(path, "{\"description\":\"" + std::string(20000, 'a') + "\"}", "");
    EXPECT_TRUE(rig_.catalogue.snapshot()->keys().empty());
}

TEST_F(ApiTest, EveryWrongFieldOfDataKeysIsNamed) {
    const auto key = rig_.create_key("credentials");
    for (const std::string& path : {"/v1/keys/" + key->id.to_string() + "/data-keys",
                                    std::string("/v1/keys/alias/credentials/data-keys")}) {
        expect_refused(path, R"({"bytes":15})", "\\\"bytes\\\"");
        expect_refused(path, R"({"bytes":65})", "\\\"bytes\\\"");
        expect_refused(path, R"({"bytes":"32"})", "\\\"bytes\\\"");
        expect_refused(path, R"({"bytes":32.5})", "\\\"bytes\\\"");
        expect_refused(path, R"({"count":0})", "\\\"count\\\"");
        expect_refused(path, R"({"count":1001})", "\\\"count\\\"");
        expect_refused(path, R"({"plaintext":"yes"})", "\\\"plaintext\\\"");
        expect_refused(path, R"({"context":"x"})", "\\\"context\\\"");
        expect_refused(path, R"({"context":{"a":1}})", "\\\"context.a\\\"");
        expect_refused(path, "{\"context\":{\"a\":\"" + std::string(8192, 'v') + "\"}}",
                       "\\\"context\\\"");
        expect_refused(path, R"({"extra":1})", "\\\"extra\\\"");
    }
    expect_refused("/v1/keys/not-a-uuid/data-keys", "{}", "\\\"key\\\"");
    expect_refused("/v1/keys/alias/Not-An-Alias/data-keys", "{}", "\\\"alias\\\"");
}

TEST_F(ApiTest, EveryWrongFieldOfUnwrapIsNamed) {
    const std::string path = "/v1/data-keys/unwrap";
    expect_refused(path, R"({})", "\\\"wrapped\\\"");
    expect_refused(path, R"({"wrapped":"*"})", "\\\"wrapped\\\"");
    expect_refused(path, R"({"wrapped":"QQ=="  ,"context":[]})", "\\\"context\\\"");
    expect_refused(path, R"({"wrapped":"QR=="})", "\\\"wrapped\\\"");
    expect_refused(path, R"({"wrapped":1})", "\\\"wrapped\\\"");
    expect_refused(path, R"({"wrapped":"QQ==","key":"x"})", "\\\"key\\\"");
    expect_refused(path, R"({"items":[]})", "\\\"items\\\"");
    expect_refused(path, R"({"items":{}})", "\\\"items\\\"");
    expect_refused(path, R"({"items":[1]})", "items[0]");
    expect_refused(path, R"({"items":[{"wrapped":"QQ=="},{"wrapped":"*"}]})",
                   "\\\"items[1].wrapped\\\"");
    expect_refused(path, R"({"items":[{"wrapped":"QQ==","x":1}]})", "\\\"items[0].x\\\"");
    expect_refused(path, R"({"items":[{"wrapped":"QQ=="}],"wrapped":"QQ=="})", "\\\"wrapped\\\"");
    std::string many = R"({"items":[)";
    for (int i = 0; i < 1001; ++i) many += R"({"wrapped":"QQ=="},)";
    many.back() = ']';
    expect_refused(path, many + "}", "\\\"items\\\"");
}

TEST_F(ApiTest, AParameterThatNobodyAskedForIsNamed) {
    using server::Method;
    const auto key = "/v1/keys/" + rig_.create_key("credentials")->id.to_string();
    const std::pair<Method, std::string> routes[] = {{Method::POST, "/v1/keys"},
                                                     {Method::GET, key},
                                                     {Method::POST, key + "/data-keys"},
                                                     {Method::POST, "/v1/data-keys/unwrap"}};
    for (const auto& [method, path] : routes) {
        const auto response = call("root", method, path, {}, "plaintext=false");
        EXPECT_EQ(response.status, 400U) << path;
        EXPECT_NE(response.body.find("plaintext"), std::string::npos) << response.body;
    }
}

TEST_F(ApiTest, ABodyThatSaysItIsNoJsonIsRefused) {
    server::Request request;
    request.headers["content-type"] = "text/plain";
    request.body = "{}";
    EXPECT_ERROR(unsupported_media_type, kms::parse_body(request, 100));
    request.headers["content-type"] = "application/json; charset=utf-8";
    EXPECT_NO_THROW(kms::parse_body(request, 100));
}

TEST_F(ApiTest, DataKeysComeWithAndWithoutPlaintextAndOpenAgain) {
    rig_.create_key("credentials");
    const std::string path = "/v1/keys/alias/credentials/data-keys";
    const auto made = post("app", path, R"({"context":{"o":"1"},"bytes":16,"count":2})");
    ASSERT_EQ(made.status, 200U) << made.body;
    const auto value = parse(made);
    const auto& keys = *value.find("data_keys")->array();
    ASSERT_EQ(keys.size(), 2U);
    const auto opened =
        post("app", "/v1/data-keys/unwrap",
             R"({"context":{"o":"1"},"wrapped":")" + text_of(keys[1], "wrapped") + "\"}");
    ASSERT_EQ(opened.status, 200U) << opened.body;
    EXPECT_EQ(text_of(parse(opened), "plaintext"), text_of(keys[1], "plaintext"));
    EXPECT_EQ(text_of(parse(opened), "key_id"), text_of(value, "key_id"));
    const auto bare = post("app", path, R"({"plaintext":false})");
    EXPECT_EQ(bare.status, 200U);
    EXPECT_EQ(bare.body.find("\"plaintext\""), std::string::npos);
}

// One body for every reason; only the request id could differ, and here it is fixed.
TEST_F(ApiTest, EveryBlobThatDoesNotOpenGetsTheSameAnswer) {
    const auto key = rig_.create_key("credentials");
    const auto good = rig_.create_data_keys(key->id, {{"a", "b"}}).keys[0].wrapped;
    const auto second = rig_.create_key("second");
    auto other_key = good;
    std::copy(second->id.bytes().begin(), second->id.bytes().end(), other_key.begin() + 6);
    auto unknown_key = good;
    unknown_key[6] ^= 1U;
    auto other_version = good;
    other_version[25] = 2;
    auto tampered = good;
    tampered.back() ^= 1U;
    auto magic = good;
    magic[0] ^= 1U;
    const base::Bytes truncated(good.begin(), good.end() - 1);
    base::WipedString expected;
    const auto check = [&](const base::Bytes& blob, const std::string& context) {
        const auto answer =
            post("app", "/v1/data-keys/unwrap",
                 R"({"wrapped":")" + base::to_base64(blob) + R"(","context":)" + context + "}");
        EXPECT_EQ(answer.status, 422U) << answer.body;
        if (expected.empty()) expected = answer.body;
        EXPECT_EQ(answer.body, expected);
    };
    for (const auto& blob : {other_key, unknown_key, other_version, tampered, magic, truncated,
                             base::Bytes(), base::Bytes(500, 1)}) {
        check(blob, R"({"a":"b"})");
    }
    check(good, R"({"a":"c"})");
    check(good, "{}");
}

TEST_F(ApiTest, AForbiddenKeyLooksUnknownUnlessTheCallerMaySeeIt) {
    const auto key = rig_.create_key("credentials");
    rig_.create_key("second");
    const std::string body = R"({"wrapped":")" + wrap(key->id) + "\"}";
    const std::string path = "/v1/data-keys/unwrap";
    // Unwraps under another key, may describe nothing: the same as for an unknown key.
    EXPECT_EQ(code_of(post("reader", path, body)), "integrity_failure");
    // May describe it: told the truth.
    EXPECT_EQ(code_of(post("watcher", path, body)), "permission_denied");
    // May never unwrap anything: told so, whatever the blob is.
    for (const auto* caller : {"operator", "nobody-known"}) {
        EXPECT_EQ(code_of(post(caller, path, body)), "permission_denied");
        EXPECT_EQ(code_of(post(caller, path, R"({"wrapped":"QQ=="})")), "permission_denied");
        EXPECT_EQ(code_of(post(caller, path, R"({"items":[{"wrapped":"QQ=="}]})")),
                  "permission_denied");
    }
    EXPECT_EQ(code_of(post("", path, body)), "unauthenticated");
}

TEST_F(ApiTest, RightsDecideWhoCreatesListsDescribesAndWraps) {
    const auto key = rig_.create_key("credentials");
    const std::string id_path = "/v1/keys/" + key->id.to_string();
    EXPECT_EQ(post("app", "/v1/keys", "{}").status, 403U);
    EXPECT_EQ(get("app", "/v1/keys").status, 403U);
    EXPECT_EQ(get("app", id_path).status, 403U);
    EXPECT_EQ(post("operator", id_path + "/data-keys", "{}").status, 403U);
    EXPECT_EQ(post("app", id_path + "/data-keys", "{}").status, 200U);
    // Unknown and forbidden look alike to who has no right to either.
    const auto forbidden = get("app", id_path);
    const auto unknown = get("app", "/v1/keys/" + base::Uuid::random().to_string());
    EXPECT_EQ(forbidden.body, unknown.body);
    EXPECT_EQ(get("operator", "/v1/keys/" + base::Uuid::random().to_string()).status, 404U);
    EXPECT_EQ(get("operator", "/v1/keys/alias/none").status, 404U);
}

TEST_F(ApiTest, ABatchAnswersInOrderEachOnItsOwnAndIsRecordedItemByItem) {
    const auto key = rig_.create_key("credentials");
    const auto second = rig_.create_key("second");
    const std::string body = R"({"items":[{"wrapped":")" + wrap(second->id) +
                             R"("},{"wrapped":"QQ=="},{"wrapped":")" + wrap(key->id) +
                             R"("},{"wrapped":")" + wrap(second->id, {{"a", "b"}}) +
                             R"(","context":{"a":"b"}}]})";
    const auto answer = post("reader", "/v1/data-keys/unwrap", body);
    ASSERT_EQ(answer.status, 200U) << answer.body;
    const auto value = parse(answer);
    const auto& results = *value.find("results")->array();
    ASSERT_EQ(results.size(), 4U);
    EXPECT_FALSE(text_of(results[0], "plaintext").empty());
    EXPECT_EQ(base::to_json(results[1]), base::to_json(results[2]));
    EXPECT_EQ(text_of(*results[1].find("error"), "code"), "integrity_failure");
    EXPECT_FALSE(text_of(results[3], "plaintext").empty());
    ASSERT_EQ(operation_->items().size(), 4U);
    EXPECT_EQ(operation_->items()[0].resource, second->id.to_string() + "/1");
    EXPECT_EQ(operation_->items()[0].outcome, "ok");
    EXPECT_EQ(operation_->items()[2].outcome, "integrity_failure");
}

TEST_F(ApiTest, ABatchAsksThePolicyOnceForEachKeyAndContextAndTheTokenOnce) {
    const auto key = rig_.create_key("credentials");
    std::string body = R"({"items":[)";
    for (int i = 0; i < 20; ++i) {
        body += R"({"wrapped":")" + wrap(key->id, {{"n", i % 2 == 0 ? "0" : "1"}}) +
                R"(","context":{"n":")" + (i % 2 == 0 ? "0" : "1") + R"("}},)";
    }
    body.back() = ']';
    token_.decrypt_calls = 0;
    EXPECT_EQ(post("app", "/v1/data-keys/unwrap", body + "}").status, 200U);
    EXPECT_EQ(operation_->decided().size(), 2U);
    EXPECT_EQ(token_.decrypt_calls, 1U);
}

TEST_F(ApiTest, ListPagesWithACursorAndNamesWrongParameters) {
    for (int i = 0; i < 5; ++i) {
        rig_.create_key();
        rig_.clock.advance(std::chrono::milliseconds(1));
    }
    std::size_t seen = 0;
    std::string query = "limit=2";
    for (int pages = 1;; ++pages) {
        const auto value = parse(get("operator", "/v1/keys", query));
        seen += value.find("keys")->array()->size();
        const std::string cursor = text_of(value, "next_cursor");
        if (cursor.empty()) {
            EXPECT_EQ(pages, 3);
            break;
        }
        query = "limit=2&cursor=" + cursor;
    }
    EXPECT_EQ(seen, 5U);
    for (const auto* wrong : {"limit=0", "limit=101", "limit=x", "limit=", "limit=1&limit=2"}) {
        const auto answer = get("operator", "/v1/keys", wrong);
        EXPECT_EQ(answer.status, 400U) << wrong;
        EXPECT_NE(answer.body.find("limit"), std::string::npos) << answer.body;
    }
    EXPECT_NE(get("operator", "/v1/keys", "cursor=zz").body.find("cursor"), std::string::npos);
    EXPECT_NE(get("operator", "/v1/keys", "page=2").body.find("page"), std::string::npos);
}

TEST_F(ApiTest, ReadyNamesTokenStoreAndAudit) {
    const auto ready = get("operator", "/readyz");
    EXPECT_EQ(ready.status, 200U) << ready.body;
    EXPECT_NE(ready.body.find(R"("token":"ok","store":"ok","audit":"ok")"), std::string::npos);
    EXPECT_NE(ready.body.find(R"("policy_hash":")" + rig_.authorizer.policy_hash()),
              std::string::npos)
        << ready.body;
    token_.is_away = true;
    const auto away = get("operator", "/readyz");
    EXPECT_EQ(away.status, 503U);
    EXPECT_NE(away.body.find(R"("ready":false)"), std::string::npos);
    EXPECT_EQ(get("app", "/readyz").status, 403U);
    EXPECT_EQ(get("", "/healthz").status, 200U);
}

TEST_F(ApiTest, TheOpenapiDocumentHasEveryRoute) {
    const auto document = parse(get("app", "/openapi.json"));
    const auto* paths = document.find("paths");
    ASSERT_NE(paths, nullptr);
    for (const auto& route : rig_.routes.routes()) {
        EXPECT_NE(paths->find(route.pattern), nullptr) << route.pattern;
    }
}

TEST_F(ApiTest, TheListOfPathsIsTheTables) {
    std::set<std::string_view> served;
    for (const auto& route : rig_.routes.routes()) served.insert(route.pattern);
    for (const std::string_view path : {"/healthz", "/readyz", "/metrics", "/openapi.json"}) {
        EXPECT_EQ(served.erase(path), 1U) << path;
    }
    EXPECT_EQ(served, (std::set<std::string_view>(kms::api_paths.begin(), kms::api_paths.end())));
}

TEST_F(ApiTest, NoAnswerButTheTwoThatMustHasAPlaintext) {
    const auto key = rig_.create_key("credentials");
    const auto fresh = rig_.create_data_keys(key->id);
    const std::string secret = base::to_base64(fresh.keys[0].plaintext.expose());
    for (const auto* path : {"/v1/keys", "/v1/keys/alias/credentials", "/metrics", "/readyz"}) {
        EXPECT_EQ(get("root", path).body.find(secret), std::string::npos);
    }
    for (const auto& [name, value] : operation_->facts()) EXPECT_NE(value, secret) << name;
}

}  // namespace
}  // namespace tests
