// The grammar, sizes and deadlines of the edge, over real connections.
#include "server/edge.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

#include "server/edge_head.h"
#include "tests/server/edge_house.h"

namespace tests {
namespace {

class EdgeTest : public testing::Test {
protected:
    void SetUp() override { house_.start(); }

    std::unique_ptr<RawClient> client() {
        return std::make_unique<RawClient>(house_.edge->port(),
                                           ClientOptions{house_.pki.ca(), house_.app, 0, {}});
    }

    // Sends it on a fresh connection: refused with that status, the connection ends, and no
    // handler was called.
    void expect_refused(const std::string& bytes, int status, const std::string& word) {
        SCOPED_TRACE(bytes.substr(0, 120));
        const std::size_t handled = house_.handler.handled();
        const auto peer = client();
        const WireAnswer answer = peer->ask(bytes);
        EXPECT_EQ(answer.status, status);
        EXPECT_NE(answer.body.find("\"" + word + "\""), std::string::npos) << answer.body;
        EXPECT_TRUE(answer.has("Connection: close"));
        EXPECT_TRUE(peer->ends());
        EXPECT_EQ(house_.handler.handled(), handled);
    }

    void expect_refused(const std::string& bytes) {
        expect_refused(bytes, 400, "invalid_argument");
    }

