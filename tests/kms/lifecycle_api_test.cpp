#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/encoding.h"
#include "kms/api.h"
#include "kms/schedule.h"
#include "tests/kms/api_calls.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

using server::Method;

class LifecycleApiTest : public testing::Test {
protected:
    server::Response call(Method method, const std::string& path, std::string_view body = {},
                          const std::string& caller = "root", const std::string& query = {}) {
        return send_as(rig_, caller, method, path, body, query);
    }
    std::string make(std::string_view body = "{}") {
        const auto made = call(Method::POST, "/v1/keys", body);
        EXPECT_EQ(made.status, 201U) << made.body;
        return text_in(json_of(made), "id");
    }
    void expect_refused(Method method, const std::string& path, std::string_view body,
                        std::string_view naming) {
        const auto response = call(method, path, body);
        EXPECT_EQ(response.status, 400U) << body << '\n' << response.body;
        EXPECT_NE(response.body.find(naming), std::string::npos) << body << '\n' << response.body;
    }

    // Audit lines that have all the words.
    std::size_t audit_lines(const std::vector<std::string>& words) const {
        std::size_t count = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "audit")) {
            if (entry.path().extension() != ".jsonl") continue;
            std::ifstream file(entry.path());
            for (std::string line; std::getline(file, line);) {
                const bool has_all = std::all_of(words.begin(), words.end(), [&](const auto& word) {
                    return line.find(word) != std::string::npos;
                });
                if (has_all) ++count;
            }
        }
        return count;
    }

    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
};

TEST_F(LifecycleApiTest, AKeyIsDescribedWithEverythingThatItWasMadeWith) {
    const auto id = make(R"({"kind":"aes_256","rotation_period_days":90,
        "context_rule":{"required":["tenant"],"patterns":{"env":"prod-*"},"allow_others":true,
                        "max_bytes":512}})");
    const auto described = json_of(call(Method::GET, "/v1/keys/" + id));
    EXPECT_EQ(text_in(described, "kind"), "aes_256");
    EXPECT_EQ(text_in(described, "use"), "encrypt");
    EXPECT_EQ(described.find("revision")->integer(), 1);
    EXPECT_EQ(described.find("rotation_period_days")->integer(), 90);
    EXPECT_FALSE(text_in(described, "next_rotation_at").empty());
    const auto* rule = described.find("context_rule");
    ASSERT_NE(rule, nullptr);
    EXPECT_EQ(base::to_json(*rule),
              R"({"required":["tenant"],"patterns":{"env":"prod-*"},"allow_others":true,)"
              R"("max_bytes":512})");
    const auto& version = described.find("versions")->array()->front();
    for (const auto* field : {"wraps_reserved", "wraps_used", "wraps_remaining"}) {
        ASSERT_NE(version.find(field), nullptr) << field;
        EXPECT_TRUE(version.find(field)->integer()) << field;
    }
}

TEST_F(LifecycleApiTest, ARuleRefusesTheContextKeysThatItDoesNotNameUnlessItSaysOtherwise) {
    const auto encrypt = [&](const std::string& id) {
        return call(Method::POST, "/v1/keys/" + id + "/encrypt",
                    R"({"plaintext":"QQ==","context":{"tenant":"t","extra":"x"}})");
    };
    const auto refused = encrypt(make(R"({"context_rule":{"required":["tenant"]}})"));
    EXPECT_EQ(refused.status, 400U) << refused.body;
    EXPECT_NE(refused.body.find("context.extra"), std::string::npos) << refused.body;
    EXPECT_EQ(encrypt(make(R"({"context_rule":{"patterns":{"tenant":"*"}}})")).status, 400U);
    EXPECT_EQ(encrypt(make(R"({"context_rule":{}})")).status, 400U);
    EXPECT_EQ(
        encrypt(make(R"({"context_rule":{"required":["tenant"],"allow_others":true}})")).status,
        200U);
    EXPECT_EQ(encrypt(make()).status, 200U) << "a key without a rule takes any context";
}

