// The edge among many, slow and silent peers, beyond its caps, and at its end.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "tests/server/edge_house.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

class EdgeLoadTest : public testing::Test {
protected:
    std::unique_ptr<RawClient> client() {
        return std::make_unique<RawClient>(house_.edge->port(),
                                           ClientOptions{house_.pki.ca(), house_.app, 0, {}});
    }

    // Without a certificate.
    std::unique_ptr<RawClient> stranger(const std::string& from) {
        return std::make_unique<RawClient>(connect_tcp(house_.edge->port(), from),
                                           ClientOptions{house_.pki.ca(), std::nullopt, 0, {}});
    }

    void never_too_slow() {
        for (auto* deadline : {&house_.config.handshake_deadline, &house_.config.head_deadline,
                               &house_.config.request_deadline}) {
            *deadline = std::chrono::seconds(60);
        }
    }

    EdgeHouse house_;
};

TEST_F(EdgeLoadTest, ASecondEdgeOnThePortIsRefused) {
    house_.start();
    house_.config.listen[0].port = house_.edge->port();
    EXPECT_ERROR_SAYING(failed_precondition,
                        "port " + std::to_string(house_.config.listen[0].port) + " is in use",
                        server::Edge(house_.config, house_.handler, house_.metrics, house_.log));
}

TEST_F(EdgeLoadTest, AnAddressThatIsNoneOfOursIsRefused) {
    house_.config.listen[0].address = "localhost";
    EXPECT_ERROR_SAYING(failed_precondition, "not a numeric", house_.start());
    house_.config.listen[0].address = "192.0.2.1";
    EXPECT_ERROR_SAYING(failed_precondition, "192.0.2.1", house_.start());
}

TEST_F(EdgeLoadTest, APortCanBeTakenAgainAfterAStop) {
    house_.start();
    EXPECT_EQ(client()->ask(get("/")).status, 200);
    house_.config.listen[0].port = house_.edge->port();
    house_.edge.reset();
    house_.start();
    EXPECT_EQ(client()->ask(get("/")).status, 200);
}

// Figures of time are the bench's (tests/bench/run --only edge); here it is that nobody is refused,
// and that what 2,000 hold is bounded. Their own ends of the connections are in this process, too.
TEST_F(EdgeLoadTest, GoodClientsAreServedAmongTwoThousandSlowOnes) {
    house_.config.handshake_deadline = std::chrono::seconds(60);
    house_.config.head_deadline = std::chrono::seconds(60);
    house_.config.request_deadline = std::chrono::seconds(60);
    house_.config.idle_deadline = std::chrono::seconds(60);
    house_.config.max_connections_per_peer = 4096;
    house_.start();
    const auto good = client();
    ASSERT_EQ(good->ask(get("/")).status, 200);
    const long before = resident_kib();
    std::vector<int> silent;
    std::vector<std::unique_ptr<RawClient>> slow;
    while (silent.size() < 1800) silent.push_back(connect_tcp(house_.edge->port()));
    while (slow.size() < 200) {
        slow.push_back(client());
        switch (slow.size() % 3) {
            case 0:
                slow.back()->send("GET / HTTP/1.1\r\nX-Slow: ");
                break;
            case 1:
                slow.back()->send(post("/", std::string(1000, 'x')).substr(0, 500));
                break;
            default:
                break;  // idle after the handshake
        }
        if (slow.size() % 10 == 0) {
            ASSERT_EQ(good->ask(get("/")).status, 200);
        }
    }
    for (int i = 0; i < 10; ++i) {
        ASSERT_EQ(good->ask(get("/")).status, 200);
        ASSERT_EQ(client()->ask(get("/")).status, 200);
    }
    EXPECT_TRUE(house_.handler.refused().empty());
    if (!keeps_freed_memory) {
        EXPECT_LT(resident_kib() - before, 64L * 1024);
    }
    for (const int socket : silent) ::close(socket);
}

