#include "vault/api.h"

#include <gtest/gtest.h>

#include <set>

#include "base/clock.h"
#include "base/encoding.h"
#include "tests/support/expect_error.h"
#include "tests/vault/api_house.h"
#include "vault/paths.h"

namespace tests {
namespace {

using server::Method;

using VaultApiTest = VaultApiHouse;

TEST_F(VaultApiTest, StoresAndReveals) {
    const auto stored = put(
        R"({"secret":{"access_token":"t"},"metadata":{"account":1.50},"expires_at":"2030-01-31T12:00:00+02:00"})");
    EXPECT_EQ(stored.status, 201U) << stored.body;
    EXPECT_EQ(stored.at({"owner"}), "\"acme\"");
    EXPECT_EQ(stored.at({"name"}), "\"instagram\"");
    EXPECT_EQ(stored.at({"version"}), "1");
    EXPECT_EQ(stored.at({"created_at"}), "\"" + base::to_rfc3339(world_.clock.now()) + "\"");
    EXPECT_EQ(stored.at({"updated_at"}), stored.at({"created_at"}));
    EXPECT_EQ(stored.at({"expires_at"}), "\"2030-01-31T10:00:00.000Z\"");
    EXPECT_EQ(stored.at({"expired"}), "false");
    EXPECT_EQ(stored.at({"metadata"}), R"({"account":1.50})");
    EXPECT_EQ(stored.at({"versions"}),
              "[{\"version\":1,\"created_at\":" + stored.at({"created_at"}) +
                  ",\"expires_at\":\"2030-01-31T10:00:00.000Z\"}]");
    EXPECT_EQ(stored.at({"key_id"}), "\"" + world_.keys.key_id().to_string() + "\"");
    EXPECT_EQ(stored.at({"key_version"}), "3");
    EXPECT_EQ(stored.at({"secret"}), "(none)");
    EXPECT_EQ(facts_.at("version"), "1");
    EXPECT_EQ(world_.keys.last_traceparent, traceparent);

    EXPECT_EQ(put(R"({"secret":{"access_token":"u"}})").status, 200U);
    const auto described = send(Method::GET, one);
    EXPECT_EQ(described.status, 200U);
    EXPECT_EQ(described.at({"version"}), "2");
    EXPECT_EQ(described.at({"expires_at"}), "(none)") << "each version has its own expiry";
    EXPECT_EQ(described.at({"metadata"}), R"({"account":1.50})") << "metadata stays";
    EXPECT_EQ(described.at({"secret"}), "(none)");

    const auto revealed = reveal();
    EXPECT_EQ(revealed.status, 200U) << revealed.body;
    EXPECT_EQ(revealed.at({"secret"}), R"({"access_token":"u"})");
    EXPECT_EQ(revealed.at({"version"}), "2");
    const auto older = reveal(R"({"version":1})");
    EXPECT_EQ(older.at({"secret"}), R"({"access_token":"t"})");
    EXPECT_EQ(older.at({"version"}), "1");
    EXPECT_EQ(older.at({"expires_at"}), "\"2030-01-31T10:00:00.000Z\"");
    EXPECT_EQ(facts_.at("version"), "1");
}

TEST_F(VaultApiTest, TheSecretComesBackAsItWasSpelled) {
    const std::string secret =
        R"({"z":1.0e2,"a":18446744073709551616,"minus":-0,"exact":0.10,"list":[null,true,"ü\u0000\"\\/"],"":{"":{}}})";
    EXPECT_EQ(put("{ \"secret\" : " + secret + " }").status, 201U);
    EXPECT_EQ(reveal().at({"secret"}), std::string(base::to_json(base::parse_json(secret))));
    EXPECT_NE(reveal().body.find(R"("z":1.0e2,"a":18446744073709551616,"minus":-0,"exact":0.10)"),
              std::string::npos)
        << reveal().body;
}