TEST_F(LifecycleApiTest, APairIsDescribedWithItsPublicKeyAndAListIsNot) {
    const auto id = make(R"({"kind":"ecdsa_p256"})");
    const auto described = call(Method::GET, "/v1/keys/" + id);
    EXPECT_NE(described.body.find("-----BEGIN PUBLIC KEY-----"), std::string::npos);
    const auto list = call(Method::GET, "/v1/keys");
    EXPECT_EQ(list.body.find("PUBLIC KEY"), std::string::npos);
    EXPECT_EQ(list.body.find("attributes"), std::string::npos);
}

TEST_F(LifecycleApiTest, EveryWrongFieldOfAnOrderIsNamed) {
    const std::string key = "/v1/keys/" + make();
    for (const auto& [body, naming] : std::vector<std::pair<std::string, std::string>>{
             {R"({"kind":"des"})", "kind"},
             {R"({"rotation_period_days":0})", "rotation_period_days"},
             {R"({"rotation_period_days":3654})", "rotation_period_days"},
             {R"({"context_rule":{"required":["a","a"]}})", "context_rule.required"},
             {R"({"context_rule":{"max_bytes":8193}})", "context_rule.max_bytes"},
             {R"({"context_rule":{"more":1}})", "context_rule.more"},
             {R"({"context_rule":{"only_known":true}})", "context_rule.only_known"},
             {R"({"context_rule":{"patterns":{"a":1}}})", "context_rule.patterns"}}) {
        expect_refused(Method::POST, "/v1/keys", body, naming);
    }
    for (const auto& [body, naming] : std::vector<std::pair<std::string, std::string>>{
             {"{}", "if_revision"},
             {R"({"if_revision":0})", "if_revision"},
             {R"({"if_revision":1,"description":7})", "description"},
             {R"({"if_revision":1,"tags":{"a":1}})", "tags"},
             {R"({"if_revision":1,"rotation_period_days":"x"})", "rotation_period_days"},
             {R"({"if_revision":1,"state":"enabled"})", "state"}}) {
        expect_refused(Method::PATCH, key, body, naming);
    }
    expect_refused(Method::POST, key + "/rotate", R"({"if_primary_version":0})",
                   "if_primary_version");
    expect_refused(Method::POST, key + "/enable", R"({"now":true})", "now");
    expect_refused(Method::POST, key + "/schedule-deletion", R"({"days":6})", "days");
    expect_refused(Method::POST, key + "/schedule-deletion", R"({"days":31})", "days");
    expect_refused(Method::PUT, "/v1/aliases/a", "{}", "key");
    expect_refused(Method::PUT, "/v1/aliases/A", R"({"key":")" + make() + "\"}", "alias");
    EXPECT_EQ(rig_.store.load().size(), 2U);
}

TEST_F(LifecycleApiTest, APatchChangesWhatItNamesAndNullTakesAway) {
    const std::string key =
        "/v1/keys/" + make(R"({"description":"old","tags":{"a":"1"},"rotation_period_days":5,
                              "context_rule":{"required":["a"]}})");
    auto changed = json_of(call(Method::PATCH, key, R"({"if_revision":1,"description":"new"})"));
    EXPECT_EQ(text_in(changed, "description"), "new");
    EXPECT_EQ(text_in(*changed.find("tags"), "a"), "1");
    EXPECT_NE(changed.find("context_rule"), nullptr);
    changed = json_of(call(Method::PATCH, key,
                           R"({"if_revision":2,"rotation_period_days":null,"context_rule":null,
                               "tags":{}})"));
    EXPECT_EQ(changed.find("rotation_period_days"), nullptr);
    EXPECT_EQ(changed.find("next_rotation_at"), nullptr);
    EXPECT_EQ(changed.find("context_rule"), nullptr);
    EXPECT_TRUE(changed.find("tags")->object()->empty());
    EXPECT_EQ(call(Method::PATCH, key, R"({"if_revision":2,"description":"late"})").status, 409U);
}

