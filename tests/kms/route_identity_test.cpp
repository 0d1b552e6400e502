// Every route of the key service against every kind of wrong caller.
#include "tests/support/route_identity.h"

#include "base/encoding.h"
#include "kms/paths.h"
#include "server/operational_routes.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

class KmsRouteIdentity : public testing::Test {
protected:
    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
    const base::Uuid key_ = rig_.create_key("credentials")->id;
    std::unique_ptr<kms::Api> api_;
    RouteIdentityHouse house_{
        rig_.authorizer, kms::back_up, [this](std::vector<server::Route> common) {
            api_ = std::make_unique<kms::Api>(kms::ApiParts{
                rig_.service, rig_.lifecycle, rig_.idempotency, rig_.signing, rig_.catalogue,
                rig_.authorizer, rig_.store, rig_.audit, rig_.metrics, std::move(common)});
            return api_->routes();
        }};
    const OpenRoutes open_{"GET /healthz"};
    // One that is there, so that a right would lead somewhere.
    const std::map<std::string, std::string> parameters_ = {
        {"key", key_.to_string()}, {"alias", "credentials"}, {"id", "0123456789abcdef"}};
};

TEST_F(KmsRouteIdentity, TheRoutesTriedAreAllThatTheDaemonServes) {
    auto paths = server::common_paths({true, true, true});
    paths.insert(paths.end(), kms::api_paths.begin(), kms::api_paths.end());
    EXPECT_EQ(house_.patterns(), std::set<std::string_view>(paths.begin(), paths.end()));
}

// Their answers hold what they made; nothing of it stays here.
TEST_F(KmsRouteIdentity, EveryOtherRowThatIsNotForReadingSaysItsIntent) {
    EXPECT_EQ(
        rows_that_change_nothing(house_.routes()),
        (std::set<std::string>{
            "POST /v1/keys/{key}/data-keys", "POST /v1/keys/alias/{alias}/data-keys",
            "POST /v1/data-keys/unwrap", "POST /v1/data-keys/rewrap", "POST /v1/keys/{key}/encrypt",
            "POST /v1/keys/alias/{alias}/encrypt", "POST /v1/decrypt", "POST /v1/keys/{key}/sign",
            "POST /v1/keys/alias/{alias}/sign", "POST /v1/keys/{key}/verify",
            "POST /v1/keys/alias/{alias}/verify", "POST /v1/keys/{key}/mac",
            "POST /v1/keys/alias/{alias}/mac", "POST /v1/keys/{key}/verify-mac",
            "POST /v1/keys/alias/{alias}/verify-mac"}));
}

TEST_F(KmsRouteIdentity, WrongCallersAreRefusedEverywhere) {
    expect_wrong_callers_are_refused(house_, parameters_, open_);
}

TEST_F(KmsRouteIdentity, WhileTheProviderDoesNotAnswerNobodyGetsInByItsWord) {
    expect_no_word_of_the_provider_lets_nobody_in(house_, parameters_, open_);
}

TEST_F(KmsRouteIdentity, WithoutAnyRightThereIsNoAnswer) {
    const std::string wrapped = base::to_base64(rig_.create_data_keys(key_).keys[0].wrapped);
    const std::string text = R"({"plaintext":"YQ=="})";
    const std::string message = R"({"message":"YQ=="})";
    std::map<std::string, std::string> bodies = {
        {"POST /v1/data-keys/unwrap", R"({"wrapped":")" + wrapped + "\"}"},
        {"POST /v1/data-keys/rewrap", R"({"wrapped":")" + wrapped + "\"}"},
        {"PUT /v1/aliases/{alias}", R"({"key":")" + key_.to_string() + "\"}"},
        {"POST /v1/api-tokens", R"({"name":"ci"})"},
        {"POST /v1/budgets/lift", R"({"caller":"ci"})"},
        {"POST /v1/backups", ""},
        {"POST /v1/decrypt",
         R"({"ciphertext":")" + base::to_base64(rig_.encrypt(key_, "a")) + "\"}"}};
    for (const std::string& key : {std::string("{key}"), std::string("alias/{alias}")}) {
        bodies["POST /v1/keys/" + key + "/encrypt"] = text;
        bodies["POST /v1/keys/" + key + "/sign"] = message;
        bodies["POST /v1/keys/" + key + "/mac"] = message;
        bodies["POST /v1/keys/" + key + "/verify"] = R"({"message":"YQ==","signature":"YQ=="})";
        bodies["POST /v1/keys/" + key + "/verify-mac"] = R"({"message":"YQ==","mac":"YQ=="})";
        bodies["PATCH /v1/keys/" + key] = R"({"description":"x","if_revision":1})";
    }
    expect_no_right_is_no_answer(house_, parameters_, bodies, open_);
}

TEST_F(KmsRouteIdentity, WhatIsWrongWithARequestIsNotForWhoMayDoNothing) {
    expect_no_right_learns_nothing(house_);
}

}  // namespace
}  // namespace tests
