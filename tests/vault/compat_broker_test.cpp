// The shape of a token broker: what its clients send and must get.
#include "tests/vault/compat_house.h"

namespace tests {
namespace {

constexpr std::string_view record_start =
    R"({"client_id":"shop","access_token":"EAAB-token","instagram_business_account_id":"178414",
        "facebook_page_id":"1001","ad_account_id":"act_7","meta_user_id":"99","app_secret":"s3",)";
// The clock of the tests stands at 2027-01-15T08:00:00Z.
constexpr std::string_view later = R"("token_expires_at":"2027-03-01T00:00:00.000Z"})";
constexpr std::string_view earlier = R"("token_expires_at":"2027-01-15T07:59:59Z"})";

class BrokerShape : public testing::Test {
protected:
    server::Response store(std::string_view end = later) {
        return house_.ask("POST /api/credentials", std::string(record_start) + std::string(end),
                          house_.broker());
    }
    server::Response get(std::string_view what) {
        return house_.ask("GET /api/credentials" + std::string(what), {}, house_.broker());
    }
    static void expect(const server::Response& answer, unsigned status, std::string_view text) {
        EXPECT_EQ(answer.status, status);
        EXPECT_EQ(answer.body, text);
    }
    CompatHouse house_;
};

TEST_F(BrokerShape, MetadataComesWithoutTheToken) {
    const auto stored = store();
    EXPECT_EQ(stored.status, 201U);
    EXPECT_TRUE(says(stored, R"({"success":true,"client_id":"shop",)"));
    EXPECT_EQ(store().status, 200U);
    const int calls = house_.world.keys.calls;
    const auto answer = get("?client_id=shop");
    expect(
        answer, 200,
        R"({"client_id":"shop","instagram_business_account_id":"178414","facebook_page_id":"1001",)"
        R"("ad_account_id":"act_7","meta_user_id":"99","token_expires_at":"2027-03-01T00:00:00.000Z",)"
        R"("updated_at":"2027-01-15T08:00:00.000Z"})");
    EXPECT_EQ(house_.world.keys.calls, calls);
    for (const auto* secret : {"EAAB", "s3"}) {
        EXPECT_FALSE(says(stored, secret));
        EXPECT_FALSE(says(answer, secret));
    }
}

TEST_F(BrokerShape, TheTokenComesWithAllThatWasSent) {
    store();
    expect(
        get("/token?client_id=shop"), 200,
        R"({"client_id":"shop","access_token":"EAAB-token","instagram_business_account_id":"178414",)"
        R"("facebook_page_id":"1001","ad_account_id":"act_7","meta_user_id":"99","app_secret":"s3",)"
        R"("token_expires_at":"2027-03-01T00:00:00.000Z","token_expired":false})");
    const std::string record = house_.last_record();
    EXPECT_NE(record.find(R"("action":"reveal_credential")"), std::string::npos) << record;
    EXPECT_NE(record.find(R"("token_expired":"false")"), std::string::npos) << record;
    EXPECT_EQ(record.find("EAAB"), std::string::npos);
}

TEST_F(BrokerShape, ARecordCannotSayOfItselfThatItsTokenIsGood) {
    store(R"("token_expired":false,"token_expires_at":"2020-01-01T00:00:00Z"})");
    const auto answer = get("/token?client_id=shop");
    EXPECT_TRUE(says(answer, R"("token_expired":true)"));
    EXPECT_FALSE(says(answer, R"("token_expired":false)"));
}

TEST_F(BrokerShape, AHandInTheMetadataWritesNoOtherFieldIntoAnAnswer) {
    store();
    house_.edit(
        R"(UPDATE credentials SET metadata = '{"client_id":"shop","access_token":"planted"}')");
    const auto answer = get("?client_id=shop");
    EXPECT_EQ(answer.status, 200U);
    EXPECT_FALSE(says(answer, "planted"));
}

TEST_F(BrokerShape, AMisspeltClientIsNotTheDefaultOne) {
    vault::compat::BrokerConfig config;
    config.default_client = "shop";
    CompatHouse house({.config = {std::nullopt, config}});
    const auto answer = house.ask("GET /api/credentials/token?clientid=other", {}, house.broker());
    expect(answer, 400, R"({"error":"clientid is not a known parameter"})");
}

TEST_F(BrokerShape, AnExpiredTokenSaysSoHereAndInTheRecord) {
    store(earlier);
    const auto answer = get("/token?client_id=shop");
    EXPECT_EQ(answer.status, 200U);
    EXPECT_TRUE(says(answer, R"("token_expired":true)"));
    EXPECT_NE(house_.last_record().find(R"("token_expired":"true")"), std::string::npos);
    // What decides is what was sealed, not the expiry beside it.
    vault::StoreRequest without_expiry;
    const std::string record = std::string(record_start) + std::string(earlier);
    without_expiry.secret = base::SecretBytes(base::as_bytes(record));
    const server::Authorizer authorizer(
        server::parse_policy(compat_policy, vault::known_actions()));
    auto operation = house_.world.operation("broker");
    const auto grant = authorizer.authorize(operation, vault::store_credential,
                                            vault::credential_resource({"broker", "shop"}));
    house_.world.service->store(grant, without_expiry, "");
    EXPECT_TRUE(says(get("/token?client_id=shop"), R"("token_expired":true)"));
    house_.edit("UPDATE credentials SET updated_at = updated_at + 1");
    EXPECT_EQ(get("/token?client_id=shop").status, 422U);
}

TEST_F(BrokerShape, GoodAndExpiredFetchesAreCountedApart) {
    store();
    get("/token?client_id=shop");
    get("/token?client_id=shop");
    store(earlier);
    get("/token?client_id=shop");
    get("?client_id=shop");
    EXPECT_EQ(house_.counted("tokens_fetched"), "2");
    EXPECT_EQ(house_.counted("expired_tokens_fetched"), "1");
}

TEST_F(BrokerShape, ATokenWithoutAnExpiryNeverExpires) {
    store(R"("token_expires_at":null})");
    house_.world.clock.advance(std::chrono::hours(24 * 365 * 20));
    EXPECT_TRUE(says(get("/token?client_id=shop"), R"("token_expired":false)"));
}

TEST_F(BrokerShape, WithoutAClientTheConfiguredOneIsMeant) {
    store();
    for (const auto* what : {"", "/token", "?client_id=", "?client_id=a/b"}) {
        expect(get(what), 400, R"({"error":"client_id required"})");
    }
    vault::compat::BrokerConfig config;
    config.default_client = "shop";
    CompatHouse house({.config = {std::nullopt, config}});
    house.ask("POST /api/credentials", std::string(record_start) + std::string(later),
              house.broker());
    for (const auto* what : {"", "/token"}) {
        const auto answer =
            house.ask("GET /api/credentials" + std::string(what), {}, house.broker());
        EXPECT_EQ(answer.status, 200U);
        EXPECT_TRUE(says(answer, R"("client_id":"shop")"));
    }
}

TEST_F(BrokerShape, WhatIsWrongWithARecordIsNamed) {
    const auto refused = [this](const std::string& text, const std::string& message) {
        expect(house_.ask("POST /api/credentials", text, house_.broker()), 400,
               R"({"error":")" + message + "\"}");
    };
    for (const char* text :
         {"", "[]", "{}", R"({"client_id":"","access_token":"t"})",
          R"({"client_id":"a/b","access_token":"t"})", R"({"client_id":-7,"access_token":"t"})",
          R"({"client_id":7.0,"access_token":"t"})", R"({"client_id":1e3,"access_token":"t"})",
          R"({"client_id":true,"access_token":"t"})", R"({"client_id":[7],"access_token":"t"})"}) {
        refused(text, "client_id required");
    }
    refused(R"({"client_id":"a"})", "access_token required");
    refused(R"({"client_id":"a","access_token":""})", "access_token required");
    refused(R"({"client_id":"a","access_token":"t","meta_user_id":{"x":1}})",
            "meta_user_id must be a short text");
    // As long as this they would not fit into the metadata, where a list shows them.
    refused(
        R"({"client_id":"a","access_token":"t","ad_account_id":1.)" + std::string(2000, '0') + "}",
        "ad_account_id must be a short text");
    std::string controls;
    for (int i = 0; i < 500; ++i) controls += "\\u0001";
    refused(R"({"client_id":"a","access_token":"t","meta_user_id":")" + controls + "\"}",
            "meta_user_id must be a short text");
    refused(R"({"client_id":"a","access_token":"t","token_expires_at":"soon"})",
            "token_expires_at must be a time like 2030-01-31T12:00:00Z (RFC 3339)");
    refused(
        R"({"client_id":"a","access_token":"t","refresh":{"client_id":"c","client_secret":"s"}})",
        "refresh.token_endpoint required");
    refused(R"({"client_id":"a","access_token":"t","refresh":true})",
            "refresh.token_endpoint required");
    refused(R"({"client_id":"a","access_token":"t","refresh":{"token_endpoint":"https://u",
               "client_id":"c","client_secret":"s","scope":1}})",
            "refresh.scope must be a text");
    // No address of a client's choice is ever asked.
    refused(R"({"client_id":"a","access_token":"t","refresh":{"token_endpoint":"https://u",
               "client_id":"c","client_secret":"s"}})",
            "refresh.token_endpoint is not allowed here");
    EXPECT_EQ(get("?client_id=a").status, 404U);  // nothing of it was stored
}