constexpr std::string_view policy_of_taggers = R"({"version":1,"roles":{
  "maker":[{"id":"maker","effect":"allow","actions":["create_key","change_key"],"resources":["*"]}],
  "tagger":[{"id":"tagger","effect":"allow","actions":["tag_key"],
             "resources":["key:tag/team=ads","key:tag/team=web"]}],
  "root":[{"id":"root","effect":"allow","actions":["*"],"resources":["*"]}]},
 "bindings":[{"caller":"maker","roles":["maker"]},{"caller":"tagger","roles":["maker","tagger"]},
  {"caller":"root","roles":["root"]}]})";

TEST_F(LifecycleApiTest, GivingAKeyTagsIsARightOfItsOwnForTheOldTagsAndTheNew) {
    rig_.authorizer.replace(server::parse_policy(policy_of_taggers, kms::known_actions()));
    const auto made = [&](const std::string& caller, const std::string& body) {
        return call(Method::POST, "/v1/keys", body, caller).status;
    };
    EXPECT_EQ(made("maker", R"({"tags":{"team":"ads"}})"), 403U);
    EXPECT_EQ(made("maker", R"({"tags":{}})"), 201U);
    EXPECT_EQ(made("tagger", R"({"tags":{"team":"prod"}})"), 403U);
    EXPECT_EQ(made("tagger", R"({"tags":{"team":"ads"}})"), 201U);
    const auto changed = [&](const std::string& caller, const std::string& key, int revision,
                             const std::string& tags) {
        return call(Method::PATCH, key,
                    R"({"if_revision":)" + std::to_string(revision) + R"(,"tags":)" + tags + "}",
                    caller)
            .status;
    };
    const std::string ads = "/v1/keys/" + make(R"({"tags":{"team":"ads"}})");
    const std::string prod = "/v1/keys/" + make(R"({"tags":{"team":"prod"}})");
    EXPECT_EQ(changed("maker", ads, 1, R"({"team":"web"})"), 403U);
    EXPECT_EQ(changed("maker", ads, 1, "{}"), 403U);
    EXPECT_EQ(changed("maker", ads, 1, R"({"team":"ads"})"), 200U) << "they stay";
    EXPECT_EQ(changed("tagger", ads, 2, R"({"team":"prod"})"), 403U) << "not allowed with the new";
    EXPECT_EQ(changed("tagger", prod, 1, R"({"team":"ads"})"), 403U) << "nor with the old";
    EXPECT_EQ(changed("tagger", ads, 2, R"({"team":"web"})"), 200U);
}

TEST_F(LifecycleApiTest, ADestroyedKeyIsDescribedWithItsTombstone) {
    const auto id = make(R"({"alias":"a"})");
    EXPECT_EQ(call(Method::POST, "/v1/keys/alias/a/schedule-deletion", R"({"days":7})").status,
              200U);
    rig_.clock.advance(std::chrono::hours(24 * 7));
    kms::Schedule schedule(
        {rig_.lifecycle, rig_.catalogue, rig_.store, rig_.usage, rig_.audit, rig_.clock, rig_.log});
    schedule.run_due();
    const auto described = json_of(call(Method::GET, "/v1/keys/" + id));
    EXPECT_EQ(text_in(described, "state"), "destroyed");
    ASSERT_NE(described.find("tombstone"), nullptr);
    EXPECT_EQ(text_in(*described.find("tombstone"), "key_id"), id);
    EXPECT_EQ(call(Method::GET, "/v1/keys/alias/a").status, 404U);
}

