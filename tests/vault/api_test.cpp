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

constexpr std::string_view policy_by_tags = R"({
    "version": 1,
    "roles": {
        "acme": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]}],
        "reader": [{"id": "payments", "effect": "allow", "actions": ["*"],
                    "resources": ["credential:*/tag/team=payments"]},
                   {"id": "not-prod", "effect": "deny", "actions": ["store_credential"],
                    "resources": ["credential:*/tag/env=prod"]}]
    },
    "bindings": [{"caller": "spiffe://strongroom/acme", "roles": ["acme"]},
                 {"caller": "spiffe://strongroom/reader", "roles": ["reader"]}]
})";

TEST_F(VaultApiTest, RightsMayBeByTag) {
    world_.authorizer.replace(server::parse_policy(policy_by_tags, vault::known_actions()));
    EXPECT_EQ(put(R"({"secret":{"k":1},"tags":{"team":"payments"}})").at({"tags"}),
              R"({"team":"payments"})");
    send(server::Method::PUT, all + "/other", R"({"secret":{"k":2},"tags":{"team":"search"}})");
    send(server::Method::PUT, all + "/untagged", R"({"secret":{"k":3}})");
    EXPECT_EQ(reveal({}, "reader").status, 200U);
    for (const auto* name : {"/other", "/untagged", "/none", "/team=payments"}) {
        EXPECT_EQ(send(server::Method::POST, all + name + "/reveal", {}, "reader").status, 403U)
            << name;
    }
    const auto many = send(server::Method::POST, "/v1/owners/acme/reveal",
                           R"({"items":[{"name":"other"},{"name":"instagram"}]})", "reader");
    EXPECT_NE(many.body.find("permission_denied"), std::string::npos) << many.body;
    EXPECT_NE(many.body.find(R"("secret":{"k":1})"), std::string::npos) << many.body;
    for (const auto& [method, path] : std::vector<std::pair<server::Method, std::string>>{
             {server::Method::GET, ""}, {server::Method::GET, "/versions"}}) {
        EXPECT_EQ(send(method, one + path, {}, "reader").status, 200U) << path;
        EXPECT_EQ(send(method, all + "/other" + path, {}, "reader").status, 403U) << path;
    }
    EXPECT_EQ(send(server::Method::DELETE, all + "/other", {}, "reader").status, 403U);
    EXPECT_EQ(
        send(server::Method::POST, all + "/other/restore", R"({"version":1})", "reader").status,
        403U);
    EXPECT_EQ(send(server::Method::DELETE, one, {}, "reader").status, 200U);
    EXPECT_EQ(reveal({}, "reader").status, 403U) << "a destroyed one has no tags";
}

TEST_F(VaultApiTest, WhoGivesOtherTagsMustBeAllowedWithThoseToo) {
    world_.authorizer.replace(server::parse_policy(policy_by_tags, vault::known_actions()));
    put(R"({"secret":{"k":1},"tags":{"team":"payments"}})");
    const auto stored = [&](const std::string& tags) {
        return put(R"({"secret":{"k":2},"tags":)" + tags + "}", "reader").status;
    };
    EXPECT_EQ(stored(R"({"team":"search"})"), 403U);
    EXPECT_EQ(stored("{}"), 403U);
    EXPECT_EQ(stored(R"({"team":"payments","env":"prod"})"), 403U);
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":1})") << "nothing was stored";
    EXPECT_EQ(stored(R"({"team":"payments","env":"test"})"), 200U);
    EXPECT_EQ(put(R"({"secret":{"k":3}})", "reader").status, 200U) << "they stay";
    EXPECT_EQ(reveal().at({"tags"}), R"({"env":"test","team":"payments"})");
    edit("UPDATE credentials SET tags = 'x'");
    EXPECT_EQ(reveal({}, "reader").status, 422U) << "nobody knows whose right it is";
}

TEST_F(VaultApiTest, AShadowPolicyThatGoesByTagsHasNoEffect) {
    put(R"({"secret":{"k":1},"tags":{"team":"payments"}})");
    world_.authorizer.replace(server::parse_policy(vault_policy, vault::known_actions()),
                              server::parse_policy(policy_by_tags, vault::known_actions()));
    edit("UPDATE credentials SET tags = 'x'");
    const auto refused = reveal({}, "globex");
    EXPECT_EQ(refused.status, 403U) << "no tags were read: " << refused.body;
    edit(R"(UPDATE credentials SET tags = '{"team":"payments"}')");
    EXPECT_EQ(reveal({}, "globex").status, 403U);
    EXPECT_EQ(reveal().status, 200U);
}