TEST_F(VaultApiTest, ASecretIsAnyJsonAndComesBackAsItWasSpelled) {
    std::string items;
    for (const std::string secret :
         {R"("text with \" and ü and \u0000")", R"("")", "12345678901234567890.10", "-0", "[]",
          R"([1,{"a":[null]},"x"])", "true", "false", "null", R"("{}")", R"("{\"enc\":1}")",
          R"("__enc")"}) {
        const std::string compact(base::to_json(base::parse_json(secret)));
        const auto stored = put("{\"secret\": " + secret + " ,\"metadata\":{}}");
        EXPECT_LE(stored.status, 201U) << secret << ": " << stored.body;
        EXPECT_EQ(reveal().at({"secret"}), compact);
        const auto many =
            send(Method::POST, "/v1/owners/acme/reveal", R"({"items":[{"name":"instagram"}]})");
        EXPECT_NE(many.body.find("\"secret\":" + compact + "}"), std::string::npos) << many.body;
    }
    EXPECT_EQ(reveal(R"({"version":9})").at({"secret"}), "null");
    EXPECT_EQ(send(Method::POST, one + "/restore", R"({"version":1})").status, 200U);
    EXPECT_EQ(reveal().at({"secret"}),
              std::string(base::to_json(base::parse_json(R"("text with \" and ü and \u0000")"))));
}

TEST_F(VaultApiTest, EveryBadFieldIsNamed) {
    const std::string deep = R"({"secret":)" + std::string(20, '[') + std::string(20, ']') + "}";
    const std::string wide = std::string(vault::max_secret_bytes, 'x');
    const std::string long_metadata = std::string(vault::max_metadata_bytes, 'x');
    for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "malformed"},
             {"{", "malformed"},
             {"[]", "must be an object"},
             {"{}", "\"secret\" is missing"},
             {R"({"secret":1.})", "malformed"},
             {R"({"secret":'text'})", "malformed"},
             {R"({"secret":"text)", "malformed"},
             {R"({"secret":{},"secret":{}})", "\"secret\" stands twice"},
             {R"({"secret":{"a":1,"a":2}})", "\"a\" stands twice"},
             {R"({"secret":{"__enc":2,"ct":""}})", "\"secret\" is sealed already"},
             {R"({"secret":{"__enc":1,"ct":""}})", "\"secret\" is sealed already"},
             {R"({"secret":"{\"__enc\":2,\"ct\":\"\"}"})", "\"secret\" is sealed already"},
             {R"({"secret":" {\"a\":1,\"__enc\":2}"})", "\"secret\" is sealed already"},
             {R"({"secret":"{\"__enc\":2,\"ct"})", "\"secret\" is sealed already"},
             {R"({"secret":")" + wide + "\"}", "\"secret\" must have at most 65536 bytes"},
             {R"({"secret":{"k":")" + wide + "\"}}", "\"secret\" must have at most 65536 bytes"},
             {R"({"secret":{},"metadata":"text"})", "\"metadata\" must be an object"},
             {R"({"secret":{},"metadata":null})", "\"metadata\" must be an object"},
             {R"({"secret":{},"metadata":{"k":")" + long_metadata + "\"}}",
              "\"metadata\" must have at most 8192 bytes"},
             {R"({"secret":{},"tags":["a"]})", "\"tags"},
             {R"({"secret":{},"tags":{"a":1}})", "\"tags"},
             {R"({"secret":{},"tags":{"a/b":"c"}})", "\"tags\" must have names"},
             {R"({"secret":{},"tags":{"a":""}})", "\"tags\" must have names"},
             {R"({"secret":{},"expires_at":1})", "\"expires_at\""},
             {R"({"secret":{},"expires_at":"tomorrow"})", "\"expires_at\" must be a time"},
             {R"({"secret":{},"expires_at":"2030-02-30T00:00:00Z"})",
              "\"expires_at\" must be a time"},
             {R"({"secret":{},"if_version":"1"})", "\"if_version\""},
             {R"({"secret":{},"if_version":-1})", "\"if_version\""},
             {R"({"secret":{},"if_version":1.0})", "\"if_version\""},
             {R"({"secret":{},"owner":"globex"})", "\"owner\" is not a known field"},
             {deep, "nested deeper than 16"},
         }) {
        const auto answer = put(body);
        EXPECT_EQ(answer.status, 400U) << body.substr(0, 80);
        EXPECT_EQ(answer.error_code(), "invalid_argument");
        EXPECT_NE(answer.message().find(part), std::string::npos)
            << answer.message() << " for " << body.substr(0, 80);
    }
    EXPECT_EQ(world_.keys.calls, 0);
    for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
             {"{", "malformed"},
             {R"({"version":0})", "\"version\""},
             {R"({"version":"1"})", "\"version\""},
             {R"({"versions":1})", "\"versions\" is not a known field"},
         }) {
        const auto answer = reveal(body);
        EXPECT_EQ(answer.status, 400U) << body;
        EXPECT_NE(answer.message().find(part), std::string::npos) << answer.message();
    }
}