    EdgeHouse house_;
};

std::string with_header(const std::string& line) {
    return "POST /x HTTP/1.1\r\nHost: h\r\n" + line + "\r\n\r\n";
}

TEST_F(EdgeTest, RequestsFollowEachOtherOnOneConnection) {
    const auto peer = client();
    EXPECT_EQ(peer->ask(get("/a?b=c")).body, "GET /a ");
    EXPECT_EQ(peer->ask(post("/b", "{\"x\":1}")).body, "POST /b {\"x\":1}");
    EXPECT_EQ(peer->ask("DELETE /c HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").body,
              "DELETE /c ");
}

TEST_F(EdgeTest, TheHandlerGetsTheWholeRequestAndThePeer) {
    client()->ask(
        "PUT /p%20q?limit=3 HTTP/1.1\r\nHost: h\r\nX-Some: Value \r\nContent-Length: 2\r\n\r\n{}");
    const auto request = house_.handler.last();
    ASSERT_TRUE(request);
    EXPECT_EQ(request->method, server::Method::PUT);
    EXPECT_EQ(request->path, "/p%20q");
    EXPECT_EQ(request->query, "limit=3");
    EXPECT_EQ(request->header("x-some"), "Value");
    EXPECT_EQ(request->body, "{}");
    EXPECT_EQ(request->peer_address, "127.0.0.1");
    ASSERT_TRUE(request->certificate);
    EXPECT_EQ(request->certificate->subject, "CN=app,O=Strongroom test");
    ASSERT_EQ(request->certificate->uri_names.size(), 1U);
    EXPECT_EQ(request->certificate->uri_names[0], "spiffe://strongroom/app");
    EXPECT_EQ(request->certificate->fingerprint.size(), 64U);
}

// Escapes mean something in paths and queries only, and a peer's address is its socket's.
TEST_F(EdgeTest, HeadersAreTakenAsTheyStandAndNoneSaysWhereThePeerIs) {
    client()->ask(
        "GET /p HTTP/1.1\r\nHost: h\r\nX-Some: a%0d%0aX-Other: b%00\r\nREMOTE_ADDR: 192.0.2.6\r\n"
        "X-Real-IP: 192.0.2.6\r\nX-Forwarded-For: 192.0.2.6\r\nForwarded: for=192.0.2.6\r\n\r\n");
    const auto request = house_.handler.last();
    ASSERT_TRUE(request);
    EXPECT_EQ(request->header("x-some"), "a%0d%0aX-Other: b%00");
    EXPECT_EQ(request->header("x-other"), "");
    EXPECT_EQ(request->peer_address, "127.0.0.1");
    EXPECT_EQ(request->peer_group, "127.0.0.1");
}

TEST(EdgeHead, NoHeaderOfAnAnswerEndsItsLine) {
    server::Response response;
    response.content_type = "application/json\r\nX-Injected: 1";
    response.body = "{}";
    response.headers = {{"X-Good", "a b"},
                        {"X-Bad", "a\r\nX-Injected: 1"},
                        {"X-Bad\r\nX-Injected", "1"},
                        {"X-Bad:", "1"},
                        {"X-Null", std::string("a\0b", 3)}};
    const base::WipedString text = server::serialize(response, true, "now");
    EXPECT_NE(text.find("X-Good: a b\r\n"), std::string::npos);
    for (const char* part : {"X-Injected", "X-Bad", "X-Null", "\nContent-Type:"}) {
        EXPECT_EQ(text.find(part), std::string::npos) << part;
    }
}

TEST_F(EdgeTest, ARangeIsNoOrder) {
    std::string ranges = "bytes=0-0";
    for (int i = 0; i < 500; ++i) ranges += ",0-";
    const std::string body(1000, 'x');
    const WireAnswer answer =
        client()->ask("POST /x HTTP/1.1\r\nHost: h\r\nRange: " + ranges +
                      "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "POST /x " + body);
}

TEST_F(EdgeTest, AnswersCarryTheHouseHeaders) {
    const WireAnswer answer = client()->ask(get("/"));
    EXPECT_TRUE(answer.has("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(answer.has("Cache-Control: no-store\r\n"));
    EXPECT_TRUE(answer.has("X-Content-Type-Options: nosniff\r\n"));
    EXPECT_TRUE(answer.has("Strict-Transport-Security: "));
    EXPECT_TRUE(answer.has("Content-Type: application/json\r\n"));
    EXPECT_TRUE(answer.has("\r\nDate: "));
    EXPECT_FALSE(answer.has("Server:"));
    EXPECT_FALSE(answer.has("Connection: close"));
}

TEST_F(EdgeTest, AnswersAreNeverCompressed) {
    const WireAnswer answer = client()->ask(
        "POST /x HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip, br, deflate\r\n"
        "Content-Length: 2000\r\n\r\n" +
        std::string(2000, 'x'));
    EXPECT_FALSE(answer.has("Content-Encoding"));
    EXPECT_EQ(answer.body, "POST /x " + std::string(2000, 'x'));
}

TEST_F(EdgeTest, PipelinedRequestsAreAnsweredInOrder) {
    const auto peer = client();
    peer->send(post("/1", "{}") + get("/2") + post("/3", "{\"long\":\"body\"}"));
    EXPECT_EQ(peer->read().body, "POST /1 {}");
    EXPECT_EQ(peer->read().body, "GET /2 ");
    EXPECT_EQ(peer->read().body, "POST /3 {\"long\":\"body\"}");
}

TEST_F(EdgeTest, ARequestMayComeByteByByte) {
    const auto peer = client();
    for (const char byte : post("/slow-but-fine", "{}")) peer->send({&byte, 1});
    EXPECT_EQ(peer->read().body, "POST /slow-but-fine {}");
}

TEST_F(EdgeTest, ABodyOfTheLimitIsReadAndOneByteMoreIsRefusedUnread) {
    const std::string body(EchoHandler::max_body, 'x');
    EXPECT_EQ(client()->ask(post("/big", body)).body, "POST /big " + body);
    expect_refused("POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", 413,
                   "payload_too_large");
    expect_refused("POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n\r\n" +
                       std::string(300000, 'y'),
                   413, "payload_too_large");
}

TEST_F(EdgeTest, ARefusalByTheHandlerKeepsTheConnectionWhenNothingIsUnread) {
    const auto peer = client();
    EXPECT_EQ(peer->ask(get("/unknown")).status, 404);
    EXPECT_EQ(peer->ask(get("/known")).status, 200);
    const WireAnswer answer =
        peer->ask("POST /unknown HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    EXPECT_EQ(answer.status, 404);
    EXPECT_TRUE(peer->ends());
}

TEST_F(EdgeTest, AnEndlessHeaderLineIsRefusedAtTheLimit) {
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(20000, 'a'), 431,
                   "header_fields_too_large");
    expect_refused(std::string(20000, 'G'), 431, "header_fields_too_large");
}

TEST_F(EdgeTest, AMillionHeadersAreRefused) {
    std::string head = "GET / HTTP/1.1\r\nHost: h\r\n";
    for (int i = 0; i < 100; ++i) head += "a" + std::to_string(i) + ": b\r\n";
    expect_refused(head + "\r\n", 431, "header_fields_too_large");
    for (int i = 0; i < 1'000'000; ++i) head += "a: b\r\n";
    expect_refused(head, 431, "header_fields_too_large");
}

TEST(EdgeConfig, DeadlinesAndCapsAreThesePromised) {
    const server::EdgeConfig config;
    EXPECT_EQ(config.handshake_deadline, std::chrono::seconds(3));
    EXPECT_EQ(config.head_deadline, std::chrono::seconds(5));
    EXPECT_EQ(config.request_deadline, std::chrono::seconds(10));
    EXPECT_EQ(config.max_head_bytes, 16U * 1024);
    EXPECT_EQ(config.large_body_bytes, 16U * 1024);
    EXPECT_EQ(config.max_large_bodies_bytes, 96U * 1024 * 1024);
}

TEST_F(EdgeTest, AnythingButAPlainContentLengthIsRefused) {
    expect_refused(with_header("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n");
    expect_refused(with_header("Transfer-Encoding: chunked") + "-2\r\n");
    expect_refused(with_header("Transfer-Encoding: identity"));
    expect_refused(with_header("Content-Length: 2\r\nTransfer-Encoding: chunked") + "{}");
    expect_refused(with_header("Transfer-Encoding: chunked\r\nContent-Length: 2") + "{}");
    expect_refused(with_header("Content-Length: 2\r\nContent-Length: 2") + "{}");
    expect_refused(with_header("Content-Length: 2\r\nContent-Length: 3") + "{}");
    for (const char* length :
         {"2, 2", "+2", "-2", "abc", "0x2", "", "2 2", "18446744073709551616"}) {
        expect_refused(with_header("Content-Length: " + std::string(length)) + "{}");
    }
}

TEST_F(EdgeTest, WhatFollowsAnAmbiguousLengthIsNoRequest) {
    const std::string inner = get("/smuggled");
    const std::string length = std::to_string(inner.size());
    expect_refused(with_header("Content-Length: 5\r\nTransfer-Encoding: chunked") + "0\r\n\r\n" +
                   inner);
    expect_refused(with_header("Transfer-Encoding: chunked\r\nContent-Length: 0") + inner);
    expect_refused(with_header("Content-Length: 0\r\nContent-Length: " + length) + inner);
    expect_refused(with_header("Content-Length: " + length + "\r\nContent-Length: 0") + inner);
    expect_refused(with_header("Transfer-Encoding: chunked") + "-2\r\n" + inner);
}

TEST_F(EdgeTest, AHeaderThatIsNoListStandsOnce) {
    expect_refused(with_header("X-Configured-Secret: a\r\nx-configured-secret: b"));
    expect_refused(with_header("Authorization: Bearer a\r\nAuthorization: Bearer b"));
    EXPECT_EQ(client()
                  ->ask("GET / HTTP/1.1\r\nHost: h\r\nAccept: a/b\r\nAccept: c/d\r\nVia: x\r\nVia: "
                        "y\r\n\r\n")
                  .status,
              200);
}

TEST_F(EdgeTest, EncodedBodiesAreRefused) {
    expect_refused(with_header("Content-Encoding: gzip\r\nContent-Length: 2") + "xx", 415,
                   "unsupported_media_type");
}

TEST_F(EdgeTest, ABodyOnGetIsRefusedAndNeverRunAsARequest) {
    const std::string inner = get("/smuggled");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(inner.size()) +
                   "\r\n\r\n" + inner);
    expect_refused("DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
}

TEST_F(EdgeTest, MalformedHeadsAreRefused) {
    expect_refused("\r\n" + get("/"));
    expect_refused("GET / HTTP/1.1\nHost: h\n\n\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost : h\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nA: \xc3\xa4\r\n\r\n");
    using namespace std::string_literals;
    expect_refused("GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n"s);
    expect_refused("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_refused("GET  / HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_refused("GET / HTTP/2.0\r\nHost: h\r\n\r\n");
    expect_refused("PRI * HTTP/2.0\r\n\r\n");
    expect_refused("GET /\r\nHost: h\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nExpect: 200-maybe\r\n\r\n");
}

TEST_F(EdgeTest, TargetsOtherThanAPathAreRefused) {
    expect_refused("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_refused("GET * HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_refused("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_refused("GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n");
}

TEST_F(EdgeTest, UnknownMethodsAreNotAllowed) {
    for (const char* method : {"TRACE", "HEAD", "OPTIONS", "CONNECT", "get"}) {
        expect_refused(std::string(method) + " / HTTP/1.1\r\nHost: h\r\n\r\n", 405,
                       "method_not_allowed");
    }
}

TEST_F(EdgeTest, Http10AndConnectionCloseEndAfterTheAnswer) {
    const auto old = client();
    EXPECT_EQ(old->ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").status, 200);
    EXPECT_TRUE(old->ends());
    const auto closing = client();
    const WireAnswer answer =
        closing->ask("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.has("Connection: close"));
    EXPECT_TRUE(closing->ends());
}

TEST_F(EdgeTest, ExpectContinueIsAnsweredBeforeTheBodyComes) {
    const auto peer = client();
    const std::string head =
        "POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    EXPECT_EQ(peer->ask(head).status, 100);
    EXPECT_EQ(peer->ask("{}").body, "POST /e {}");
    EXPECT_EQ(peer->ask(head + "{}").body, "POST /e {}");
    expect_refused(
        "POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n", 413,
        "payload_too_large");
}

TEST_F(EdgeTest, ASlowHeadIsRefusedAtItsDeadline) {
    const auto peer = client();
    peer->send("GET / HT");
    EXPECT_EQ(peer->read().status, 408);
    EXPECT_TRUE(peer->ends());
}

TEST_F(EdgeTest, ATricklingHeadGetsNoMoreTimeForItsTrickle) {
    const auto peer = client();
    const auto start = std::chrono::steady_clock::now();
    peer->send("GET / HTTP/1.1\r\n");
    while (house_.handler.refused().empty() && peer->send("a: b\r\n")) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ASSERT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    }
    EXPECT_EQ(peer->read().status, 408);
}

TEST_F(EdgeTest, ASlowBodyIsRefusedAtItsDeadline) {
    const auto peer = client();
    EXPECT_EQ(peer->ask("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{").status, 408);
    EXPECT_TRUE(peer->ends());
    EXPECT_EQ(house_.handler.handled(), 0U);
}

TEST_F(EdgeTest, ATricklingBodyGetsNoMoreTimeForItsTrickle) {
    const auto peer = client();
    const auto start = std::chrono::steady_clock::now();
    peer->send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    while (house_.handler.refused().empty() && peer->send("x")) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ASSERT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    }
    EXPECT_EQ(peer->read().status, 408);
    EXPECT_EQ(house_.handler.handled(), 0U);
}

TEST_F(EdgeTest, AnAbortedRequestIsNotHandled) {
    client()->send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{");
    EXPECT_EQ(client()->ask(get("/next")).status, 200);
    EXPECT_EQ(house_.handler.handled(), 1U);
}

TEST_F(EdgeTest, AnAttackDoesNotGrowTheMemory) {
    if (keeps_freed_memory) GTEST_SKIP() << "the sanitizer keeps freed memory";
    const std::string junk(1024UL * 1024, 'a');
    client()->ask(get("/warm-up"));
    const long before = resident_kib();
    for (int i = 0; i < 5; ++i) {
        for (const std::string& begin :
             {std::string("GET / HTTP/1.1\r\nX: "),
              with_header("Transfer-Encoding: chunked") + "fffffff\r\n",
              with_header("Content-Encoding: gzip\r\nContent-Length: 268435456")}) {
            const auto peer = client();
            peer->send(begin);
            for (int j = 0; j < 4 && peer->send(junk); ++j) {
            }
        }
        const auto announcing = client();
        announcing->send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\nx");
    }
    EXPECT_LT(resident_kib() - before, 5L * 1024);
}

TEST(EdgeStop, WhatHasComeInPartWhenTheEdgeStopsIsRefusedAndWhatRunsIsAnswered) {
    EdgeHouse house;
    house.config.head_deadline = std::chrono::seconds(20);
    house.config.request_deadline = std::chrono::seconds(20);
    house.start();
    const auto client = [&house] {
        return std::make_unique<RawClient>(house.edge->port(),
                                           ClientOptions{house.pki.ca(), house.app, 0, {}});
    };
    const auto running = client();
    running->send(get("/hold"));
    ASSERT_TRUE(house.handler.wait_for_held(1));
    const auto head = client();
    ASSERT_EQ(head->ask(get("/")).status, 200);
    head->send("GET / HT");
    const auto body = client();
    ASSERT_EQ(body->ask(get("/")).status, 200);
    body->send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{");
    const auto expecting = client();
    EXPECT_EQ(expecting
                  ->ask("POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                        "Content-Length: 2\r\n\r\n")
                  .status,
              100);
    // They have been read in part when an answer to a later request has come on the same loop;
    // two loops serve, so one connection for each.
    for (int i = 0; i < 4; ++i) ASSERT_EQ(client()->ask(get("/")).status, 200);
    std::thread stopping([&house] { house.edge->stop(std::chrono::seconds(10)); });
    for (const auto& peer : {&head, &body, &expecting}) {
        const WireAnswer answer = (*peer)->read();
        EXPECT_EQ(answer.status, 503);
        EXPECT_NE(answer.body.find("stopping"), std::string::npos);
        EXPECT_TRUE(answer.has("Connection: close"));
        EXPECT_TRUE((*peer)->ends());
    }
    EXPECT_EQ(house.handler.handled(), 7U);
    house.handler.release();
    EXPECT_EQ(running->read().status, 200);
    stopping.join();
}

}  // namespace
}  // namespace tests