constexpr std::string_view policy_of_taggers = R"({
    "version": 1,
    "roles": {
        "storer": [{"id": "stores", "effect": "allow", "actions": ["store_credential"], "resources": ["credential:acme/*"]},
                   {"id": "reveals-mine", "effect": "allow", "actions": ["reveal_credential"],
                    "resources": ["credential:acme/tag/team=mine"]}],
        "tagger": [{"id": "tags-mine", "effect": "allow", "actions": ["tag_credential"],
                    "resources": ["credential:acme/tag/team=mine", "credential:acme/tag/team=ours"]}],
        "acme": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]}]
    },
    "bindings": [{"caller": "spiffe://strongroom/acme", "roles": ["acme"]},
                 {"caller": "spiffe://strongroom/storer", "roles": ["storer"]},
                 {"caller": "spiffe://strongroom/tagger", "roles": ["storer", "tagger"]}]
})";

TEST_F(VaultApiTest, GivingOtherTagsIsARightOfItsOwnForTheOldTagsAndTheNew) {
    world_.authorizer.replace(server::parse_policy(policy_of_taggers, vault::known_actions()));
    put(R"({"secret":{"k":1},"tags":{"team":"theirs"}})");
    const auto stored = [&](const std::string& caller, const std::string& team,
                            const std::string& name = "/instagram") {
        return send(server::Method::PUT, all + name,
                    R"({"secret":{"k":2},"tags":{"team":")" + team + "\"}}", caller)
            .status;
    };
    EXPECT_EQ(stored("storer", "mine"), 403U);
    EXPECT_EQ(stored("tagger", "mine"), 403U) << "not with the old ones";
    EXPECT_EQ(put(R"({"secret":{"k":2},"tags":{}})", "storer").status, 403U);
    EXPECT_EQ(reveal(R"({"version":1})", "storer").status, 403U);
    EXPECT_EQ(stored("storer", "theirs"), 200U) << "they stay";
    EXPECT_EQ(stored("storer", "mine", "/new"), 403U);
    EXPECT_EQ(stored("tagger", "theirs", "/new"), 403U);
    EXPECT_EQ(stored("tagger", "mine", "/new"), 201U);
    EXPECT_EQ(stored("tagger", "theirs", "/new"), 403U) << "not with the new ones";
    EXPECT_EQ(stored("tagger", "ours", "/new"), 200U);
}

TEST_F(VaultApiTest, TagsAreARightOfTheirOwnEvenWhereNoRuleAsksForThem) {
    std::string untagged =
        R"({"version": 1, "roles": {"storer": [{"id": "stores", "effect": "allow",
        "actions": ["store_credential"], "resources": ["credential:acme/*"]}]},
        "bindings": [{"caller": "spiffe://strongroom/storer", "roles": ["storer"]}]})";
    put(R"({"secret":{"k":1},"tags":{"team":"theirs"}})");
    world_.authorizer.replace(server::parse_policy(untagged, vault::known_actions()));
    EXPECT_EQ(put(R"({"secret":{"k":2},"tags":{"team":"mine"}})", "storer").status, 403U);
    EXPECT_EQ(put(R"({"secret":{"k":2},"tags":{"team":"theirs"}})", "storer").status, 200U);
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
             {R"({"secret":null})", "\"secret\""},
             {R"({"secret":"text"})", "\"secret\" must be an object"},
             {R"({"secret":[1]})", "\"secret\" must be an object"},
             {R"({"secret":{},"secret":{}})", "\"secret\" stands twice"},
             {R"({"secret":{"a":1,"a":2}})", "\"a\" stands twice"},
             {R"({"secret":{"__enc":2,"ct":""}})", "\"secret\" is sealed already"},
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