TEST_F(VaultApiTest, TheLargestSecretAndMetadataPass) {
    const std::string secret = R"({"k":")" + std::string(vault::max_secret_bytes - 8, 'x') + "\"}";
    const std::string metadata =
        R"({"k":")" + std::string(vault::max_metadata_bytes - 8, 'x') + "\"}";
    const auto stored = put("{\"secret\":" + secret + ",\"metadata\":" + metadata + "}");
    EXPECT_EQ(stored.status, 201U) << stored.message();
    EXPECT_EQ(reveal().at({"secret"}), secret);
    EXPECT_EQ(send(Method::GET, one).at({"metadata"}), metadata);
    const std::string text = '"' + std::string(vault::max_secret_bytes - 2, 'x') + '"';
    EXPECT_EQ(put("{\"secret\":" + text + "}").status, 200U);
    EXPECT_EQ(reveal().at({"secret"}), text);
}

TEST_F(VaultApiTest, BadNamesInThePathAreNamed) {
    const std::string long_name(vault::max_name_bytes + 1, 'n');
    for (const auto& name : {std::string("a%20b"), std::string("a*"), std::string("%C3%BC"),
                             std::string("a%00"), std::string("..."), long_name}) {
        const auto as_name = send(Method::GET, all + "/" + name);
        EXPECT_EQ(as_name.status, 400U) << name;
        const auto as_owner = send(Method::GET, "/v1/owners/" + name + "/credentials");
        EXPECT_EQ(as_owner.status, 400U) << name;
        if (name.find("%00") == std::string::npos) {
            EXPECT_NE(as_name.message().find("\"name\""), std::string::npos) << as_name.message();
            EXPECT_NE(as_owner.message().find("\"owner\""), std::string::npos)
                << as_owner.message();
        }
    }
    const std::string longest(vault::max_name_bytes, 'n');
    EXPECT_EQ(send(Method::GET, all + "/" + longest).status, 404U);
    EXPECT_EQ(send(Method::GET, all + "/a.b_c-d:e%40f+g=h,i~j").status, 404U)
        << "safe, but unknown";
}

TEST_F(VaultApiTest, OtherMediaTypesAreRefused) {
    EXPECT_EQ(send(Method::PUT, one, R"({"secret":{}})", "acme", "text/plain").status, 415U);
    EXPECT_EQ(send(Method::PUT, one, R"({"secret":{}})", "acme", "").status, 201U);
    EXPECT_EQ(send(Method::PUT, one, R"({"secret":{}})", "acme", "application/json; charset=utf-8")
                  .status,
              200U);
}

TEST_F(VaultApiTest, IfVersionGivesConflicts) {
    EXPECT_EQ(put(R"({"secret":{},"if_version":1})").status, 409U);
    EXPECT_EQ(put(R"({"secret":{},"if_version":0})").status, 201U);
    const auto conflict = put(R"({"secret":{},"if_version":0})");
    EXPECT_EQ(conflict.status, 409U);
    EXPECT_NE(conflict.message().find("\"if_version\""), std::string::npos);
    EXPECT_EQ(put(R"({"secret":{},"if_version":1})").status, 200U);
}

TEST_F(VaultApiTest, ExpiredIsSaidAndStillRevealed) {
    const auto expiry = base::to_rfc3339(world_.clock.now() + std::chrono::seconds(5));
    put(R"({"secret":{"k":1},"expires_at":")" + expiry + "\"}");
    EXPECT_EQ(reveal().at({"expired"}), "false");
    world_.clock.advance(std::chrono::seconds(5));
    EXPECT_EQ(reveal().at({"expired"}), "true");
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":1})");
    EXPECT_EQ(send(Method::GET, one).at({"expired"}), "true");
    EXPECT_NE(send(Method::GET, all).body.find("\"expired\":true"), std::string::npos);
}