// Whoever finishes what another request began changes something, too.
TEST_F(LifecycleApiTest, WhoFinishesALeftoverSaysItsIntent) {
    const auto ordered = [&](const std::string& path, const std::string& key) {
        server::Operation operation = operation_of("root");
        operation.set_action(path == "/v1/keys" ? kms::create_key : kms::rotate_key);
        const auto answer = send(rig_, operation, Method::POST, path, "{}", {},
                                 {{"idempotency-key", base::WipedString(key)}});
        EXPECT_EQ(operation.facts().count("repeated"), 0U) << "nothing was done before";
        return std::pair(answer.status, operation.request_id().to_string());
    };
    token_.dies_after_generate = true;
    EXPECT_EQ(ordered("/v1/keys", "k").first, 503U);
    token_.dies_after_generate = false;
    const auto [created, creation] = ordered("/v1/keys", "k");
    EXPECT_EQ(created, 201U);
    const std::string id = rig_.store.load().at(0).id.to_string();
    EXPECT_EQ(audit_lines({"\"intent\"", creation, id, R"("key_version":"1")"}), 1U);

    token_.dies_after_generate = true;
    EXPECT_EQ(ordered("/v1/keys/" + id + "/rotate", "r").first, 503U);
    token_.dies_after_generate = false;
    const auto [rotated, rotation] = ordered("/v1/keys/" + id + "/rotate", "r2");
    EXPECT_EQ(rotated, 200U);
    EXPECT_EQ(audit_lines({"\"intent\"", rotation, id, R"("key_version":"2")"}), 1U);
}

// By a rotation or a repeated order, while the service runs: at a start it is kmsd's to record.
TEST_F(LifecycleApiTest, WhatIsGivenUpInMakingLeavesATombstoneAndARecord) {
    const auto ordered = [&](const std::string& path, const std::string& key) {
        server::Operation operation = operation_of("root");
        const auto answer = send(rig_, operation, Method::POST, path, "{}", {},
                                 {{"idempotency-key", base::WipedString(key)}});
        return std::pair(answer.status, operation.facts());
    };
    token_.fails_to_generate = true;
    EXPECT_EQ(ordered("/v1/keys", "k").first, 503U);
    token_.fails_to_generate = false;
    const auto lost = rig_.store.load().at(0);
    const auto [created, facts] = ordered("/v1/keys", "k");
    EXPECT_EQ(created, 201U);
    EXPECT_EQ(facts.at("given_up"), lost.id.to_string() + "/1");
    EXPECT_EQ(facts.at("given_up_because"), "the token has no such key");
    EXPECT_EQ(facts.at("given_up_token_key_id"), lost.primary().token_key_id.to_string());
    EXPECT_NE(facts.at("key_id"), lost.id.to_string());
    EXPECT_EQ(audit_lines({"\"intent\"", "create_key", lost.id.to_string() + "/1"}), 2U)
        << "before it is given up, and with the making that follows";
    rig_.catalogue.put(*rig_.store.find(lost.id));  // as the node's follower does
    const auto described = json_of(call(Method::GET, "/v1/keys/" + lost.id.to_string()));
    EXPECT_EQ(text_in(described, "state"), "destroyed");
    ASSERT_NE(described.find("tombstone"), nullptr);
    EXPECT_EQ(text_in(*described.find("tombstone"), "given_up_in_making"),
              "the token has no such key");

    const auto id = facts.at("key_id");
    token_.fails_to_generate = true;
    EXPECT_EQ(ordered("/v1/keys/" + id + "/rotate", "r").first, 503U);
    token_.fails_to_generate = false;
    const auto [rotated, more] = ordered("/v1/keys/" + id + "/rotate", "r2");
    EXPECT_EQ(rotated, 200U);
    EXPECT_EQ(more.at("given_up"), id + "/2");
    EXPECT_EQ(audit_lines({"\"intent\"", "rotate_key", id + "/2"}), 2U);
    EXPECT_EQ(audit_lines({"\"intent\"", "rotate_key", id + "/2", "\"key_id\":\"" + id,
                           "\"key_version\":\"2\""}),
              1U)
        << "what a start goes by that finds it without a result";
    const auto key = json_of(call(Method::GET, "/v1/keys/" + id));
    EXPECT_EQ(key.find("tombstone"), nullptr);
    const auto& versions = *key.find("versions")->array();
    ASSERT_EQ(versions.size(), 3U);
    EXPECT_EQ(versions[0].find("tombstone"), nullptr);
    ASSERT_NE(versions[1].find("tombstone"), nullptr);
    EXPECT_EQ(text_in(*versions[1].find("tombstone"), "given_up_in_making"),
              "the token has no such key");
    EXPECT_EQ(versions[2].find("tombstone"), nullptr);
}

