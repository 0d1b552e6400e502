// Tags of credentials, and rights that go by them.
#include <gtest/gtest.h>

#include "tests/vault/api_house.h"

namespace tests {
namespace {

using server::Method;

using TagsApiTest = VaultApiHouse;

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

TEST_F(TagsApiTest, RightsMayBeByTag) {
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

TEST_F(TagsApiTest, WhoGivesOtherTagsMustBeAllowedWithThoseToo) {
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

// A hand in the database makes a rule by tag fit another owner's credential.
TEST_F(TagsApiTest, EditedTagsGetNobodyAnotherOwnersSecret) {
    world_.authorizer.replace(server::parse_policy(policy_by_tags, vault::known_actions()));
    put(R"({"secret":{"k":1},"tags":{"team":"search"}})");
    put(R"({"secret":{"k":2}})");
    send(Method::PUT, all + "/own", R"({"secret":{"k":3},"tags":{"team":"payments"}})");
    EXPECT_EQ(reveal({}, "reader").status, 403U);
    edit(R"(UPDATE credentials SET tags = '{"team":"payments"}')");
    for (const auto* version : {"", R"({"version":1})", R"({"version":2})"}) {
        const auto answer = reveal(version, "reader");
        EXPECT_EQ(answer.status, 422U) << answer.body;
        EXPECT_EQ(answer.message(), base::decryption_failed().message());
    }
    const auto many = send(Method::POST, "/v1/owners/acme/reveal",
                           R"({"items":[{"name":"instagram"},{"name":"own"},)"
                           R"({"name":"instagram","version":1}]})",
                           "reader");
    EXPECT_EQ(many.body.find(R"("k":1)"), std::string::npos) << many.body;
    EXPECT_EQ(many.body.find(R"("k":2)"), std::string::npos) << many.body;
    EXPECT_NE(many.body.find(R"("secret":{"k":3})"), std::string::npos) << many.body;
    EXPECT_EQ(items_.at(0).outcome, "integrity_failure");
    EXPECT_EQ(items_.at(2).outcome, "integrity_failure");
    // Nor is what was edited sealed as true, whoever stores: its owner did not say so.
    for (const auto* caller : {"acme", "reader"}) {
        EXPECT_EQ(put(R"({"secret":{"k":4}})", caller).status, 422U);
        EXPECT_EQ(send(Method::POST, one + "/restore", R"({"version":1})", caller).status, 422U);
    }
    constexpr auto all_of_it = R"({"secret":{"k":4},"metadata":{},"tags":{"team":"payments"}})";
    EXPECT_EQ(put(all_of_it, "reader").status, 422U) << "by these tags it was decided who may";
    EXPECT_EQ(put(all_of_it).status, 200U) << "by none";
    EXPECT_EQ(facts_["replaced_damaged"], "yes");
    EXPECT_EQ(reveal({}, "reader").at({"secret"}), R"({"k":4})");
}

// Nobody knows which tags it had: they may be those of a deny.
TEST_F(TagsApiTest, WhatHadAnyTagsIsReplacedByWhoMayWhateverTheyWere) {
    const auto policy = [&](std::string_view denied) {
        world_.authorizer.replace(server::parse_policy(
            R"({"version": 1, "roles": {"acme": [
                {"id": "all", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]},
                {"id": "not-prod", "effect": "deny", "actions": [")" +
                std::string(denied) + R"("], "resources": ["credential:*/tag/env=prod"]}]},
                "bindings": [{"caller": "spiffe://strongroom/acme", "roles": ["acme"]}]})",
            vault::known_actions()));
    };
    constexpr auto all_of_it = R"({"secret":{"k":2},"metadata":{},"tags":{"env":"test"}})";
    put(R"({"secret":{"k":1},"tags":{"env":"prod"}})");
    for (const auto* tags : {R"({"env":"test"})", "{}", "x"}) {
        for (const auto* denied : {"store_credential", "tag_credential"}) {
            edit("UPDATE credentials SET tags = '" + std::string(tags) + "'");
            policy(denied);
            EXPECT_NE(put(all_of_it).status, 200U) << tags << denied;
            EXPECT_EQ(facts_.count("replaced_damaged"), 0U);
        }
        policy("reveal_credential");
        EXPECT_EQ(put(all_of_it).status, 200U) << tags;
        EXPECT_EQ(facts_["replaced_damaged"], "yes");
        EXPECT_EQ(reveal().at({"secret"}), R"({"k":2})");
    }
}

TEST_F(TagsApiTest, AShadowPolicyThatGoesByTagsHasNoEffect) {
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

TEST_F(TagsApiTest, GivingOtherTagsIsARightOfItsOwnForTheOldTagsAndTheNew) {
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

TEST_F(TagsApiTest, TagsAreARightOfTheirOwnEvenWhereNoRuleAsksForThem) {
    std::string untagged =
        R"({"version": 1, "roles": {"storer": [{"id": "stores", "effect": "allow",
        "actions": ["store_credential"], "resources": ["credential:acme/*"]}]},
        "bindings": [{"caller": "spiffe://strongroom/storer", "roles": ["storer"]}]})";
    put(R"({"secret":{"k":1},"tags":{"team":"theirs"}})");
    world_.authorizer.replace(server::parse_policy(untagged, vault::known_actions()));
    EXPECT_EQ(put(R"({"secret":{"k":2},"tags":{"team":"mine"}})", "storer").status, 403U);
    EXPECT_EQ(put(R"({"secret":{"k":2},"tags":{"team":"theirs"}})", "storer").status, 200U);
    edit("UPDATE versions SET key_id = 'x' WHERE version = 1");
    EXPECT_EQ(put(R"({"secret":{"k":2},"tags":{"team":"theirs"}})", "storer").status, 200U)
        << "an older version that can't be read says nothing of the tags";
    // Nor by tags that a hand gave it, or made unreadable.
    constexpr auto all_of_it = R"({"secret":{"k":3},"metadata":{},"tags":{"team":"mine"}})";
    edit(R"(UPDATE credentials SET tags = '{"team":"mine"}')");
    EXPECT_EQ(put(all_of_it, "storer").status, 422U);
    edit("UPDATE credentials SET tags = 'x'");
    EXPECT_EQ(put(all_of_it, "storer").status, 403U);
    edit(R"(UPDATE credentials SET tags = '{"team":"theirs"}')");
    world_.authorizer.replace(server::parse_policy(vault_policy, vault::known_actions()));
    EXPECT_EQ(reveal().at({"secret"}), R"({"k":2})") << "nothing was stored";
}

}  // namespace
}  // namespace tests