TEST_F(VaultApiTest, ListsPageByPage) {
    for (const auto* name : {"a", "b", "c", "d", "e"}) {
        EXPECT_EQ(send(Method::PUT, all + "/" + name, R"({"secret":{}})").status, 201U);
    }
    std::string names;
    std::string target = all + "?limit=2";
    for (int pages = 0; pages < 3; ++pages) {
        const auto page = send(Method::GET, target);
        ASSERT_EQ(page.status, 200U) << page.body;
        for (const auto& item : *page.json.find("credentials")->array())
            names += *item.find("name")->string();
        const auto* cursor = page.json.find("next_cursor");
        EXPECT_EQ(cursor == nullptr, pages == 2);
        if (cursor != nullptr) target = all + "?limit=2&cursor=" + std::string(*cursor->string());
    }
    EXPECT_EQ(names, "abcde");
    EXPECT_EQ(send(Method::GET, "/v1/owners/acme/credentials?limit=100").status, 200U);
    for (const auto& [query, part] :
         std::vector<std::pair<std::string, std::string>>{{"limit=0", "\"limit\""},
                                                          {"limit=101", "\"limit\""},
                                                          {"limit=x", "\"limit\""},
                                                          {"limit=", "\"limit\""},
                                                          {"cursor=zz", "\"cursor\""},
                                                          {"cursor=", "\"cursor\""},
                                                          {"cursor=2f", "\"cursor\""},
                                                          {"sort=name", "\"sort\""}}) {
        const auto answer = send(Method::GET, all + "?" + query);
        EXPECT_EQ(answer.status, 400U) << query;
        EXPECT_NE(answer.message().find(part), std::string::npos) << answer.message();
    }
    EXPECT_EQ(send(Method::GET, one + "?verbose=1").status, 400U);
    EXPECT_EQ(send(Method::POST, one + "/reveal?version=1").status, 400U);
}

TEST_F(VaultApiTest, DeleteDestroysAndSaysSo) {
    put(R"({"secret":{"k":1}})");
    put(R"({"secret":{"k":2}})");
    const auto destroyed = send(Method::DELETE, one);
    EXPECT_EQ(destroyed.status, 200U) << destroyed.body;
    EXPECT_EQ(destroyed.at({"destroyed"}),
              R"({"owner":"acme","name":"instagram","versions":2,"at":")" +
                  base::to_rfc3339(world_.clock.now()) + "\"}");
    EXPECT_EQ(facts_.at("versions"), "2");
    EXPECT_EQ(reveal().status, 404U);
    EXPECT_EQ(reveal(R"({"version":1})").status, 404U);
    EXPECT_EQ(send(Method::GET, one).status, 404U);
    EXPECT_EQ(send(Method::DELETE, one).status, 404U);
    EXPECT_EQ(put(R"({"secret":{"k":3}})").status, 201U);
}

TEST_F(VaultApiTest, OthersAreRefusedAndLearnNothing) {
    put(R"({"secret":{"k":1}})");
    const std::string unknown = "/v1/owners/acme/credentials/unknown";
    for (const auto* caller : {"globex", "stranger"}) {
        for (const auto& path : {one, unknown}) {
            EXPECT_EQ(send(Method::GET, path, {}, caller).status, 403U);
            EXPECT_EQ(send(Method::DELETE, path, {}, caller).status, 403U);
            EXPECT_EQ(send(Method::PUT, path, R"({"secret":{}})", caller).status, 403U);
            EXPECT_EQ(send(Method::PUT, path, "not JSON", caller).status, 403U)
                << "no word on the body";
            EXPECT_EQ(send(Method::POST, path + "/reveal", {}, caller).status, 403U);
        }
        EXPECT_EQ(send(Method::GET, all, {}, caller).status, 403U);
        EXPECT_EQ(send(Method::GET, one, {}, caller).message(),
                  send(Method::GET, unknown, {}, caller).message());
    }
    EXPECT_EQ(send(Method::GET, one, {}, "reader").status, 200U);
    EXPECT_EQ(send(Method::GET, all, {}, "reader").status, 200U);
    EXPECT_EQ(reveal({}, "reader").status, 403U);
    EXPECT_EQ(put(R"({"secret":{}})", "reader").status, 403U);
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":1})");
}