// Another node has given the key other tags, and this one has not heard of it yet: the policy was
// asked about tags that the key has no more.
TEST_F(LifecycleApiTest, OtherTagsThanThoseThatWereAuthorisedAreA409AndChangeNothing) {
    const std::string id = make(R"({"tags":{"team":"ads"}})");
    const auto key_id = *base::Uuid::parse(id);
    auto elsewhere = *rig_.store.find(key_id);
    elsewhere.tags = {{"team", "prod"}};
    ASSERT_TRUE(rig_.store.update(elsewhere));
    const auto change = [&](const std::string& body) {
        return call(Method::PATCH, "/v1/keys/" + id, body);
    };
    // Those that this node knows, which no right to tag was asked for, would be a change there.
    for (const auto* tags : {R"({"team":"web"})", R"({"team":"ads"})"}) {
        const auto answer =
            change(R"({"if_revision":2,"description":"d","tags":)" + std::string(tags) + "}");
        EXPECT_EQ(answer.status, 409U) << answer.body;
        EXPECT_NE(answer.body.find("other tags than those that were authorised"), std::string::npos)
            << answer.body;
    }
    const auto old = change(R"({"if_revision":1,"tags":{"team":"web"}})");
    EXPECT_EQ(old.status, 409U);
    EXPECT_NE(old.body.find("the key has revision 2"), std::string::npos) << old.body;
    EXPECT_EQ(rig_.store.find(key_id)->tags.at("team"), "prod");
    EXPECT_EQ(rig_.store.find(key_id)->description, "");
    EXPECT_EQ(rig_.store.find(key_id)->revision, 2U);
    rig_.catalogue.put(*rig_.store.find(key_id));
    EXPECT_EQ(change(R"({"if_revision":2,"tags":{"team":"web"}})").status, 200U);
    EXPECT_EQ(rig_.store.find(key_id)->tags.at("team"), "web");
}

TEST_F(LifecycleApiTest, KeysThatSignOrMakeMacsRotateByOrderOnlyAndAreToldWhy) {
    for (const auto* kind :
         {"ecdsa_p256", "ecdsa_p384", "ed25519", "rsa_pss_3072", "rsa_pss_4096", "hmac_sha_256"}) {
        const std::string of_kind = R"("kind":")" + std::string(kind) + "\"";
        const auto why = "only a key of kind aes_256 rotates by itself: the next public key";
        expect_refused(Method::POST, "/v1/keys", "{" + of_kind + R"(,"rotation_period_days":90})",
                       why);
        if (of_kind.find("rsa") != std::string::npos) continue;  // takes its time to be made
        const std::string path = "/v1/keys/" + make("{" + of_kind + "}");
        expect_refused(Method::PATCH, path, R"({"if_revision":1,"rotation_period_days":90})", why);
        EXPECT_EQ(call(Method::POST, path + "/rotate").status, 200U) << kind;
        EXPECT_EQ(
            call(Method::PATCH, path, R"({"if_revision":2,"rotation_period_days":null})").status,
            200U)
            << "there is nothing to switch off";
    }
}

TEST_F(LifecycleApiTest, AliasesAreMadeMovedListedAndTakenAway) {
    const auto first = make();
    const auto second = make();
    const auto put = [&](const std::string& alias, const std::string& key) {
        return call(Method::PUT, "/v1/aliases/" + alias, R"({"key":")" + key + "\"}");
    };
    EXPECT_EQ(std::string(put("a", first).body), R"({"alias":"a","key_id":")" + first + "\"}");
    EXPECT_EQ(put("b", first).status, 200U);
    EXPECT_EQ(put("b", second).status, 200U);
    EXPECT_EQ(put("b", second).status, 200U);
    EXPECT_EQ(put("c", "00000000-0000-4000-8000-000000000000").status, 404U);
    const auto page = json_of(call(Method::GET, "/v1/aliases", "", "root", "limit=1"));
    ASSERT_EQ(page.find("aliases")->array()->size(), 1U);
    EXPECT_EQ(text_in(page.find("aliases")->array()->front(), "key_id"), first);
    const auto rest = json_of(call(Method::GET, "/v1/aliases", "", "root",
                                   "limit=5&cursor=" + text_in(page, "next_cursor")));
    ASSERT_EQ(rest.find("aliases")->array()->size(), 1U);
    EXPECT_EQ(text_in(rest.find("aliases")->array()->front(), "key_id"), second);
    EXPECT_EQ(rest.find("next_cursor"), nullptr);
    EXPECT_EQ(call(Method::DELETE, "/v1/aliases/b").status, 200U);
    EXPECT_EQ(call(Method::DELETE, "/v1/aliases/b").status, 404U);
    // "zz" is no hexadecimal, and the others are no alias: "-a" and "A".
    for (const auto* cursor : {"cursor=zz", "cursor=2d61", "cursor=41"})
        EXPECT_EQ(call(Method::GET, "/v1/aliases", "", "root", cursor).status, 400U) << cursor;
    EXPECT_EQ(call(Method::GET, "/v1/aliases", "", "app").status, 403U);
}