TEST_F(VaultApiTest, RevealsManyEachWithItsOwnResult) {
    const std::string many = "/v1/owners/acme/reveal";
    put(R"({"secret":{"n":1}})");
    put(R"({"secret":{"n":2}})");
    send(Method::PUT, all + "/facebook", R"({"secret":{"f":1},"metadata":{"m":1}})");
    const int before = world_.keys.calls;
    const auto answer = send(
        Method::POST, many,
        R"({"items":[{"name":"facebook"},{"name":"unknown"},{"name":"instagram","version":1},{"name":"instagram"}]})");
    EXPECT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(world_.keys.calls, before + 1);
    const auto* results = answer.json.find("results")->array();
    ASSERT_EQ(results->size(), 4U);
    const auto text = [&](std::size_t i, std::string_view name) {
        const auto* value = (*results)[i].find(name);
        return value == nullptr ? "(none)" : std::string(base::to_json(*value));
    };
    EXPECT_EQ(text(0, "secret"), R"({"f":1})");
    EXPECT_EQ(text(0, "metadata"), R"({"m":1})");
    EXPECT_EQ(text(1, "error"), R"({"code":"not_found","message":"there is no such credential"})");
    EXPECT_EQ(text(2, "secret"), R"({"n":1})");
    EXPECT_EQ(text(2, "version"), "1");
    EXPECT_EQ(text(3, "secret"), R"({"n":2})");
    EXPECT_EQ(text(3, "name"), "\"instagram\"");

    SCOPED_TRACE("the record has a row for each");
    ASSERT_EQ(items_.size(), 4U);
    EXPECT_EQ(items_[0].resource, "facebook/1");
    EXPECT_EQ(items_[0].outcome, "ok");
    EXPECT_EQ(items_[1].resource, "unknown");
    EXPECT_EQ(items_[1].outcome, "not_found");
    EXPECT_EQ(items_[2].resource, "instagram/1");
    EXPECT_EQ(items_[3].resource, "instagram/2");
    EXPECT_EQ(items_[3].items, "3");
    EXPECT_EQ(items_[3].decision, items_[2].decision) << "one decision for one credential";
    EXPECT_NE(items_[3].decision, items_[0].decision);

    EXPECT_EQ(send(Method::POST, many, R"({"items":[{"name":"instagram"}]})", "reader").status,
              403U);
    SCOPED_TRACE("who may reveal elsewhere is refused record by record, known or not");
    const auto other =
        send(Method::POST, many, R"({"items":[{"name":"instagram"},{"name":"x"}]})", "globex");
    EXPECT_EQ(other.status, 200U) << other.body;
    for (const auto& result : *other.json.find("results")->array()) {
        EXPECT_EQ(*result.find("error")->find("code")->string(), "permission_denied");
        EXPECT_EQ(result.find("secret"), nullptr);
    }
    EXPECT_EQ(items_[0].outcome, "permission_denied");

    world_.keys.unavailable = true;
    EXPECT_EQ(send(Method::POST, many, R"({"items":[{"name":"instagram"}]})").status, 503U);
}

TEST_F(VaultApiTest, BadFieldsOfManyRevealsAreNamed) {
    std::string too_many = R"({"items":[{"name":"a"})";
    for (int i = 0; i < 100; ++i) too_many += R"(,{"name":"a"})";
    too_many += "]}";
    for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "malformed"},
             {"{}", "\"items\" is missing"},
             {R"({"items":[]})", "\"items\""},
             {R"({"items":[7]})", "\"items[0]\""},
             {R"({"items":[{"name":"a"},{}]})", "\"items[1].name\" is missing"},
             {R"({"items":[{"name":"a/b"}]})", "\"items[0].name\""},
             {R"({"items":[{"name":"*"}]})", "\"items[0].name\""},
             {R"({"items":[{"name":"a","version":0}]})", "\"items[0].version\""},
             {R"({"items":[{"name":"a","owner":"globex"}]})", "\"items[0].owner\""},
             {R"({"items":[{"name":"a"}],"owner":"globex"})", "\"owner\" is not a known field"},
             {too_many, "\"items\""},
         }) {
        const auto answer = send(Method::POST, "/v1/owners/acme/reveal", body);
        EXPECT_EQ(answer.status, 400U) << body.substr(0, 80);
        EXPECT_NE(answer.message().find(part), std::string::npos)
            << answer.message() << " for " << body.substr(0, 80);
    }
    EXPECT_EQ(world_.keys.calls, 0);
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