TEST_F(VaultApiTest, WithoutTheKeyServiceARevealIsUnavailable) {
    put(R"({"secret":{"k":1}})");
    world_.keys.unavailable = true;
    const auto answer = reveal();
    EXPECT_EQ(answer.status, 503U);
    EXPECT_EQ(answer.at({"secret"}), "(none)");
    EXPECT_EQ(send(Method::GET, one).status, 200U);
}

TEST_F(VaultApiTest, ATamperedRowIsAnIntegrityFailureInOneWording) {
    put(R"({"secret":{"k":1}})");
    edit("UPDATE versions SET sealed = replace(sealed, '\"ct\":\"', '\"ct\":\"AAAA')");
    const auto answer = send(Method::POST, one + "/reveal");
    EXPECT_EQ(answer.status, 422U);
    EXPECT_EQ(answer.error_code(), "integrity_failure");
    EXPECT_EQ(answer.message(), base::decryption_failed().message());
}

TEST_F(VaultApiTest, WhatWasEditedIsReplacedAsAWholeOnlyAndThatIsRecorded) {
    put(R"({"secret":{"k":1},"metadata":{"a":1},"tags":{"team":"mine"}})");
    EXPECT_EQ(facts_.count("replaced_damaged"), 0U);
    edit("UPDATE credentials SET metadata = '{\"a\":2}'");
    EXPECT_EQ(reveal().status, 422U);
    for (const auto* part : {"", R"(,"metadata":{})", R"(,"tags":{})"}) {
        EXPECT_EQ(put(R"({"secret":{"k":2})" + std::string(part) + "}").error_code(),
                  "integrity_failure");
    }
    EXPECT_EQ(send(Method::POST, one + "/restore", R"({"version":1})").status, 422U);
    EXPECT_EQ(put(R"({"secret":{"k":2},"metadata":{},"tags":{}})").status, 200U);
    EXPECT_EQ(facts_["replaced_damaged"], "yes");
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":2})");
    EXPECT_EQ(put(R"({"secret":{"k":3},"metadata":{},"tags":{}})").status, 200U);
    EXPECT_EQ(facts_.count("replaced_damaged"), 0U);
}

TEST_F(VaultApiTest, RowsThatContradictEachOtherAreReplacedAsAWholeToo) {
    put(R"({"secret":{"k":0},"metadata":{"a":1},"tags":{"team":"mine"}})");
    for (const auto* sql :
         {"UPDATE credentials SET expires_at = 1", "UPDATE credentials SET tags = 'x'",
          "UPDATE credentials SET tags = '{\"team\":1}'",
          "UPDATE credentials SET updated_at = -999999999",
          "UPDATE credentials SET current_version = 1", "UPDATE versions SET key_id = 'x'",
          "UPDATE versions SET created_at = 999999999999999"}) {
        put(R"({"secret":{"k":1}})");
        edit(sql);
        SCOPED_TRACE(sql);
        EXPECT_EQ(reveal().status, 422U);
        for (const auto* part : {"", R"(,"metadata":{})", R"(,"tags":{})"}) {
            const auto refused = put(R"({"secret":{"k":2})" + std::string(part) + "}");
            EXPECT_EQ(refused.error_code(), "integrity_failure");
            EXPECT_NE(refused.message().find("store with both"), std::string::npos);
        }
        const auto stored = put(R"({"secret":{"k":2},"metadata":{"b":1},"tags":{"team":"ours"}})");
        EXPECT_EQ(stored.status, 200U) << stored.body;
        EXPECT_EQ(facts_["replaced_damaged"], "yes");
        EXPECT_EQ(stored.at({"tags"}), R"({"team":"ours"})");
        EXPECT_EQ(reveal().at({"secret"}), R"({"k":2})");
    }
}