TEST_F(LifecycleApiTest, WhoGovernsSomeNamesTakesNoOthers) {
    const auto mine = make(R"({"alias":"dev-a"})");
    const auto theirs = make(R"({"alias":"prod"})");
    const auto put = [&](const std::string& alias, const std::string& key) {
        return call(Method::PUT, "/v1/aliases/" + alias, R"({"key":")" + key + "\"}", "namer")
            .status;
    };
    EXPECT_EQ(put("dev-b", mine), 200U);
    EXPECT_EQ(put("free", mine), 403U);     // a name that is not his
    EXPECT_EQ(put("prod", mine), 403U);     // … and taken
    EXPECT_EQ(put("dev-c", theirs), 403U);  // a key that is not his
    EXPECT_EQ(call(Method::DELETE, "/v1/aliases/prod", "", "namer").status, 403U);
    EXPECT_EQ(call(Method::PUT, "/v1/aliases/shop", R"({"key":")" + mine + "\"}").status, 200U);
    // The key is his to name, by one of its names; the other isn't.
    EXPECT_EQ(call(Method::DELETE, "/v1/aliases/shop", "", "namer").status, 403U);
    EXPECT_EQ(call(Method::DELETE, "/v1/aliases/dev-b", "", "namer").status, 200U);
}

TEST_F(LifecycleApiTest, WhoMayMakeKeysMayNotThereforeNameThem) {
    const auto make_as_operator = [&](std::string_view body) {
        return call(Method::POST, "/v1/keys", body, "operator").status;
    };
    EXPECT_EQ(make_as_operator(R"({"alias":"credentials"})"), 403U);
    EXPECT_EQ(make_as_operator("{}"), 201U);
}

TEST_F(LifecycleApiTest, ARuleOfTheLargestSizeComesBackAsItWent) {
    // Control characters take most room as they are written.
    const auto rule_of = [](std::size_t bytes) {
        std::string required;
        for (std::size_t i = 0; i < 4; ++i) {
            const std::size_t size = bytes / 4 - 1;
            required += (i == 0 ? "\"" : ",\"") + std::string(1, static_cast<char>('a' + i));
            for (std::size_t k = 0; k < size; ++k) required += "\\b";
            required += "\"";
        }
        return R"({"context_rule":{"required":[)" + required + "]}}";
    };
    const auto id = make(rule_of(kms::max_context_bytes));
    const auto key = rig_.store.find(base::Uuid::parse(id).value());
    ASSERT_TRUE(key);
    EXPECT_EQ(key->context_rule.required.size(), 4U);
    EXPECT_EQ(key->context_rule.required.front().size(), kms::max_context_bytes / 4);
    expect_refused(Method::POST, "/v1/keys", rule_of(kms::max_context_bytes + 4), "required");
}