TEST_F(BrokerShape, AClientThatIsANumberIsFoundByItsDigitsAndStaysANumber) {
    for (const std::string id : {"7", "0", "9007199254740993", "123456789012345678901234567890"}) {
        const auto post = [&](const std::string& client, const std::string& token) {
            return house_.ask("POST /api/credentials",
                              R"({"client_id":)" + client + R"(,"access_token":")" + token + "\"}",
                              house_.broker());
        };
        const auto stored = post(id, "first");
        EXPECT_EQ(stored.status, 201U) << id;
        EXPECT_TRUE(says(stored, R"({"success":true,"client_id":)" + id + ","));
        expect(get("/token?client_id=" + id), 200,
               R"({"client_id":)" + id + R"(,"access_token":"first","token_expired":false})");
        // The text is the same client.
        EXPECT_EQ(post('"' + id + '"', "second").status, 200U);
        EXPECT_TRUE(says(get("/token?client_id=" + id), R"("access_token":"second")"));
    }
}

TEST_F(BrokerShape, ARecordThatWasImportedWithANumberIsAClientsToken) {
    // As `vaultctl import` stores it from a table or an export where the column is a number.
    house_.store_natively({"broker", "7"}, R"({"access_token":"t","client_id":7})");
    expect(get("/token?client_id=7"), 200,
           R"({"access_token":"t","client_id":7,"token_expired":false})");
}