TEST_F(VaultApiTest, WhatTheKeyServiceRefusesIsNoOutageToWhoStores) {
    put(R"({"secret":{"k":1},"metadata":{"a":1},"tags":{"team":"mine"}})");
    world_.keys.primary = FakeDataKeys::key_version + 1;
    world_.keys.refused_version = FakeDataKeys::key_version;
    EXPECT_EQ(reveal().status, 503U);
    const auto refused = put(R"({"secret":{"k":2}})");
    EXPECT_EQ(refused.status, 409U);
    EXPECT_NE(refused.message().find("store with both"), std::string::npos) << refused.body;
    EXPECT_EQ(put(R"({"secret":{"k":2},"metadata":{},"tags":{"team":"mine"}})").status, 200U);
    EXPECT_EQ(facts_["replaced_unopened"], "yes");
    EXPECT_EQ(facts_.count("replaced_damaged"), 0U);
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":2})");
    world_.keys.unavailable = true;
    EXPECT_EQ(put(R"({"secret":{"k":3}})").status, 503U) << "it is away";
}

TEST_F(VaultApiTest, EditedMetadataCantWriteOtherFieldsIntoAnAnswer) {
    for (const auto* metadata : {"{},\"secret\":{\"k\":\"planted\"}", "[]", "", "{\"a\":1"}) {
        put(R"({"secret":{"k":1}})");
        edit("UPDATE credentials SET metadata = '" + std::string(metadata) + "'");
        EXPECT_EQ(send(Method::GET, one).status, 422U) << metadata;
        EXPECT_EQ(send(Method::POST, one + "/reveal").status, 422U) << metadata;
        const auto list = send(Method::GET, all);
        EXPECT_EQ(list.at({"credentials"}), "[]") << metadata;
        EXPECT_EQ(list.json.find("unsound")->array()->size(), 1U) << metadata;
        EXPECT_EQ(list.body.find("planted"), std::string::npos) << list.body;
        edit("DELETE FROM versions; DELETE FROM credentials");
    }
}

TEST_F(VaultApiTest, ReadinessNamesEachPart) {
    const auto ready = send(Method::GET, "/readyz", {}, "operator");
    EXPECT_EQ(ready.status, 200U) << ready.body;
    EXPECT_EQ(ready.at({"ready"}), "true");
    EXPECT_EQ(ready.at({"checks"}), R"({"store":"ok","audit":"ok","kms":"ok"})");
    EXPECT_EQ(ready.at({"policy_hash"}), "\"" + world_.authorizer.policy_hash() + "\"");
    world_.keys.unavailable = true;
    const auto not_ready = send(Method::GET, "/readyz", {}, "operator");
    EXPECT_EQ(not_ready.status, 503U);
    EXPECT_EQ(not_ready.at({"ready"}), "false");
    EXPECT_EQ(not_ready.at({"checks", "store"}), "\"ok\"");
    EXPECT_EQ(not_ready.at({"checks", "kms"}), "\"switched off\"");
    EXPECT_EQ(send(Method::GET, "/readyz", {}, "acme").status, 403U);
    EXPECT_EQ(send(Method::GET, "/metrics", {}, "acme").status, 403U);
    EXPECT_EQ(send(Method::GET, "/metrics", {}, "operator").status, 200U);
    EXPECT_EQ(send(Method::GET, "/healthz", {}, "stranger").at({"status"}), "\"ok\"");
}

TEST_F(VaultApiTest, TheOpenApiDocumentHasEveryRoute) {
    const auto document = send(Method::GET, "/openapi.json");
    for (const auto& route : routes_->routes()) {
        std::string method(server::to_string(route.method));
        for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
        EXPECT_NE(document.at({"paths", route.pattern, method}), "(none)")
            << method << " " << route.pattern;
    }
    EXPECT_EQ(routes_->routes().size(), 15U);
}

TEST_F(VaultApiTest, TheListOfPathsIsTheTables) {
    std::set<std::string_view> served;
    for (const auto& route : routes_->routes()) served.insert(route.pattern);
    for (const std::string_view path : {"/healthz", "/readyz", "/metrics", "/openapi.json"}) {
        served.erase(path);
    }
    // These are of rooms that this house has not; tests/system/network_test.py has the whole table.
    std::set<std::string_view> listed(vault::api_paths.begin(), vault::api_paths.end());
    for (const std::string_view path :
         {"/v1/seal", "/v1/open", "/v1/rewrap-jobs", "/v1/rewrap-jobs/{id}",
          "/v1/rewrap-jobs/{id}/failures", "/v1/rewrap-jobs/{id}/cancel"}) {
        EXPECT_EQ(listed.erase(path), 1U) << path;
    }
    EXPECT_EQ(served, listed);
}

}  // namespace
}  // namespace tests
