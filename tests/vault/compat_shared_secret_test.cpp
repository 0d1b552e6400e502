// The shape of servers that know each other by one secret: what its clients send and must get.
#include "tests/support/intents.h"
#include "tests/vault/compat_house.h"

namespace tests {
namespace {

constexpr std::string_view profile = "0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11";
constexpr std::string_view other_profile = "1c6b5f1d-6a1f-4b68-8a1c-4e4d2a1a7e22";
constexpr std::string_view credentials =
    R"({"instagram":{"download":{"user":"u","password":"p"},"session":{"cookie":"c"}},"x":{"note":1}})";

class SharedSecretShape : public testing::Test {
protected:
    static std::string body(std::string_view id, const std::string& more = {}) {
        return R"({"creatorProfileId":")" + std::string(id) + "\"" + more + "}";
    }
    server::Response store(std::string_view id = profile) {
        return house_.ask("POST /api/credentials/store",
                          body(id, R"(,"credentials":)" + std::string(credentials)), house_.sync());
    }
    server::Response ask(std::string_view route, const std::string& text) {
        return house_.ask("POST /api/credentials/" + std::string(route), text, house_.sync());
    }
    static void expect(const server::Response& answer, unsigned status, std::string_view text) {
        EXPECT_EQ(answer.status, status);
        EXPECT_EQ(answer.body, text);
    }
    static CompatHouse::Shown with_user(CompatHouse::Shown shown, std::string_view name,
                                        std::string_view of) {
        shown.bearer = std::string(name) + "." + std::string(of);
        return shown;
    }

    CompatHouse house_;
};

TEST_F(SharedSecretShape, WhatIsStoredIsRevealedAsItWas) {
    const auto stored = store();
    EXPECT_EQ(stored.status, 200U);
    const auto answer = base::parse_json(stored.body);
    EXPECT_EQ(base::to_json(*answer.find("success")), "true");
    EXPECT_EQ(*answer.find("creatorProfileId")->string(), profile);
    EXPECT_TRUE(base::Uuid::parse(*answer.find("id")->string()));
    EXPECT_EQ(answer.object()->size(), 3U);
    expect(ask("reveal", body(profile)), 200,
           R"({"success":true,"credentials":)" + std::string(credentials) + "}");
    // A version and its time stand beside it, without the secret.
    const auto info = house_.world.store->find({std::string(profile), "platforms"});
    EXPECT_EQ(info->current().version, 1U);
    EXPECT_EQ(info->updated_at, house_.world.clock.now());
}

TEST_F(SharedSecretShape, OfTheOlderRowsThatAreNotForReadingThoseThatStoreSayTheirIntent) {
    std::set<std::string> quiet = rows_that_change_nothing(house_.rows());
    std::erase_if(quiet, [](const std::string& name) { return !name.starts_with("POST /api/"); });
    EXPECT_EQ(quiet, (std::set<std::string>{"POST /api/credentials/reveal",
                                            "POST /api/credentials/reveal-download-cred",
                                            "POST /api/credentials/get-platform-session"}));
}

TEST_F(SharedSecretShape, WhatIsNoObjectIsNoCredentialsOfTheseClients) {
    server::Caller caller;
    caller.id = "secret:sync";
    caller.method = server::AuthenticationMethod::shared_secret;
    server::Operation operation(base::Uuid::random(), house_.world.clock.now(), caller);
    const server::Authorizer authorizer(
        server::parse_policy(compat_policy, vault::known_actions()));
    const auto grant =
        authorizer.authorize(operation, vault::store_credential,
                             vault::credential_resource({std::string(profile), "platforms"}));
    for (const char* secret : {"\"text\"", "[{}]", "null", "7"}) {
        vault::StoreRequest wanted;
        wanted.secret = base::SecretBytes(base::as_bytes(std::string_view(secret)));
        house_.world.service->store(grant, wanted, {});
        constexpr std::string_view refused =
            R"({"success":false,"error":"what is stored there is no credentials object"})";
        expect(ask("reveal", body(profile)), 409, refused);
        expect(ask("get-platform-session", body(profile, R"(,"platform":"x")")), 409, refused);
    }
    store();
    EXPECT_EQ(ask("reveal", body(profile)).status, 200U);
}

TEST_F(SharedSecretShape, TheIdStaysAndIsAnothersForAnother) {
    const auto id = [](const server::Response& answer) {
        return std::string(*base::parse_json(answer.body).find("id")->string());
    };
    const std::string first = id(store());
    EXPECT_EQ(id(store()), first);
    EXPECT_NE(id(store(other_profile)), first);
    EXPECT_EQ(first[14], '8');
}

TEST_F(SharedSecretShape, ASpellingOfAProfileIsNoOtherProfile) {
    store();
    std::string upper(profile);
    for (char& c : upper) c = c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
    EXPECT_EQ(ask("reveal", body(upper)).status, 200U);
}

TEST_F(SharedSecretShape, APartIsThatPartAlone) {
    store();
    const std::string selector = body(profile, R"(,"platform":"instagram")");
    expect(ask("reveal-download-cred", selector), 200,
           R"({"success":true,"platform":"instagram","credentials":{"user":"u","password":"p"}})");
    expect(ask("get-platform-session", selector), 200,
           R"({"success":true,"platform":"instagram","session":{"cookie":"c"}})");
    for (const char* platform : {"x", "nothing"}) {
        expect(ask("get-platform-session",
                   body(profile, R"(,"platform":")" + std::string(platform) + "\"")),
               404, R"({"success":false,"error":"no session for this platform"})");
    }
    expect(ask("reveal-download-cred", body(profile)), 400,
           R"({"success":false,"error":"platform required"})");
}