// One that was stored before there was the bound.
TEST_F(BrokerShape, ALongFieldThatIsThereAlreadyIsShown) {
    const std::string field = "\"ad_account_id\":1." + std::string(2000, '0');
    const std::string record = R"({"client_id":"old","access_token":"t",)" + field + "}";
    EXPECT_EQ(house_.ask("POST /api/credentials", record, house_.broker()).status, 400U);
    house_.store_natively({"broker", "old"}, record);
    const auto shown = get("/token?client_id=old");
    EXPECT_EQ(shown.status, 200U);
    EXPECT_TRUE(says(shown, field));
}

TEST(BrokerShapeWithTags, WhatDoesNotOpenIsReplacedByWhoMayGiveItTags) {
    const std::string record = R"({"client_id":"shop","access_token":"t","meta_user_id":"9"})";
    for (const bool may : {false, true}) {
        CompatHouse house(
            {.policy = may ? with_right_to_tag("broker/*") : std::string(compat_policy)});
        const auto store = [&] {
            return house.ask("POST /api/credentials", record, house.broker());
        };
        EXPECT_EQ(store().status, 201U);
        house.edit("UPDATE credentials SET metadata = '{}'");
        const auto stored = store();
        EXPECT_EQ(stored.status, may ? 200U : 422U);
        EXPECT_EQ(house.last_record().find(R"("replaced_damaged":"yes")") != std::string::npos,
                  may);
        EXPECT_EQ(says(stored, "right tag_credential"), !may);
        EXPECT_EQ(house.ask("GET /api/credentials/token?client_id=shop", {}, house.broker()).status,
                  may ? 200U : 422U);
        house.edit("UPDATE credentials SET tags = 'x'");
        EXPECT_EQ(store().status, may ? 200U : 422U);
        house.world.keys.primary = FakeDataKeys::key_version + 1;
        house.world.keys.refused_version = FakeDataKeys::key_version;
        EXPECT_EQ(store().status, may ? 200U : 422U);
        EXPECT_EQ(house.last_record().find(R"("replaced_unopened":"yes")") != std::string::npos,
                  may);
    }
}

