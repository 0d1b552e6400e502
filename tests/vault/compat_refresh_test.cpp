// Expired tokens and their provider, over real HTTPS: asked once, by whom it may be, and nothing
// expired is handed out instead.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/support/expect_error.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/compat_house.h"

namespace tests {
namespace {

using namespace std::chrono_literals;

class TokenRefreshTest : public testing::Test {
protected:
    TokenRefreshTest() { make({}); }

    void make(vault::compat::RefreshConfig refresh) {
        vault::compat::TokenEndpointConfig endpoint;
        endpoint.https.url = url();
        endpoint.https.ca = pki_.ca();
        endpoint.secret_in_body = secret_in_body_;
        refresh.endpoints = {endpoint};
        vault::compat::BrokerConfig broker;
        broker.refresh = std::move(refresh);
        house_ = std::make_unique<CompatHouse>(CompatOptions{.config = {std::nullopt, broker}});
    }

    std::string url() const { return peer_.url() + "/oauth/token"; }

    void store(std::string_view expires_at = "2027-01-15T07:00:00Z",
               std::string_view more = R"(,"refresh_token":"r/1+")") {
        const std::string text =
            R"({"client_id":"shop","access_token":"old-token","token_expires_at":")" +
            std::string(expires_at) + R"(","other":"kept","refresh":{"token_endpoint":")" + url() +
            R"(","client_id":"the client","client_secret":"the:secret")" + std::string(more) + "}}";
        const auto answer = house_->ask("POST /api/credentials", text, house_->broker());
        ASSERT_LT(answer.status, 300U) << answer.body;
    }
    server::Response fetch() {
        return house_->ask("GET /api/credentials/token?client_id=shop", {}, house_->broker());
    }
    void answer(int status, const std::string& body) {
        const std::lock_guard lock(mutex_);
        reply_ = {http_answer(status, body)};
    }
    void answer(PeerReply reply) {
        const std::lock_guard lock(mutex_);
        reply_ = std::move(reply);
    }
    std::string asked() {
        const std::lock_guard lock(mutex_);
        return asked_;
    }
    std::string fact() const {
        const std::string record = house_->last_record();
        const auto at = record.find(R"("token_refresh":")");
        if (at == std::string::npos) return "";
        const auto begin = at + 17;
        return record.substr(begin, record.find('"', begin) - begin);
    }

    TemporaryDirectory directory_;
    TestPki pki_{directory_ / "pki"};
    std::mutex mutex_;
    PeerReply reply_{http_answer(
        200, R"({"access_token":"new-token","token_type":"bearer","expires_in":3600})")};
    std::string asked_;
    std::string record_when_asked_;
    bool secret_in_body_ = false;
    TlsPeer peer_{pki_.server("provider"), {}, [this](const std::string& request) {
                      const std::lock_guard lock(mutex_);
                      asked_ = request;
                      record_when_asked_ = house_->last_record();
                      return reply_;
                  }};
    std::unique_ptr<CompatHouse> house_;
};

TEST_F(TokenRefreshTest, AnExpiredTokenIsReplacedBeforeItIsHandedOut) {
    store();
    const auto first = fetch();
    EXPECT_EQ(first.status, 200U);
    EXPECT_EQ(
        first.body,
        R"({"client_id":"shop","access_token":"new-token",)"
        R"("token_expires_at":"2027-01-15T09:00:00.000Z","other":"kept","token_expired":false})");
    EXPECT_EQ(fact(), "refreshed");
    EXPECT_NE(house_->last_record().find(R"("token_expired":"true")"), std::string::npos);
    EXPECT_EQ(fetch().body, first.body);  // it was stored
    EXPECT_EQ(fact(), "");
    EXPECT_EQ(peer_.requests(), 1);
    EXPECT_TRUE(says(house_->ask("GET /api/credentials?client_id=shop", {}, house_->broker()),
                     R"("token_expires_at":"2027-01-15T09:00:00.000Z")"));
}

// The provider may make the old token void, so that the change begins there.
TEST_F(TokenRefreshTest, TheLogKnowsOfTheChangeBeforeTheProviderDoes) {
    store();
    const auto answer = fetch();
    const auto request_id =
        std::find_if(answer.headers.begin(), answer.headers.end(),
                     [](const auto& header) { return header.first == "X-Request-Id"; });
    ASSERT_NE(request_id, answer.headers.end());
    const std::lock_guard lock(mutex_);
    EXPECT_NE(record_when_asked_.find(request_id->second), std::string::npos) << record_when_asked_;
    EXPECT_NE(record_when_asked_.find(R"("outcome":"intent")"), std::string::npos);
    EXPECT_NE(record_when_asked_.find(R"("token_refresh":"begun")"), std::string::npos);
}