TEST_F(SharedSecretShape, APolicyCanGiveAPartAndKeepTheRest) {
    store();
    const CompatHouse::Shown downloader{.secret = CompatHouse::secret_of("downloader")};
    const std::string selector = body(profile, R"(,"platform":"instagram")");
    EXPECT_EQ(house_.ask("POST /api/credentials/reveal-download-cred", selector, downloader).status,
              200U);
    for (const char* route : {"reveal", "get-platform-session"}) {
        const auto answer =
            house_.ask("POST /api/credentials/" + std::string(route), selector, downloader);
        expect(answer, 403, R"({"success":false,"error":"Forbidden"})");
    }
}

TEST_F(SharedSecretShape, WrongBodiesGetTheAnswersOfOld) {
    constexpr std::string_view no_profile =
        R"({"success":false,"error":"creatorProfileId required"})";
    constexpr std::string_view no_credentials =
        R"({"success":false,"error":"credentials object required"})";
    for (const char* text :
         {"", "{}", "[]", "null", R"({"creatorProfileId":7})", R"({"creatorProfileId":""})",
          R"({"creatorProfileId":"../x","credentials":{}})"}) {
        for (const char* route : {"store", "reveal", "reveal-download-cred"}) {
            expect(ask(route, text), 400, no_profile);
        }
    }
    for (const char* more : {"", R"(,"credentials":null)", R"(,"credentials":"{}")",
                             R"(,"credentials":[1])", R"(,"credentials":7)"}) {
        expect(ask("store", body(profile, more)), 400, no_credentials);
    }
    const auto broken = ask("store", "{");
    EXPECT_EQ(broken.status, 400U);
    EXPECT_TRUE(says(broken, R"({"success":false,"error":")"));
    const auto sealed = ask("store", body(profile, R"(,"credentials":{"__enc":2})"));
    EXPECT_EQ(sealed.status, 400U);
    const std::string large(65UL * 1024, 'x');
    EXPECT_EQ(ask("store", body(profile, R"(,"credentials":{"a":")" + large + "\"}")).status, 400U);
    // What these shapes don't know is left alone.
    EXPECT_EQ(ask("store", body(profile, R"(,"credentials":{},"source":"app")")).status, 200U);
}

TEST_F(SharedSecretShape, ThePathsTriedAreAllThatTheOlderShapesServe) {
    std::set<std::string_view> known(vault::shared_secret_paths.begin(),
                                     vault::shared_secret_paths.end());
    known.insert(vault::broker_paths.begin(), vault::broker_paths.end());
    EXPECT_EQ(house_.patterns(), known);
}