TEST_F(BrokerShape, EveryRouteNeedsAnIdentity) {
    store();
    const std::string text = std::string(record_start) + std::string(later);
    const CompatHouse::Shown stranger{.api_key = CompatHouse::secret_of("stranger")};
    for (std::string what : house_.targets(vault::broker_paths)) {
        const bool reads = what.starts_with("GET");
        if (reads) what += "?client_id=shop";
        const std::string_view body = reads ? std::string_view() : std::string_view(text);
        expect(house_.ask(what, body, {}), 401, R"({"error":"Unauthorized"})");
        expect(house_.ask(what, body, {.api_key = std::string(40, 'x')}), 401,
               R"({"error":"Unauthorized"})");
        expect(house_.ask(what, body, stranger), 403, R"({"error":"Forbidden"})");
        EXPECT_LT(house_.ask(what, body, {.certificate = "spiffe://strongroom/broker"}).status,
                  300U);
    }
}

TEST_F(BrokerShape, ATokenThatHasExpiredOpensNoRoute) {
    store();
    const CompatHouse::Shown worker{.bearer = house_.worker_token(std::chrono::seconds(60))};
    const auto ask_all = [&](const auto& expect_of) {
        for (std::string what : house_.targets(vault::broker_paths)) {
            const bool reads = what.starts_with("GET");
            if (reads) what += "?client_id=shop";
            const std::string text = std::string(record_start) + std::string(later);
            expect_of(
                house_.ask(what, reads ? std::string_view() : std::string_view(text), worker));
        }
    };
    ask_all([](const auto& answer) { EXPECT_LT(answer.status, 300U); });
    house_.world.clock.advance(std::chrono::seconds(60));
    ask_all([](const auto& answer) { expect(answer, 401, R"({"error":"Unauthorized"})"); });
}

TEST_F(BrokerShape, UnknownAndForbiddenClientsLookAlikeToWhoMayNot) {
    store();
    const CompatHouse::Shown stranger{.api_key = CompatHouse::secret_of("stranger")};
    const auto known = house_.ask("GET /api/credentials/token?client_id=shop", {}, stranger);
    const auto unknown = house_.ask("GET /api/credentials/token?client_id=none", {}, stranger);
    EXPECT_EQ(known.status, unknown.status);
    EXPECT_EQ(known.body, unknown.body);
    EXPECT_EQ(get("/token?client_id=none").status, 404U);
}

TEST_F(BrokerShape, AnotherApisCredentialIsNoToken) {
    house_.store_natively({"broker", "native"}, R"({"password":"p"})");
    expect(get("/token?client_id=native"), 409,
           R"({"error":"what is stored there is no client's token"})");
}

TEST_F(BrokerShape, TheKeyServiceAwayIs503AndNoToken) {
    store();
    house_.world.keys.unavailable = true;
    const auto answer = get("/token?client_id=shop");
    EXPECT_EQ(answer.status, 503U);
    EXPECT_FALSE(says(answer, "EAAB"));
    EXPECT_EQ(get("?client_id=shop").status, 200U);
}

constexpr std::string_view one_fetch_an_hour =
    R"({"version":1,"tiers":{"t":[{"id":"l","actions":["reveal_credential"],
                                   "quota":{"hour":1}}]},"bindings":[],"default":"t"})";

TEST_F(BrokerShape, OverAQuotaIs429WithWhatRemains) {
    CompatHouse house({.tiers = std::string(one_fetch_an_hour)});
    house.ask("POST /api/credentials", std::string(record_start) + std::string(later),
              house.broker());
    const std::string_view token = "GET /api/credentials/token?client_id=shop";
    EXPECT_EQ(house.ask(token, {}, house.broker()).status, 200U);
    expect(house.ask(token, {}, house.broker()), 429,
           R"({"error":"quota_exceeded","remaining":0})");
}

TEST_F(BrokerShape, AQuotaThatCannotBeCheckedIsARefusal) {
    CompatHouse house({.tiers = std::string(one_fetch_an_hour)});
    house.ask("POST /api/credentials", std::string(record_start) + std::string(later),
              house.broker());
    const int calls = house.world.keys.calls;
    house.database->write([](server::Session& sql) { sql << "DROP TABLE budget_counters"; });
    expect(house.ask("GET /api/credentials/token?client_id=shop", {}, house.broker()), 429,
           R"({"error":"quota_check_failed","remaining":0})");
    EXPECT_EQ(house.world.keys.calls, calls);
}

}  // namespace
}  // namespace tests