TEST_F(TokenRefreshTest, TheProviderIsAskedAsTheStandardSays) {
    store();
    fetch();
    const std::string request = asked();
    EXPECT_EQ(request.rfind("POST /oauth/token HTTP/1.1\r\n", 0), 0U);
    // base64 of "the%20client:the%3Asecret" (RFC 6749 section 2.3.1)
    EXPECT_NE(request.find("Authorization: Basic dGhlJTIwY2xpZW50OnRoZSUzQXNlY3JldA==\r\n"),
              std::string::npos)
        << request;
    EXPECT_TRUE(request.ends_with("\r\n\r\ngrant_type=refresh_token&refresh_token=r%2F1%2B"))
        << request;
    EXPECT_EQ(request.find("old-token"), std::string::npos);
}

TEST_F(TokenRefreshTest, AClientWithoutARefreshTokenShowsItselfInTheBodyWhereConfigured) {
    secret_in_body_ = true;
    make({});
    store("2027-01-15T07:00:00Z", R"(,"scope":"a b")");
    EXPECT_EQ(fetch().status, 200U);
    const std::string request = asked();
    EXPECT_EQ(request.find("Authorization"), std::string::npos);
    EXPECT_TRUE(
        request.ends_with("grant_type=client_credentials&scope=a%20b&client_id=the%20client&"
                          "client_secret=the%3Asecret"))
        << request;
}

TEST_F(TokenRefreshTest, ANewRefreshTokenTakesTheOldOnesPlace) {
    answer(200, R"({"access_token":"t2","expires_in":"60","refresh_token":"r2"})");
    store();
    EXPECT_TRUE(says(fetch(), R"("access_token":"t2")"));
    answer(200, R"({"access_token":"t3"})");
    house_->world.clock.advance(60s);
    const auto third = fetch();
    EXPECT_TRUE(says(third, R"("access_token":"t3","token_expires_at":null)")) << third.body;
    EXPECT_TRUE(asked().ends_with("refresh_token=r2"));
    EXPECT_FALSE(says(third, "r2"));  // that is between the vault and the provider
}

TEST_F(TokenRefreshTest, AGoodTokenIsNotRefreshed) {
    store("2027-01-15T08:00:00.001Z");
    EXPECT_TRUE(says(fetch(), "old-token"));
    EXPECT_EQ(peer_.requests(), 0);
}

TEST_F(TokenRefreshTest, ManyFetchesAtOnceAskOnce) {
    store();
    std::vector<std::future<server::Response>> answers;
    for (int i = 0; i < 8; ++i) {
        answers.push_back(
            house_->begin("GET /api/credentials/token?client_id=shop", {}, house_->broker()));
    }
    for (auto& each : answers) {
        const auto got = each.get();
        EXPECT_EQ(got.status, 200U) << got.body;
        EXPECT_TRUE(says(got, R"("access_token":"new-token")")) << got.body;
    }
    EXPECT_EQ(peer_.requests(), 1);
}

TEST_F(TokenRefreshTest, WhoComesWhileAnotherAsksGetsWhatTheOtherStored) {
    store();
    vault::compat::RefreshLeases other(*house_->database);
    const vault::CredentialId id{"broker", "shop"};
    const auto now = house_->world.clock.now();
    ASSERT_EQ(other.take(id, 1, "other", now, now + 60s), vault::compat::RefreshLeases::Taken::yes);
    auto waiting = house_->begin("GET /api/credentials/token?client_id=shop", {}, house_->broker());
    EXPECT_EQ(waiting.wait_for(100ms), std::future_status::timeout);
    const auto stored =
        house_->ask("POST /api/credentials", R"({"client_id":"shop","access_token":"theirs"})",
                    house_->broker());
    EXPECT_EQ(stored.status, 200U);
    other.release(id, "other");
    const auto got = waiting.get();
    EXPECT_TRUE(says(got, R"("access_token":"theirs")")) << got.body;
    EXPECT_EQ(fact(), "by_another");
    EXPECT_EQ(peer_.requests(), 0);
}

TEST_F(TokenRefreshTest, WhatFailsHandsOutNothingAndIsNotTriedAgainAtOnce) {
    store();
    for (const auto& [status, body] : std::vector<std::pair<int, std::string>>{
             {500, "{}"},
             {200, "no json"},
             {200, R"({"token":"x"})"},
             {200, R"({"access_token":""})"},
             {200, R"({"access_token":"t","expires_in":-1})"},
             {302, ""},
             {200, R"({"access_token":")" + std::string(70'000, 'x') + "\"}"}}) {
        answer(status, body);
        const int before = peer_.requests();
        const auto failed = fetch();
        EXPECT_EQ(failed.status, 503U) << status << body.substr(0, 50);
        EXPECT_FALSE(says(failed, "old-token"));
        EXPECT_EQ(fact(), "failed");
        EXPECT_EQ(peer_.requests(), before + 1);
        EXPECT_EQ(fetch().status, 503U);
        EXPECT_EQ(fact(), "failed");
        EXPECT_EQ(peer_.requests(), before + 1);
        house_->world.clock.advance(30s);
    }
    answer(200, R"({"access_token":"t2","expires_in":60})");
    EXPECT_TRUE(says(fetch(), "t2"));
}