// Every route that names a key or an alias, by what stands behind the name.
TEST_F(LifecycleApiTest, AForbiddenKeyLooksUnknownOnEveryRoute) {
    const auto hidden = make(R"({"alias":"hidden"})");
    const std::string unknown = "00000000-0000-4000-8000-000000000000";
    const std::map<std::string, std::string, std::less<>> bodies{
        {"encrypt", R"({"plaintext":"QQ=="})"},
        {"sign", R"({"message":"QQ=="})"},
        {"verify", R"({"message":"QQ==","signature":"QQ=="})"},
        {"mac", R"({"message":"QQ=="})"},
        {"verify-mac", R"({"message":"QQ==","mac":"QQ=="})"}};
    std::size_t routes = 0;
    for (const auto& route : rig_.api.routes()) {
        const std::string pattern(route.pattern);
        const bool by_id = pattern.find("{key}") != std::string::npos;
        const std::string place = by_id ? "{key}" : "{alias}";
        const auto at = pattern.find(place);
        if (at == std::string::npos || route.method == Method::PUT) continue;
        ++routes;
        const auto answer_for = [&](const std::string& name) {
            const auto known = bodies.find(pattern.substr(pattern.rfind('/') + 1));
            std::string body = known == bodies.end() ? "" : known->second;
            if (pattern.ends_with("/data-keys")) body = "{}";
            if (route.method == Method::PATCH) body = R"({"if_revision":1})";
            std::string path = pattern;
            return call(route.method, path.replace(at, place.size(), name), body, "nearly");
        };
        const auto forbidden = answer_for(by_id ? hidden : "hidden");
        const auto missing = answer_for(by_id ? unknown : "nobody");
        EXPECT_EQ(forbidden.status, 403U) << pattern << forbidden.body;
        EXPECT_EQ(missing.status, forbidden.status) << pattern << missing.body;
        EXPECT_EQ(missing.body, forbidden.body) << pattern;
    }
    EXPECT_EQ(routes, 31U);
}

TEST_F(LifecycleApiTest, AForbiddenKeyLooksUnknownWhereABodyNamesIt) {
    const auto hidden = make(R"({"alias":"hidden"})");
    const auto mine = make(R"({"alias":"mine"})");
    const std::string unknown = "00000000-0000-4000-8000-000000000000";
    const auto expect_alike = [&](Method method, const std::string& path, const std::string& before,
                                  const std::string& forbidden, const std::string& missing) {
        const auto one = call(method, path, before + forbidden + "\"}", "nearly");
        const auto other = call(method, path, before + missing + "\"}", "nearly");
        EXPECT_EQ(one.status, 403U) << one.body;
        EXPECT_EQ(other.status, one.status) << other.body;
        EXPECT_EQ(other.body, one.body);
    };
    expect_alike(Method::PUT, "/v1/aliases/fresh", R"({"key":")", hidden, unknown);
    const auto made = call(Method::POST, "/v1/keys/" + mine + "/data-keys", "{}");
    const auto wrapped = text_in(json_of(made).find("data_keys")->array()->front(), "wrapped");
    const std::string before = R"({"wrapped":")" + wrapped + R"(","to_key":")";
    expect_alike(Method::POST, "/v1/data-keys/rewrap", before, hidden, unknown);
    expect_alike(Method::POST, "/v1/data-keys/rewrap", before, "alias/hidden", "alias/nobody");
}

TEST_F(LifecycleApiTest, EveryOrderNeedsItsOwnRightAndAnUnknownKeyLooksForbidden) {
    const std::string key = "/v1/keys/" + make();
    const std::string unknown = "/v1/keys/00000000-0000-4000-8000-000000000000";
    for (const auto* path : {"/rotate", "/enable", "/disable", "/schedule-deletion",
                             "/cancel-deletion", "/mark-compromised"}) {
        const auto forbidden = call(Method::POST, key + path, "", "operator");
        EXPECT_EQ(forbidden.status, 403U) << path;
        EXPECT_EQ(call(Method::POST, unknown + path, "", "operator").body, forbidden.body) << path;
        EXPECT_EQ(call(Method::POST, unknown + path).status, 404U) << path;
    }
    EXPECT_EQ(call(Method::PATCH, key, R"({"if_revision":1})", "operator").status, 403U);
    EXPECT_EQ(rig_.store.load().at(0).revision, 1U);
}

}  // namespace
}  // namespace tests
