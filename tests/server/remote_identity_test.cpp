// Identity that depends on somebody else: issuers' keys and an identity provider, over real HTTPS.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <mutex>
#include <semaphore>
#include <thread>

#include "server/https_client.h"
#include "server/introspection.h"
#include "server/jwks_source.h"
#include "tests/support/expect_error.h"
#include "tests/support/jwt_signer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"

namespace tests {
namespace {

using namespace std::chrono_literals;

// What a peer answers, changed while it runs.
class Answers {
public:
    void set(PeerReply reply) {
        const std::lock_guard lock(mutex_);
        reply_ = std::move(reply);
    }
    void set(int status, std::string_view body) { set({http_answer(status, body)}); }
    PeerReply operator()(const std::string& request) {
        const std::lock_guard lock(mutex_);
        last_ = request;
        return reply_;
    }
    std::string last() {
        const std::lock_guard lock(mutex_);
        return last_;
    }

private:
    std::mutex mutex_;
    PeerReply reply_;
    std::string last_;
};

class RemoteIdentity : public testing::Test {
protected:
    server::HttpsConfig config(std::string path = {}) {
        return {peer_.url() + path, pki_.ca(), 2s, 4096};
    }

    TemporaryDirectory directory_;
    TestPki pki_{directory_ / "pki"};
    Answers answers_;
    TlsPeer peer_{
        pki_.server("server"), {}, [this](const auto& request) { return answers_(request); }};
    base::Log log_{"test", base::LogLevel::error};
    std::atomic<std::int64_t> seconds_ = 1000;
    server::MonotonicClock clock_ = [this] {
        return std::chrono::steady_clock::time_point(std::chrono::seconds(seconds_.load()));
    };
};

TEST_F(RemoteIdentity, AGetSendsWhatWasAskedAndGivesAnyAnswer) {
    const server::HttpsClient https(config("/base/"));
    answers_.set(404, "nothing");
    const auto answer = https.get("/users/me", "the-bearer");
    EXPECT_EQ(answer.status, 404);
    EXPECT_EQ(answer.body, "nothing");
    EXPECT_EQ(answers_.last().rfind("GET /base/users/me HTTP/1.1\r\n", 0), 0U);
    EXPECT_NE(answers_.last().find("Authorization: Bearer the-bearer\r\n"), std::string::npos);
    https.get();
    EXPECT_EQ(answers_.last().rfind("GET /base/ HTTP/1.1\r\n", 0), 0U);
    EXPECT_EQ(answers_.last().find("Authorization"), std::string::npos);
}

TEST_F(RemoteIdentity, APostSendsItsBodyAndItsHeaders) {
    const server::HttpsClient https(config("/token"));
    answers_.set(201, "made");
    const auto answer = https.send({.method = server::Method::POST,
                                    .authorization = "Basic YTpi",
                                    .content_type = "application/x-www-form-urlencoded",
                                    .body = "a=b&c=d"});
    EXPECT_EQ(answer.status, 201);
    EXPECT_EQ(answer.body, "made");
    const std::string sent = answers_.last();
    EXPECT_EQ(sent.rfind("POST /token HTTP/1.1\r\n", 0), 0U);
    EXPECT_NE(sent.find("Authorization: Basic YTpi\r\n"), std::string::npos);
    EXPECT_NE(sent.find("Content-Type: application/x-www-form-urlencoded\r\n"), std::string::npos);
    EXPECT_NE(sent.find("Content-Length: 7\r\n"), std::string::npos);
    EXPECT_TRUE(sent.ends_with("\r\n\r\na=b&c=d"));
    EXPECT_ERROR(invalid_argument, https.send({.authorization = "Basic a\r\nb"}));
    EXPECT_ERROR(invalid_argument, https.send({.content_type = "a\nb"}));
}

TEST_F(RemoteIdentity, ARedirectIsAnAnswerNotAnOrder) {
    answers_.set({http_answer(302, "", "Location: " + peer_.url() + "/elsewhere\r\n")});
    EXPECT_EQ(server::HttpsClient(config()).get().status, 302);
    EXPECT_EQ(peer_.requests(), 1);
}

TEST_F(RemoteIdentity, OnlyTheRightServerIsTrusted) {
    answers_.set(200, "{}");
    TestPki other(directory_ / "other");
    auto wrong = config();
    wrong.ca = other.ca();
    EXPECT_ERROR(unavailable, server::HttpsClient(wrong).get({}, "the-bearer"));
    // A certificate of the right authority for another name.
    auto elsewhere = config();
    elsewhere.url = peer_.url("127.0.0.2");
    EXPECT_ERROR(unavailable, server::HttpsClient(elsewhere).get({}, "the-bearer"));
    // The system's authorities don't know this one.
    auto system = config();
    system.ca.clear();
    EXPECT_ERROR(unavailable, server::HttpsClient(system).get({}, "the-bearer"));
    EXPECT_EQ(peer_.requests(), 0);
}

TEST_F(RemoteIdentity, TooLargeBrokenAndSlowAnswersAreNone) {
    auto brief = config();
    brief.deadline = 150ms;
    const server::HttpsClient https(brief);
    answers_.set(200, std::string(4097, 'x'));
    EXPECT_ERROR(unavailable, https.get());
    answers_.set({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", PeerReply::Then::close});
    EXPECT_ERROR(unavailable, https.get());
    answers_.set({"", PeerReply::Then::reset});
    EXPECT_ERROR(unavailable, https.get());
    for (const auto then : {PeerReply::Then::hold, PeerReply::Then::drip}) {
        answers_.set({"HTTP/1.1 200 OK\r\nX: ", then});
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_ERROR(unavailable, https.get());
        EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
    }
}

TEST_F(RemoteIdentity, WhatIsNoHttpsUrlIsRefused) {
    for (const char* url : {"", "http://host", "https://", "https://host:0", "https://host:99999",
                            "https://host:x", "https://[::1", "https://[::1]x", "https://a@b",
                            "https://host/?q", "https://host/#f", "https://host/a b"}) {
        EXPECT_ERROR(invalid_argument, server::HttpsClient({url, {}}));
    }
    EXPECT_ERROR(invalid_argument,
                 server::HttpsClient({"https://host", pki_.server("server").key}));
    EXPECT_ERROR(invalid_argument, server::HttpsClient(config()).get({}, "a\r\nb"));
}

class Jwks : public RemoteIdentity {
protected:
    // 300 seconds until a refresh, 10 between fetches, 3600 until keys count no more.
    std::unique_ptr<server::JwksSource> source() {
        auto https = std::make_shared<server::HttpsClient>(config("/jwks"));
        return std::make_unique<server::JwksSource>(
            "https://issuer",
            [https] {
                const auto answer = https->get();
                if (answer.status != 200) {
                    throw base::Error(base::ErrorCode::unavailable, "no keys");
                }
                return std::string(answer.body);
            },
            server::JwksTimes{}, log_, clock_);
    }
    void serve(const std::vector<const JwtSigner*>& signers) {
        std::vector<std::string> keys;
        for (const auto* signer : signers) keys.push_back(signer->jwk());
        answers_.set(200, jwk_set(keys));
    }

    JwtSigner old_{"old"};
    JwtSigner new_{"new"};
};

TEST_F(Jwks, KeysAreFetchedOnceAndKept) {
    serve({&old_});
    const auto keys = source();
    EXPECT_TRUE(keys->find("old"));
    EXPECT_TRUE(keys->find("old"));
    EXPECT_TRUE(keys->refresh_if_due());
    EXPECT_EQ(peer_.requests(), 1);
    seconds_ += 300;
    EXPECT_TRUE(keys->refresh_if_due());
    EXPECT_TRUE(keys->refresh_if_due());
    EXPECT_EQ(peer_.requests(), 2);
}

TEST_F(Jwks, ARotationIsFollowedByTheFirstTokenOfTheNewKey) {
    serve({&old_});
    const auto keys = source();
    EXPECT_TRUE(keys->find("old"));
    serve({&old_, &new_});
    seconds_ += 10;
    EXPECT_TRUE(keys->find("new"));
    EXPECT_TRUE(keys->find("old"));
    // The old key is withdrawn: it counts until the next refresh, no longer.
    serve({&new_});
    seconds_ += 299;
    keys->refresh_if_due();
    EXPECT_TRUE(keys->find("old"));
    seconds_ += 1;
    keys->refresh_if_due();
    EXPECT_FALSE(keys->find("old"));
    EXPECT_TRUE(keys->find("new"));
}

TEST_F(Jwks, UnknownNamesCauseOneFetchInTenSeconds) {
    serve({&old_});
    const auto keys = source();
    EXPECT_FALSE(keys->find("unknown-0"));
    for (int i = 1; i < 20; ++i) EXPECT_FALSE(keys->find("unknown-" + std::to_string(i)));
    EXPECT_EQ(peer_.requests(), 1);
    seconds_ += 10;
    for (int i = 0; i < 20; ++i) EXPECT_FALSE(keys->find("unknown-" + std::to_string(i)));
    EXPECT_EQ(peer_.requests(), 2);
}

TEST_F(Jwks, AnOutageKeepsTheKeysForABoundedTimeThenNobodyPasses) {
    serve({&old_});
    const auto keys = source();
    EXPECT_TRUE(keys->find("old"));
    for (const auto& [status, body] :
         {std::pair{500, "{}"}, std::pair{200, "no keys"}, std::pair{200, R"({"keys":[]})"}}) {
        answers_.set(status, body);
        seconds_ += 400;
        EXPECT_FALSE(keys->refresh_if_due());
        EXPECT_TRUE(keys->find("old"));
        // Whether there is such a key now can't be told.
        EXPECT_ERROR(unavailable, keys->find("new"));
    }
    seconds_ += 3600 - 3 * 400 - 1;
    EXPECT_TRUE(keys->find("old"));
    seconds_ += 1;
    EXPECT_ERROR(unavailable, keys->find("old"));
    serve({&old_});
    seconds_ += 10;
    EXPECT_TRUE(keys->find("old"));
}

TEST_F(Jwks, WithoutKeysFromTheStartNobodyPasses) {
    answers_.set(503, "");
    const auto keys = source();
    EXPECT_ERROR(unavailable, keys->find("old"));
    EXPECT_ERROR(unavailable, keys->find("old"));
    EXPECT_EQ(peer_.requests(), 1);
}

// Such as a thread that can't be started or too little memory: the daemon outlives it.
TEST_F(Jwks, WhateverAFetchThrowsIsAnOutageAndKeepsTheKeys) {
    std::function<void()> fail = [] {};
    server::JwksSource keys(
        "https://issuer",
        [&] {
            fail();
            return jwk_set({old_.jwk()});
        },
        server::JwksTimes{}, log_, clock_);
    ASSERT_TRUE(keys.refresh_if_due());
    const std::vector<std::function<void()>> troubles = {
        [] {
            throw std::system_error(
                std::make_error_code(std::errc::resource_unavailable_try_again));
        },
        [] { throw std::bad_alloc(); }, [] { throw std::runtime_error("strange"); }};
    for (const auto& trouble : troubles) {
        fail = trouble;
        seconds_ += 300;
        EXPECT_NO_THROW(EXPECT_FALSE(keys.refresh_if_due()));
        EXPECT_TRUE(keys.find("old"));
        EXPECT_ERROR(unavailable, keys.find("new"));
    }
    fail = [] {};
    seconds_ += 300;
    EXPECT_TRUE(keys.refresh_if_due());
}

TEST_F(Jwks, WhileOneFetchesTheOthersDontWait) {
    std::promise<void> begun;
    std::promise<std::string> keys;
    server::JwksSource source(
        "https://issuer",
        [&] {
            begun.set_value();
            return keys.get_future().get();
        },
        server::JwksTimes{}, log_, clock_);
    auto first = std::async(std::launch::async, [&] { return source.find("old"); });
    begun.get_future().wait();
    EXPECT_ERROR(unavailable, source.find("old"));
    keys.set_value(jwk_set({old_.jwk()}));
    EXPECT_TRUE(first.get());
    EXPECT_TRUE(source.find("old"));
}

// As at the end of a program: nobody waits for a peer's deadline.
TEST_F(RemoteIdentity, WhatIsCancelledEndsAtOnceAndBeginsNoMore) {
    auto patient = config();
    patient.deadline = 60s;
    const server::HttpsClient https(patient);
    answers_.set({"", PeerReply::Then::hold});
    auto held = std::async(std::launch::async, [&] { https.get(); });
    while (peer_.requests() == 0) std::this_thread::yield();
    https.cancel();
    ASSERT_EQ(held.wait_for(10s), std::future_status::ready);
    EXPECT_ERROR(unavailable, held.get());
    answers_.set(200, "{}");
    EXPECT_ERROR(unavailable, https.get());
    EXPECT_EQ(peer_.requests(), 1);
}

TEST_F(RemoteIdentity, AHostIsFoundByItsNameAndOneThatIsNotIsNoAnswer) {
    answers_.set(200, "{}");
    auto named = config();
    named.url.replace(named.url.find("127.0.0.1"), 9, "localhost");
    EXPECT_EQ(server::HttpsClient(named).get().status, 200);
    named.url = "https://no-such-host.invalid/";
    EXPECT_ERROR(unavailable, server::HttpsClient(named).get());
}

// An identity provider that answers GET /users/me as Directus does.
class IntrospectionTest : public RemoteIdentity {
protected:
    std::unique_ptr<server::Introspection> introspection(server::IntrospectionRules rules = {}) {
        auto https = std::make_shared<server::HttpsClient>(config());
        return std::make_unique<server::Introspection>(
            [https](std::string_view bearer) { return https->get("/users/me", bearer); },
            std::move(rules), clock_);
    }
    static constexpr const char* user =
        R"({"data":{"id":"0a1b","role":"r-1","email":"a@example.com","tags":[1,{"x":null}]}})";
};

TEST_F(IntrospectionTest, TheProvidersUserIsTheCaller) {
    answers_.set(200, user);
    const auto caller = introspection()->verify("opaque-token");
    EXPECT_EQ(caller.id, "directus:0a1b");
    EXPECT_EQ(caller.method, server::AuthenticationMethod::introspection);
    const server::Claims expected = {{"role", {"r-1"}}, {"user", {"0a1b"}}};
    EXPECT_EQ(caller.claims, expected);
    EXPECT_EQ(answers_.last().rfind("GET /users/me HTTP/1.1\r\n", 0), 0U);
    EXPECT_NE(answers_.last().find("Authorization: Bearer opaque-token\r\n"), std::string::npos);
    answers_.set(200, R"({"data":{"id":"0a1b","role":null}})");
    EXPECT_EQ(introspection()->verify("opaque-token").claims.count("role"), 0U);
}

TEST_F(IntrospectionTest, ARevokedTokenStopsAtOnce) {
    const auto method = introspection();
    answers_.set(200, user);
    EXPECT_EQ(method->verify("opaque-token").id, "directus:0a1b");
    for (const int status : {401, 403}) {
        answers_.set(status, R"({"errors":[{"message":"Invalid user credentials."}]})");
        EXPECT_ERROR(unauthenticated, method->verify("opaque-token"));
    }
}

TEST_F(IntrospectionTest, NoAnswerAndAStrangeOneLetNobodyIn) {
    auto brief = config();
    brief.deadline = 150ms;
    auto https = std::make_shared<server::HttpsClient>(brief);
    server::Introspection method(
        [https](std::string_view bearer) { return https->get("/users/me", bearer); }, {}, clock_);
    for (const auto& [status, body] :
         {std::pair{500, user}, std::pair{302, user}, std::pair{204, ""}, std::pair{200, ""},
          std::pair{200, "[]"}, std::pair{200, R"({"data":null})"},
          std::pair{200, R"({"data":{"id":7}})"}, std::pair{200, R"({"data":{"id":""}})"},
          std::pair{200, R"({"data":{"id":"a\nb"}})"}, std::pair{200, R"({"id":"0a1b"})"},
          std::pair{200, R"({"data":{"id":"a","id":"b"}})"}}) {
        answers_.set(status, body);
        EXPECT_ERROR(unavailable, method.verify("opaque-token"));
    }
    answers_.set({"", PeerReply::Then::hold});
    EXPECT_ERROR(unavailable, method.verify("opaque-token"));
    answers_.set({"", PeerReply::Then::reset});
    EXPECT_ERROR(unavailable, method.verify("opaque-token"));
}

TEST_F(IntrospectionTest, ACacheIsOffUnlessAskedForAndBounded) {
    answers_.set(200, user);
    const auto without = introspection();
    without->verify("opaque-token");
    without->verify("opaque-token");
    EXPECT_EQ(peer_.requests(), 2);

    server::IntrospectionRules rules;
    rules.cache = 5s;
    const auto with = introspection(rules);
    EXPECT_EQ(with->verify("opaque-token").id, "directus:0a1b");
    answers_.set(401, "{}");
    EXPECT_EQ(with->verify("opaque-token").id, "directus:0a1b");
    EXPECT_ERROR(unauthenticated, with->verify("another-token"));
    seconds_ += 5;
    EXPECT_ERROR(unauthenticated, with->verify("opaque-token"));
    // A refusal is not remembered.
    answers_.set(200, user);
    EXPECT_EQ(with->verify("opaque-token").id, "directus:0a1b");
}

TEST_F(IntrospectionTest, ASlowProviderHoldsSoManyWorkersAndNoMore) {
    std::promise<void> asked;
    std::promise<void> answer;
    server::IntrospectionRules rules;
    rules.max_concurrent = 1;
    server::Introspection method(
        [&](std::string_view) {
            asked.set_value();
            answer.get_future().wait();
            return server::HttpsAnswer{200, user};
        },
        rules, clock_);
    auto first = std::async(std::launch::async, [&] { return method.verify("one").id; });
    asked.get_future().wait();
    EXPECT_ERROR(unavailable, method.verify("two"));
    answer.set_value();
    EXPECT_EQ(first.get(), "directus:0a1b");
}

TEST_F(IntrospectionTest, OnePeerDoesNotHoldEveryPlace) {
    std::promise<void> answer;
    const auto answered = answer.get_future().share();
    std::counting_semaphore<8> asked(0);
    server::IntrospectionRules rules;
    rules.max_concurrent = 3;
    rules.max_concurrent_per_peer = 2;
    server::Introspection method(
        [&](std::string_view bearer) {
            asked.release();
            if (bearer.starts_with("slow")) answered.wait();
            return server::HttpsAnswer{200, user};
        },
        rules, clock_);
    std::vector<std::future<std::string>> held;
    for (const char* bearer : {"slow-1", "slow-2"}) {
        held.push_back(std::async(std::launch::async, [&method, bearer] {
            return method.verify_from("stranger", bearer).id;
        }));
        asked.acquire();
    }
    EXPECT_ERROR(unavailable, method.verify_from("stranger", "third"));
    EXPECT_EQ(method.verify_from("another", "good").id, "directus:0a1b");
    answer.set_value();
    for (auto& each : held) EXPECT_EQ(each.get(), "directus:0a1b");
    EXPECT_EQ(method.verify_from("stranger", "third").id, "directus:0a1b");
}

}  // namespace
}  // namespace tests