TEST_F(EdgeLoadTest, ASilentTlsPeerIsCutAtTheHandshakeDeadline) {
    house_.start();
    const int socket = connect_tcp(house_.edge->port());
    const auto start = std::chrono::steady_clock::now();
    char byte = 0;
    EXPECT_EQ(::recv(socket, &byte, 1, 0), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
    ::close(socket);
}

TEST_F(EdgeLoadTest, AHandshakeThatTricklesIsCutAtTheSameDeadline) {
    house_.start();
    const int socket = connect_tcp(house_.edge->port());
    // The head of a handshake record that announces 512 bytes.
    const std::string hello("\x16\x03\x01\x02\x00", 5);
    const auto start = std::chrono::steady_clock::now();
    std::size_t sent = 0;
    char byte = 0;
    EXPECT_TRUE(eventually([&] {
        ::send(socket, sent < hello.size() ? hello.data() + sent : "\x01", 1, MSG_NOSIGNAL);
        ++sent;
        return ::recv(socket, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
    }));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
    ::close(socket);
}

TEST_F(EdgeLoadTest, APeerThatTakesNoAnswersIsClosedAtTheDeadline) {
    house_.config.request_deadline = std::chrono::milliseconds(300);
    house_.start();
    const auto peer = client();
    const std::string request = post("/x", std::string(EchoHandler::max_body, 'x'));
    // Answers pile up in the sockets' buffers until the edge can't write; then it reads no more.
    std::size_t sent = 0;
    while (sent < 1000 && peer->send(request)) ++sent;
    EXPECT_LT(sent, 1000U);
    EXPECT_EQ(client()->ask(get("/")).status, 200);
    EXPECT_NE(house_.metrics.text().find("strongroom_responses_not_taken_total"),
              std::string::npos);
}

TEST_F(EdgeLoadTest, APeerWithoutACertificateMayIdleForLess) {
    house_.config.stranger_idle_deadline = std::chrono::milliseconds(200);
    house_.config.idle_deadline = std::chrono::seconds(60);
    house_.start();
    const auto known = client();
    ASSERT_EQ(known->ask(get("/")).status, 200);
    RawClient stranger(house_.edge->port(), ClientOptions{house_.pki.ca(), std::nullopt, 0, {}});
    RawClient silent(house_.edge->port(), ClientOptions{house_.pki.ca(), std::nullopt, 0, {}});
    EXPECT_EQ(stranger.ask(get("/")).status, 200);
    EXPECT_TRUE(stranger.ends());
    EXPECT_TRUE(silent.ends());
    EXPECT_EQ(known->ask(get("/")).status, 200);
}

TEST_F(EdgeLoadTest, AnIdleConnectionIsClosedAtItsDeadline) {
    house_.config.idle_deadline = std::chrono::milliseconds(200);
    house_.start();
    const auto peer = client();
    EXPECT_EQ(peer->ask(get("/")).status, 200);
    EXPECT_TRUE(peer->ends());
    EXPECT_TRUE(house_.handler.refused().empty());
}

TEST_F(EdgeLoadTest, ConnectionsOverTheCapsAreRefusedAndComeBackAfterwards) {
    house_.config.max_connections_per_peer = 3;
    house_.start();
    std::vector<std::unique_ptr<RawClient>> all;
    for (int i = 0; i < 3; ++i) {
        all.push_back(client());
        ASSERT_EQ(all.back()->ask(get("/")).status, 200);
    }
    const auto beyond = client();
    const WireAnswer refusal = beyond->ask(get("/"));
    EXPECT_EQ(refusal.status, 503);
    EXPECT_TRUE(refusal.has("Retry-After: 1\r\n"));
    EXPECT_TRUE(beyond->ends());
    EXPECT_EQ(house_.handler.refused(), (std::vector<std::string>{"unavailable"}));
    EXPECT_EQ(all.front()->ask(get("/")).status, 200);
    all.pop_back();
    EXPECT_TRUE(eventually([this] { return client()->ask(get("/")).status == 200; }));
}

TEST_F(EdgeLoadTest, LargeBodiesShareARoomAndBeyondItAreRefusedUnread) {
    house_.config.large_body_bytes = 1000;
    house_.config.max_large_bodies_bytes = 100'000;
    house_.start();
    const auto announce = [](std::size_t bytes) {
        return "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(bytes) +
               "\r\n\r\n";
    };
    const auto holding = client();
    holding->send(post("/hold", std::string(60'000, 'x')));
    ASSERT_TRUE(house_.handler.wait_for_held(1));
    const auto beyond = client();
    const WireAnswer refusal = beyond->ask(announce(60'000));
    EXPECT_EQ(refusal.status, 503);
    EXPECT_TRUE(refusal.has("Retry-After: 1\r\n"));
    EXPECT_TRUE(beyond->ends());
    EXPECT_NE(house_.metrics.text().find("strongroom_large_bodies_refused_total"),
              std::string::npos);
    EXPECT_EQ(client()->ask(post("/x", std::string(1000, 'x'))).status, 200) << "no large one";
    EXPECT_EQ(client()->ask(post("/x", std::string(40'000, 'x'))).status, 200) << "it fits";
    EXPECT_EQ(client()->ask(announce(40'001)).status, 503);

    // Who has its whole request there and waits for its answer counts, and no longer.
    house_.handler.release();
    EXPECT_EQ(holding->read().status, 200);
    EXPECT_EQ(holding->ask(post("/x", std::string(60'000, 'x'))).status, 200);

    // Nor does who goes away in the middle.
    {
        const auto leaving = client();
        ASSERT_EQ(leaving
                      ->ask("POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                            "Content-Length: 60000\r\n\r\n")
                      .status,
                  100);
        EXPECT_EQ(client()->ask(announce(60'000)).status, 503);
    }
    EXPECT_TRUE(eventually(
        [&] { return client()->ask(post("/x", std::string(60'000, 'x'))).status == 200; }));
}

TEST_F(EdgeLoadTest, StrangersHaveHalfOfTheRoomForLargeBodies) {
    house_.config.large_body_bytes = 1000;
    house_.config.max_large_bodies_bytes = 60'000;
    house_.start();
    const ClientOptions nobody{house_.pki.ca(), std::nullopt, 0, {}};
    RawClient stranger(house_.edge->port(), nobody);
    EXPECT_EQ(stranger.ask(post("/x", std::string(30'001, 'x'))).status, 503);
    RawClient holding(house_.edge->port(), nobody);
    holding.send(post("/hold", std::string(30'000, 'x')));
    ASSERT_TRUE(house_.handler.wait_for_held(1));
    RawClient another(house_.edge->port(), nobody);
    EXPECT_EQ(another.ask(post("/x", std::string(1001, 'x'))).status, 503);
    EXPECT_EQ(client()->ask(post("/x", std::string(30'000, 'x'))).status, 200);
    house_.handler.release();
    EXPECT_EQ(holding.read().status, 200);
}

// Each stops before the last byte of its body. Without the room they would have 12 MiB.
TEST_F(EdgeLoadTest, SlowBodiesOfManyStrangersHaveNoMoreThanTheRoom) {
    house_.config.max_large_bodies_bytes = 2UL * 1024 * 1024;
    never_too_slow();
    house_.start();
    const std::string text = post("/x", std::string(EchoHandler::max_body, 'x'));
    const std::string begun = text.substr(0, text.size() - 1);
    std::vector<std::unique_ptr<RawClient>> slow;
    while (slow.size() < 200) {
        slow.push_back(stranger("127.0.1." + std::to_string(slow.size() + 1)));
        slow.back()->send(begun);
    }
    EXPECT_TRUE(house_.handler.wait_for_refusals(200 - 16));
    EXPECT_EQ(client()->ask(text).status, 200) << "who is known has the other half";
    EXPECT_EQ(house_.handler.refused().size(), 200U - 16U);
    std::size_t served = 0;
    for (const auto& peer : slow) {
        peer->send("x");
        served += peer->read().status == 200 ? 1U : 0U;
    }
    EXPECT_EQ(served, 16U);
}

// Five bodies are a third of the strangers' half, in which there is room for sixteen.
TEST_F(EdgeLoadTest, OnePeersLargeBodiesLeaveRoomForOthers) {
    house_.config.max_large_bodies_bytes = 2UL * 1024 * 1024;
    never_too_slow();
    house_.start();
    const std::string body(EchoHandler::max_body, 'x');
    std::vector<std::unique_ptr<RawClient>> holding;
    while (holding.size() < 5) {
        holding.push_back(stranger("127.0.0.2"));
        holding.back()->send(post("/hold", body));
    }
    ASSERT_TRUE(house_.handler.wait_for_held(5));
    const auto sixth = stranger("127.0.0.2");
    const WireAnswer refusal = sixth->ask(post("/x", body));
    EXPECT_EQ(refusal.status, 503);
    EXPECT_TRUE(refusal.has("Retry-After: 1\r\n"));
    EXPECT_TRUE(sixth->ends());
    EXPECT_EQ(stranger("127.0.0.2")->ask(post("/x", "small")).status, 200);
    EXPECT_EQ(stranger("127.0.0.3")->ask(post("/x", body)).status, 200) << "another peer";
    RawClient known(connect_tcp(house_.edge->port(), "127.0.0.2"),
                    ClientOptions{house_.pki.ca(), house_.app, 0, {}});
    EXPECT_EQ(known.ask(post("/x", body)).status, 200) << "no share for certificates";

    house_.handler.release();
    for (const auto& peer : holding) EXPECT_EQ(peer->read().status, 200);
    EXPECT_EQ(stranger("127.0.0.2")->ask(post("/x", body)).status, 200) << "it was given back";
}

TEST_F(EdgeLoadTest, OnePeersShareHasRoomForOneOfTheLargestBodies) {
    house_.config.max_large_bodies_bytes = 4 * EchoHandler::max_body;  // the third is less than one
    never_too_slow();
    house_.start();
    const auto holding = stranger("127.0.0.2");
    holding->send(post("/hold", std::string(EchoHandler::max_body, 'x')));
    ASSERT_TRUE(house_.handler.wait_for_held(1));
    const std::string more = post("/x", std::string(house_.config.large_body_bytes + 1, 'x'));
    EXPECT_EQ(stranger("127.0.0.2")->ask(more).status, 503);
    EXPECT_EQ(stranger("127.0.0.3")->ask(more).status, 200);
    house_.handler.release();
    EXPECT_EQ(holding->read().status, 200);
}

// A socket's mode says who may come, and one local user may stand for many: a proxy.
TEST_F(EdgeLoadTest, LocalUsersHaveNoShareOfTheirOwnOfTheRoom) {
    house_.config.max_large_bodies_bytes = 2UL * 1024 * 1024;
    const auto path = house_.directory / "edge.sock";
    house_.config.listen.push_back({"unix:" + path.string()});
    never_too_slow();
    house_.start();
    const std::string body(EchoHandler::max_body, 'x');
    std::vector<std::unique_ptr<RawClient>> holding;
    while (holding.size() < 16) {
        holding.push_back(std::make_unique<RawClient>(
            connect_unix(path), ClientOptions{house_.pki.ca(), std::nullopt, 0, {}}));
        holding.back()->send(post("/hold", body));
    }
    EXPECT_TRUE(house_.handler.wait_for_held(16));
    house_.handler.release();
    for (const auto& peer : holding) EXPECT_EQ(peer->read().status, 200);
}

// As many as a thousand at a time would be: none of them is closed without a word.
TEST_F(EdgeLoadTest, EachOfManyConnectionsOverTheCapIsToldSo) {
    house_.config.max_connections_per_peer = 1;
    never_too_slow();
    house_.config.refused_deadline = std::chrono::seconds(60);
    house_.config.idle_deadline = std::chrono::seconds(60);
    house_.start();
    const auto inside = client();
    ASSERT_EQ(inside->ask(get("/")).status, 200);
    std::vector<std::unique_ptr<RawClient>> beyond;
    for (int i = 0; i < 100; ++i) beyond.push_back(client());
    for (const auto& each : beyond) EXPECT_EQ(each->ask(get("/")).status, 503);
    EXPECT_EQ(inside->ask(get("/")).status, 200);
}

TEST_F(EdgeLoadTest, AConnectionOverTheCapsThatSaysNothingIsClosedSoon) {
    house_.config.refused_deadline = std::chrono::milliseconds(50);
    house_.config.max_connections = 1;
    house_.start();
    const auto inside = client();
    ASSERT_EQ(inside->ask(get("/")).status, 200);
    const auto beyond = client();
    EXPECT_TRUE(beyond->ends());
    EXPECT_EQ(inside->ask(get("/")).status, 200);
}

TEST_F(EdgeLoadTest, AConnectionOverTheCapsThatTricklesIsToldSoSoon) {
    never_too_slow();
    house_.config.refused_deadline = std::chrono::milliseconds(50);
    house_.config.max_connections = 1;
    house_.start();
    const auto inside = client();
    ASSERT_EQ(inside->ask(get("/")).status, 200);
    const auto beyond = client();
    beyond->send("GET / HTTP/1.1\r\nHo");
    EXPECT_EQ(beyond->read().status, 503);
    EXPECT_TRUE(beyond->ends());
}

TEST_F(EdgeLoadTest, BeyondAFewToBeToldConnectionsOverTheCapsAreClosedAtOnce) {
    house_.config.max_connections = 1;
    house_.config.handshake_deadline = std::chrono::seconds(8);
    house_.start();
    const auto inside = client();
    ASSERT_EQ(inside->ask(get("/")).status, 200);
    std::vector<int> silent;
    for (int i = 0; i < 64; ++i) silent.push_back(connect_tcp(house_.edge->port()));
    EXPECT_TRUE(eventually([this] { return !client()->shook_hands(); }));
    EXPECT_EQ(inside->ask(get("/")).status, 200);
    for (const int socket : silent) ::close(socket);
    EXPECT_TRUE(eventually([this] { return client()->ask(get("/")).status == 503; }));
}

TEST_F(EdgeLoadTest, StopLetsARunningRequestFinishAndClosesIdleConnections) {
    house_.start();
    // Connections go round the io threads: enough of them so that each thread has an idle one.
    std::vector<decltype(client())> idle;
    for (std::size_t i = 0; i < 2 * house_.config.threads; ++i) {
        idle.push_back(client());
        ASSERT_EQ(idle.back()->ask(get("/")).status, 200);
    }
    const auto busy = client();
    busy->send(get("/hold"));
    ASSERT_TRUE(house_.handler.wait_for_held(1));
    auto stopping =
        std::async(std::launch::async, [this] { house_.edge->stop(std::chrono::seconds(8)); });
    for (const auto& each : idle) EXPECT_TRUE(each->ends());
    house_.handler.release();
    const WireAnswer answer = busy->read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.has("Connection: close"));
    EXPECT_TRUE(busy->ends());
    EXPECT_EQ(stopping.wait_for(std::chrono::seconds(4)), std::future_status::ready);
    EXPECT_EQ(connect_tcp(house_.edge->port()), -1);
}

TEST_F(EdgeLoadTest, StopUnderLoadAnswersWhatItTookAndEndsInTime) {
    house_.config.head_deadline = std::chrono::seconds(60);
    house_.start();
    std::vector<int> silent;
    std::vector<std::unique_ptr<RawClient>> trickling;
    for (int i = 0; i < 50; ++i) {
        silent.push_back(connect_tcp(house_.edge->port()));
        if (i % 10 != 0) continue;
        trickling.push_back(client());
        trickling.back()->send("GET / HTTP/1.1\r\nX-Slow: ");
    }
    std::atomic<std::size_t> answered{0};
    std::atomic<std::size_t> broken{0};
    std::vector<std::thread> good;
    for (int i = 0; i < 4; ++i) {
        good.emplace_back([this, &answered, &broken] {
            const auto peer = client();
            for (;;) {
                const WireAnswer answer = peer->ask(get("/busy"));
                if (answer.status != 200) {
                    broken += answer.status == 0 && answer.head.empty() ? 0 : 1;
                    return;
                }
                ++answered;
            }
        });
    }
    ASSERT_TRUE(eventually([&answered] { return answered > 200; }));
    const auto start = std::chrono::steady_clock::now();
    house_.edge->stop(std::chrono::milliseconds(2500));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(6));
    for (auto& each : good) each.join();
    EXPECT_EQ(broken, 0U);
    EXPECT_EQ(answered, house_.handler.handled()) << "what was done was answered";
    for (const int socket : silent) ::close(socket);
}

TEST_F(EdgeLoadTest, StopEndsWithinItsBoundAndLateAnswersDoNoHarm) {
    house_.start();
    const auto busy = client();
    busy->send(get("/hold"));
    ASSERT_TRUE(house_.handler.wait_for_held(1));
    const auto start = std::chrono::steady_clock::now();
    house_.edge->stop(std::chrono::milliseconds(200));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
    EXPECT_EQ(busy->read().status, 0);
    house_.edge.reset();
    house_.handler.release();
}

TEST_F(EdgeLoadTest, AnEdgeThatWasNeverStartedEndsQuietly) {
    const server::Edge edge(house_.config, house_.handler, house_.metrics, house_.log);
    EXPECT_GT(edge.port(), 0);
}

}  // namespace
}  // namespace tests