TEST_F(SharedSecretShape, NobodyWithoutTheSecretGetsAnything) {
    store();
    constexpr std::string_view unauthorized = R"({"success":false,"error":"Unauthorized"})";
    const std::string user = "ann." + std::string(profile);
    for (const CompatHouse::Shown& shown :
         {CompatHouse::Shown{}, CompatHouse::Shown{.secret = "wrong"},
          CompatHouse::Shown{.secret = std::string(40, 'x')}, CompatHouse::Shown{.bearer = user},
          CompatHouse::Shown{.certificate = "spiffe://strongroom/broker"},
          CompatHouse::Shown{.secret = CompatHouse::secret_of("sync"),
          .api_key = CompatHouse::secret_of("sync")}}) {
        for (const std::string& target : house_.targets(vault::shared_secret_paths)) {
            expect(house_.ask(target, body(profile, R"(,"platform":"x")"), shown), 401,
                   unauthorized);
        }
    }
    EXPECT_EQ(house_.users().asked, 0);
    const CompatHouse::Shown stranger{.secret = CompatHouse::secret_of("stranger")};
    for (const std::string& target : house_.targets(vault::shared_secret_paths)) {
        expect(house_.ask(target, body(profile, R"(,"platform":"x")"), stranger), 403,
               R"({"success":false,"error":"Forbidden"})");
    }
}

TEST_F(SharedSecretShape, AUserWhoseTokenHasExpiredIsNobodyAtEveryRoute) {
    store();
    CompatHouse::Shown shown = house_.sync();
    shown.bearer = house_.worker_token(std::chrono::seconds(60), std::string(profile));
    const auto reveal = [&] {
        return house_.ask("POST /api/credentials/reveal", body(profile), shown);
    };
    EXPECT_EQ(reveal().status, 200U);
    house_.world.clock.advance(std::chrono::seconds(60));
    const int calls = house_.world.keys.calls;
    for (const std::string& target : house_.targets(vault::shared_secret_paths)) {
        expect(house_.ask(target, body(profile, R"(,"platform":"x")"), shown), 401,
               R"({"success":false,"error":"Unauthorized"})");
    }
    EXPECT_EQ(house_.world.keys.calls, calls);
}

TEST_F(SharedSecretShape, AUserMustBeEntitledBeforeAnythingIsDecrypted) {
    store();
    store(other_profile);
    const int calls = house_.world.keys.calls;
    const auto reveal = [this](const CompatHouse::Shown& shown) {
        return house_.ask("POST /api/credentials/reveal", body(profile), shown);
    };
    expect(reveal(with_user(house_.sync(), "bob", other_profile)), 403,
           R"({"success":false,"error":"Forbidden"})");
    CompatHouse::Shown unknown = house_.sync();
    unknown.bearer = "bad";
    expect(reveal(unknown), 401, R"({"success":false,"error":"Unauthorized"})");
    EXPECT_EQ(house_.world.keys.calls, calls);  // no data key was unwrapped
    EXPECT_EQ(reveal(with_user(house_.sync(), "ann", profile)).status, 200U);
    EXPECT_NE(house_.last_record().find(R"("user":{"id":"user:ann")"), std::string::npos);
    // The user's right does not stand in for the server's.
    const CompatHouse::Shown stranger{.secret = CompatHouse::secret_of("stranger")};
    EXPECT_EQ(reveal(with_user(stranger, "ann", profile)).status, 403U);
}

TEST_F(SharedSecretShape, WithoutAConfiguredSecretItSaysSoAndIsRecorded) {
    CompatHouse house({.secret_is_set = false});
    for (const char* route : {"store", "reveal", "reveal-download-cred", "get-platform-session"}) {
        for (const auto& shown : {CompatHouse::Shown{}, house.sync()}) {
            const auto answer =
                house.ask("POST /api/credentials/" + std::string(route), body(profile), shown);
            expect(answer, 500, R"({"success":false,"error":"RBAC_SYNC_WEBHOOK_SECRET not set"})");
            const std::string record = house.last_record();
            const std::string_view action =
                std::string_view(route) == "store" ? "store_credential" : "reveal_credential";
            EXPECT_NE(record.find(action), std::string::npos) << route << ": " << record;
            EXPECT_NE(record.find(R"("status":500)"), std::string::npos) << record;
            EXPECT_NE(record.find("192.0.2.7"), std::string::npos) << record;
        }
    }
}