TEST_F(TokenRefreshTest, RefreshesAndFailedOnesAreCounted) {
    store();
    answer(500, "{}");
    fetch();
    house_->world.clock.advance(30s);
    fetch();
    house_->world.clock.advance(30s);
    answer(200, R"({"access_token":"t2","expires_in":60})");
    fetch();
    fetch();
    EXPECT_EQ(house_->counted("tokens_refreshed"), "1");
    EXPECT_EQ(house_->counted("token_refreshes_failed"), "2");
}

TEST_F(TokenRefreshTest, WhatTheProviderRefusesIsAConflictUntilItIsStoredAnew) {
    store();
    answer(400, R"({"error":"invalid_grant"})");
    for (int i = 0; i < 2; ++i) {
        const auto refused = fetch();
        EXPECT_EQ(refused.status, 409U);
        EXPECT_EQ(refused.body, R"({"error":"the token endpoint refuses to refresh"})");
        EXPECT_EQ(fact(), "refused");
    }
    EXPECT_EQ(peer_.requests(), 1);
    // Another record's pause is not this one's.
    store();
    answer(200, R"({"access_token":"t2","expires_in":60})");
    EXPECT_TRUE(says(fetch(), "t2"));
}

TEST_F(TokenRefreshTest, ASlowProviderIsGivenUpInTime) {
    vault::compat::RefreshConfig brief;
    brief.deadline = 200ms;
    make(brief);
    store();
    for (const auto then : {PeerReply::Then::hold, PeerReply::Then::drip}) {
        answer({"", then});
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_EQ(fetch().status, 503U);
        EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
        house_->world.clock.advance(30s);
    }
}

TEST_F(TokenRefreshTest, MoreThanMayWaitAreTurnedAway) {
    vault::compat::RefreshConfig narrow;
    narrow.max_concurrent = 1;
    narrow.deadline = 3s;
    make(narrow);
    store();
    answer({"", PeerReply::Then::hold});
    auto first = house_->begin("GET /api/credentials/token?client_id=shop", {}, house_->broker());
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (peer_.requests() == 0 && std::chrono::steady_clock::now() < end) {
        std::this_thread::yield();
    }
    EXPECT_EQ(fetch().status, 503U);
    EXPECT_EQ(fact(), "busy");
    EXPECT_EQ(first.get().status, 503U);
}

TEST_F(TokenRefreshTest, WhoMayFetchNeedsTheRightToRefresh) {
    store();
    const CompatHouse::Shown fetcher{.certificate = "spiffe://strongroom/fetcher"};
    const auto ask = [&] {
        return house_->ask("GET /api/credentials/token?client_id=shop", {}, fetcher);
    };
    const auto denied = ask();
    EXPECT_EQ(denied.status, 403U);
    EXPECT_FALSE(says(denied, "old-token"));
    EXPECT_EQ(peer_.requests(), 0);
    fetch();
    EXPECT_TRUE(says(ask(), "new-token"));
}

TEST_F(TokenRefreshTest, AnEndpointTakenOutOfTheConfigurationIsAskedNoMore) {
    store();
    house_->configure({std::nullopt, vault::compat::BrokerConfig{}});
    const auto answer = fetch();
    EXPECT_EQ(answer.status, 409U);
    EXPECT_EQ(answer.body, R"({"error":"the token endpoint is not allowed here"})");
    EXPECT_EQ(fact(), "refused");
    EXPECT_EQ(peer_.requests(), 0);
}

TEST_F(TokenRefreshTest, ATokenThatCannotBeStoredIsNotHandedOut) {
    store();
    auto* keys = &house_->world.keys;
    answer(200, R"({"access_token":"t2","expires_in":60})");
    keys->wraps_badly = true;  // what is sealed would not open
    const auto lost = fetch();
    EXPECT_EQ(lost.status, 500U);
    EXPECT_FALSE(says(lost, "t2"));
    EXPECT_EQ(fact(), "not_stored");
    keys->wraps_badly = false;
    EXPECT_TRUE(says(fetch(), "t2"));  // no pause: the provider did nothing wrong
}

}  // namespace
}  // namespace tests
