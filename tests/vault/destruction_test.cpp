#include "vault/destruction.h"

#include "tests/support/expect_error.h"
#include "tests/support/openssl_verify.h"
#include "tests/vault/api_house.h"
#include "tests/vault/software_destruction_signer.h"

namespace tests {
namespace {

using server::Method;

TEST(DestructionText, IsOneLineInTheOrderDrawn) {
    vault::Destruction made{*base::Uuid::parse("0f0e0d0c-0b0a-4908-8706-050403020100"),
                            "acme",
                            {{"instagram", {2, 2}, 2}, {"facebook", {7, 7}, 1}},
                            "jwt:\"x\"\n",
                            base::from_milliseconds(1'800'000'000'123),
                            std::nullopt};
    EXPECT_EQ(made.versions(), 3U);
    const std::string text =
        R"({"strongroom":"destruction","version":1,"id":"0f0e0d0c-0b0a-4908-8706-050403020100","owner":"acme",)"
        R"("credentials":[{"name":"instagram","versions":2},{"name":"facebook","versions":1}],)"
        R"("ordered_by":"jwt:\"x\"\n","at":"2027-01-15T08:00:00.123Z")";
    EXPECT_EQ(vault::destruction_text(made), text + "}");
    made.erasure = vault::Erasure{made.id, 2, 5, 9, true};
    EXPECT_EQ(
        vault::destruction_text(made),
        text +
            R"(,"erasure":{"id":"0f0e0d0c-0b0a-4908-8706-050403020100","part":2,"credentials":5,"versions":9,"complete":true}})");
}

class DestructionApiTest : public VaultApiHouse {
protected:
    DestructionApiTest() {
        world_.signer = &signer_;
        world_.start();
        build();
    }
    void store(const std::string& name, const std::string& owner = "acme") {
        const std::string path = "/v1/owners/" + owner + "/credentials/" + name;
        EXPECT_LT(send(Method::PUT, path, R"({"secret":{"k":1}})", owner).status, 300U);
    }
    Answer erase(const std::string& caller = "acme") {
        return send(Method::POST, "/v1/owners/acme/erase", {}, caller);
    }
    // What OpenSSL says of a record as the API gives it.
    bool verifies(const base::JsonValue& record) {
        const auto signature = base::parse_base64(*record.find("signature")->string());
        return openssl_verifies(OpensslScheme::ed25519, signer_.key.public_key(),
                                base::as_bytes(*record.find("text")->string()), *signature);
    }
    const std::string records = "/v1/owners/acme/destructions";
    SoftwareDestructionSigner signer_;
};

TEST_F(DestructionApiTest, ADeletionIsSignedAndTheRecordStays) {
    store("instagram");
    store("instagram");
    const auto destroyed = send(Method::DELETE, one);
    EXPECT_EQ(destroyed.status, 200U) << destroyed.body;
    const auto* record = destroyed.json.find("record");
    EXPECT_TRUE(verifies(*record));
    EXPECT_EQ(signer_.last_traceparent, traceparent);
    EXPECT_EQ(std::string(*record->find("key_id")->string()), signer_.key_id.to_string());
    EXPECT_EQ(record->find("key_version")->integer(), 7);
    EXPECT_EQ(*record->find("algorithm")->string(), "ed25519");
    const auto text = base::parse_json(*record->find("text")->string());
    EXPECT_EQ(*text.find("owner")->string(), "acme");
    EXPECT_EQ(*text.find("ordered_by")->string(), "spiffe://strongroom/acme");
    EXPECT_EQ(std::string(*text.find("at")->string()), base::to_rfc3339(world_.clock.now()));
    EXPECT_EQ(base::to_json(*text.find("credentials")), R"([{"name":"instagram","versions":2}])");
    EXPECT_EQ(facts_.at("destruction"), std::string(*record->find("id")->string()));
    EXPECT_EQ(facts_.at("versions"), "2");
    const auto kept = send(Method::GET, records);
    EXPECT_EQ(kept.status, 200U);
    EXPECT_EQ(kept.at({"destructions"}), "[" + std::string(base::to_json(*record)) + "]");
}

// Whom anything may keep from destroying any of them destroys none: what is told of by a name that
// is not there yet may be stored before the erasure is complete.
TEST_F(DestructionApiTest, ADenyOfAnyCredentialRefusesTheErasureOfItsOwner) {
    store("instagram");
    for (
        const auto& [rule, status] : std::vector<std::pair<std::string, unsigned>>{
            {R"("actions":["delete_credential"],"resources":["credential:acme/*"])", 403},
            {R"("actions":["delete_credential"],"resources":["credential:acme/instagram"])", 403},
            {R"("actions":["delete_credential"],"resources":["credential:ac*/not-there"])", 403},
            {R"("actions":["erase_owner"],"resources":["credential:*/insta*"])", 403},
            {R"("actions":["*"],"resources":["credential:acme/tag/hold=*"])", 403},
            {R"("actions":["delete_credential"],"resources":["*"],"when":{"tags":{"hold":["1"]}})",
             403},
            {R"("actions":["delete_credential"],"resources":["*"],"when":{"owner":["acme"]})", 403},
            {R"("actions":["delete_credential"],"resources":["*"],"unless":{"tags":{"old":["1"]}})",
             403},
            {R"("actions":["delete_credential"],"resources":["*"],"unless":{"owner":["acme"]})",
             200},
            {R"("actions":["delete_credential"],"resources":["credential:globex/*","value:*"])",
             200},
            {R"("actions":["delete_credential"],"resources":["*"],"when":{"owner":["globex"]})",
             200},
            {R"("actions":["reveal_credential","list_credentials"],"resources":["*"])", 200}}) {
        if (status == 200) store("instagram");
        std::string policy(vault_policy);
        const std::string role = R"("acme": [)";
        policy.insert(policy.find(role) + role.size(),
                      R"({"id":"d","effect":"deny",)" + rule + "},");
        world_.authorizer.replace(server::parse_policy(policy, vault::known_actions()));
        const auto answer = erase();
        EXPECT_EQ(answer.status, status) << rule << answer.body;
        world_.authorizer.replace(server::parse_policy(vault_policy, vault::known_actions()));
        EXPECT_EQ(reveal().status, status == 200 ? 404U : 200U) << rule;
    }
    SCOPED_TRACE("who may erase need not be allowed to delete");
    store("instagram");
    world_.authorizer.replace(server::parse_policy(R"({
        "version": 1,
        "roles": {"eraser": [{"id": "e", "effect": "allow", "actions": ["erase_owner"],
                              "resources": ["credential:*"]}]},
        "bindings": [{"caller": "spiffe://strongroom/reader", "roles": ["eraser"]}]})",
                                                   vault::known_actions()));
    EXPECT_EQ(erase("reader").status, 200U);
}

TEST_F(DestructionApiTest, WithoutASignatureNothingIsDestroyed) {
    store("instagram");
    signer_.unavailable = true;
    EXPECT_EQ(send(Method::DELETE, one).status, 503U);
    EXPECT_EQ(erase().status, 503U);
    EXPECT_EQ(reveal().status, 200U);
    EXPECT_EQ(send(Method::GET, records).at({"destructions"}), "[]");
    signer_.unavailable = false;
    EXPECT_EQ(send(Method::DELETE, one).status, 200U);
}

TEST_F(DestructionApiTest, WhereNoKeyIsConfiguredTheRecordHasNoSignature) {
    world_.signer = nullptr;
    world_.start();
    build();
    store("instagram");
    const auto destroyed = send(Method::DELETE, one);
    EXPECT_EQ(destroyed.at({"record", "signature"}), "(none)");
    EXPECT_NE(destroyed.at({"record", "text"}), "(none)");
}

TEST_F(DestructionApiTest, WhatIsStoredWhileItIsSignedIsNamed) {
    store("instagram");
    int stored = 0;
    signer_.before_answer = [&] {
        if (stored++ == 0) store("instagram");
    };
    const auto destroyed = send(Method::DELETE, one);
    EXPECT_EQ(destroyed.at({"destroyed", "versions"}), "2");
    EXPECT_NE(destroyed.at({"record", "text"}).find(R"(\"versions\":2)"), std::string::npos);
    signer_.before_answer = [&] { store("busy"); };
    store("busy");
    EXPECT_EQ(send(Method::DELETE, all + "/busy").status, 503U) << "it ends at some time";
    EXPECT_EQ(send(Method::GET, all + "/busy").status, 200U);
    EXPECT_EQ(erase().status, 503U);
}

TEST_F(DestructionApiTest, AnOwnerIsErasedPartByPart) {
    for (std::size_t i = 0; i < vault::max_part_credentials + 2; ++i) {
        store("c" + std::to_string(1000 + i));
    }
    store("mine", "globex");
    const auto first = erase();
    EXPECT_EQ(first.status, 200U) << first.body;
    EXPECT_EQ(first.at({"destroyed", "credentials"}), "100");
    EXPECT_EQ(first.at({"erasure", "complete"}), "false");
    EXPECT_EQ(first.at({"erasure", "part"}), "1");
    EXPECT_TRUE(verifies(*first.json.find("record")));
    ASSERT_EQ(items_.size(), 100U);
    EXPECT_EQ(items_[99].resource, "c1099");
    EXPECT_EQ(facts_.at("part"), "1");
    EXPECT_EQ(send(Method::GET, all + "/c1099").status, 404U);
    EXPECT_EQ(send(Method::GET, all + "/c1100").status, 200U);

    SCOPED_TRACE("it goes on after a restart, and what came meanwhile goes, too");
    world_.start();
    build();
    store("c1000");
    const auto second = erase();
    EXPECT_EQ(second.at({"erasure", "id"}), first.at({"erasure", "id"}));
    EXPECT_EQ(second.at({"erasure", "part"}), "2");
    EXPECT_EQ(second.at({"erasure", "credentials"}), "103");
    EXPECT_EQ(second.at({"erasure", "complete"}), "true");
    EXPECT_TRUE(verifies(*second.json.find("record")));
    EXPECT_EQ(send(Method::GET, all).at({"credentials"}), "[]");
    EXPECT_EQ(erase().status, 404U) << "there is nothing left";
    EXPECT_EQ(send(Method::GET, "/v1/owners/globex/credentials/mine", {}, "globex").status, 200U);

    store("anew");
    const auto anew = erase();
    EXPECT_EQ(anew.at({"erasure", "part"}), "1");
    EXPECT_NE(anew.at({"erasure", "id"}), first.at({"erasure", "id"}));
    EXPECT_EQ(anew.at({"erasure", "complete"}), "true");
}

TEST_F(DestructionApiTest, AnErasureWhoseRestWasDeletedIsCompletedByAnEmptyPart) {
    for (std::size_t i = 0; i <= vault::max_part_credentials; ++i) {
        store("c" + std::to_string(1000 + i));
    }
    EXPECT_EQ(erase().at({"erasure", "complete"}), "false");
    EXPECT_EQ(send(Method::DELETE, all + "/c1100").status, 200U);
    const auto last = erase();
    EXPECT_EQ(last.at({"destroyed", "credentials"}), "0");
    EXPECT_EQ(last.at({"erasure", "complete"}), "true");
    EXPECT_EQ(last.at({"erasure", "credentials"}), "100");
}

TEST_F(DestructionApiTest, RecordsComePageByPageAndByName) {
    for (const auto* name : {"a", "b", "a"}) {
        store(name);
        send(Method::DELETE, all + "/" + name);
    }
    const auto first = send(Method::GET, records + "?limit=2");
    EXPECT_EQ(first.json.find("destructions")->array()->size(), 2U);
    const std::string cursor(*first.json.find("next_cursor")->string());
    const auto second = send(Method::GET, records + "?limit=2&cursor=" + cursor);
    EXPECT_EQ(second.json.find("destructions")->array()->size(), 1U);
    EXPECT_EQ(second.at({"next_cursor"}), "(none)");
    EXPECT_EQ(send(Method::GET, records + "?name=a").json.find("destructions")->array()->size(),
              2U);
    for (const auto* query : {"limit=0", "cursor=zz", "cursor=2d31", "cursor=3031",
                              "cursor=", "name=", "name=*", "owner=globex"}) {
        EXPECT_EQ(send(Method::GET, records + "?" + query).status, 400U) << query;
    }
    EXPECT_EQ(send(Method::POST, "/v1/owners/acme/erase?limit=1").status, 400U);
}

TEST_F(DestructionApiTest, EachNeedsItsRight) {
    store("instagram");
    for (const auto* caller : {"globex", "reader", "stranger", "operator"}) {
        EXPECT_EQ(erase(caller).status, 403U) << caller;
        EXPECT_EQ(send(Method::GET, records, {}, caller).status, 403U) << caller;
        EXPECT_EQ(send(Method::DELETE, one, {}, caller).status, 403U) << caller;
    }
    EXPECT_EQ(send(Method::GET, one).status, 200U);
    auto operation = world_.operation();
    const auto wrong = world_.authorizer.authorize(operation, vault::describe_credential,
                                                   vault::credentials_resource("acme"));
    EXPECT_ERROR(internal, world_.service->erase_owner(wrong, ""));
    EXPECT_ERROR(internal, world_.service->destructions(wrong, "", 0, 1));
}

}  // namespace
}  // namespace tests