TEST_F(SharedSecretShape, TroubleHasTheShapeToo) {
    EXPECT_EQ(ask("reveal", body(profile)).status, 404U);
    store();
    house_.world.keys.unavailable = true;
    const auto away = ask("reveal", body(profile));
    EXPECT_EQ(away.status, 503U);
    EXPECT_TRUE(says(away, R"({"success":false,"error":")"));
    EXPECT_FALSE(says(away, "password"));
    server::Request head;
    head.method = server::Method::POST;
    head.path = "/api/credentials/store";
    const auto large =
        house_.gate().refuse(head, {base::ErrorCode::payload_too_large, "the body is too large"});
    expect(large, 413, R"({"success":false,"error":"the body is too large"})");
}

TEST_F(SharedSecretShape, AnAlteredRowIsNeverRevealed) {
    store();
    store(other_profile);
    // The other profile's sealed text in this one's place.
    house_.edit(
        "UPDATE versions SET sealed = (SELECT other.sealed FROM versions other WHERE "
        "other.credential <> versions.credential)");
    const auto answer = ask("reveal", body(profile));
    EXPECT_EQ(answer.status, 422U);
    EXPECT_TRUE(says(answer, R"({"success":false,"error":")"));
    EXPECT_NE(house_.last_record().find("integrity_failure"), std::string::npos);
}

TEST(SharedSecretShapeWithTags, WhatDoesNotOpenIsReplacedByWhoMayGiveItTags) {
    const std::string body =
        R"({"creatorProfileId":")" + std::string(profile) + R"(","credentials":{"x":1}})";
    for (const bool may : {false, true}) {
        CompatHouse house(
            {.policy = may ? with_right_to_tag("*/platforms") : std::string(compat_policy)});
        const auto store = [&](const CompatHouse::Shown& who) {
            return house.ask("POST /api/credentials/store", body, who).status;
        };
        EXPECT_EQ(store(house.sync()), 200U);
        house.edit(R"(UPDATE credentials SET tags = '{"team":"mine"}')");
        auto for_a_user = house.sync();
        for_a_user.bearer = "ann." + std::string(profile);
        EXPECT_EQ(store(for_a_user), 422U) << "the user may not";
        EXPECT_EQ(store(house.sync()), may ? 200U : 422U);
        EXPECT_EQ(house.last_record().find(R"("replaced_damaged":"yes")") != std::string::npos,
                  may);
        house.world.keys.primary = FakeDataKeys::key_version + 1;
        house.world.keys.refused_version = FakeDataKeys::key_version;
        EXPECT_EQ(store(house.sync()), may ? 200U : 409U);
    }
}

constexpr std::string_view two_an_hour =
    R"({"version":1,"tiers":{"user":[{"id":"reveals","actions":["reveal_credential"],"quota":{"hour":2}}],
        "server":[]},"bindings":[{"caller":"secret:*","tier":"server"}],"default":"user"})";

TEST_F(SharedSecretShape, AUserOverTheQuotaIsRefusedAndOthersAreNot) {
    CompatHouse house({.tiers = std::string(two_an_hour)});
    const auto reveal = [&](std::string_view user) {
        return house.ask("POST /api/credentials/reveal", body(profile),
                         with_user(house.sync(), user, profile));
    };
    house.ask("POST /api/credentials/store", body(profile, R"(,"credentials":{"a":1})"),
              house.sync());
    EXPECT_EQ(reveal("ann").status, 200U);
    EXPECT_EQ(reveal("ann").status, 200U);
    const auto over = reveal("ann");
    expect(over, 429, R"({"success":false,"error":"quota_exceeded","remaining":0})");
    EXPECT_EQ(reveal("bob").status, 200U);
}

TEST_F(SharedSecretShape, AQuotaThatCannotBeCheckedIsARefusal) {
    CompatHouse house({.tiers = std::string(two_an_hour)});
    house.ask("POST /api/credentials/store", body(profile, R"(,"credentials":{"a":1})"),
              house.sync());
    house.database->write([](server::Session& sql) { sql << "DROP TABLE budget_counters"; });
    const int calls = house.world.keys.calls;
    const auto answer = house.ask("POST /api/credentials/reveal", body(profile),
                                  with_user(house.sync(), "ann", profile));
    expect(answer, 429, R"({"success":false,"error":"quota_check_failed","remaining":0})");
    EXPECT_EQ(house.world.keys.calls, calls);
}

}  // namespace
}  // namespace tests
