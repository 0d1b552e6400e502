// UNIX sockets, several listeners of one edge, and the listener for metrics.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "server/edge_listener.h"
#include "server/metrics_listener.h"
#include "tests/server/edge_house.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

class EdgeSocketTest : public testing::Test {
protected:
    std::filesystem::path path() const { return house_.directory / "edge.sock"; }
    server::ListenAddress socket(unsigned mode = 0600) const {
        return {"unix:" + path().string(), 0, mode};
    }
    ClientOptions options() const { return {house_.pki.ca(), house_.app, 0, {}}; }

    EdgeHouse house_;
};

TEST_F(EdgeSocketTest, AUnixSocketServesTlsAsTcpDoesAndSaysWhoIsThere) {
    house_.config.listen = {socket()};
    house_.start();
    RawClient peer(connect_unix(path()), options());
    EXPECT_EQ(peer.ask(get("/")).status, 200);
    const auto request = house_.handler.last();
    ASSERT_TRUE(request && request->local_peer && request->certificate);
    EXPECT_EQ(request->peer_address, "");
    EXPECT_EQ(request->local_peer->user_id, ::geteuid());
    EXPECT_EQ(request->local_peer->group_id, ::getegid());
    EXPECT_EQ(request->local_peer->process_id, ::getpid());
    EXPECT_EQ(house_.edge->port(), 0);
    EXPECT_EQ(house_.edge->places(), (std::vector<std::string>{"unix:" + path().string()}));
}

TEST_F(EdgeSocketTest, OneEdgeListensInSeveralPlaces) {
    house_.config.listen = {{"127.0.0.1", 0}, socket(), {"::1", 0}};
    house_.start();
    const auto places = house_.edge->places();
    ASSERT_EQ(places.size(), 3U);
    EXPECT_EQ(places[0], "127.0.0.1 port " + std::to_string(house_.edge->port()));
    EXPECT_EQ(places[1], "unix:" + path().string());
    EXPECT_TRUE(places[2].starts_with("::1 port ")) << places[2];
    EXPECT_NE(places[2], "::1 port 0");
    RawClient over_tcp(house_.edge->port(), options());
    EXPECT_EQ(over_tcp.ask(get("/")).status, 200);
    EXPECT_EQ(house_.handler.last()->peer_address, "127.0.0.1");
    EXPECT_FALSE(house_.handler.last()->local_peer);
    RawClient over_unix(connect_unix(path()), options());
    EXPECT_EQ(over_unix.ask(get("/")).status, 200);
    house_.edge->stop(std::chrono::seconds(1));
    EXPECT_TRUE(over_tcp.ends());
    EXPECT_TRUE(over_unix.ends());
}

TEST_F(EdgeSocketTest, TheSocketHasItsModeAndGoesWithTheEdge) {
    house_.config.listen = {socket(0660)};
    house_.start();
    struct stat status {};
    ASSERT_EQ(::lstat(path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0660U);
    house_.edge.reset();
    EXPECT_NE(::lstat(path().c_str(), &status), 0);
}

TEST_F(EdgeSocketTest, ADeadSocketIsReplacedAndALivingOneOrAFileIsNot) {
    house_.config.listen = {socket()};
    // As a kill leaves it: bound, and nobody listens.
    server::Listener dead(socket(), 1);
    ::close(dead.release());
    house_.start();
    RawClient peer(connect_unix(path()), options());
    EXPECT_EQ(peer.ask(get("/")).status, 200);

    EXPECT_ERROR_SAYING(failed_precondition, "edge.sock is in use", server::Listener(socket(), 1));
    RawClient again(connect_unix(path()), options());
    EXPECT_EQ(again.ask(get("/")).status, 200) << "the living one was left alone";

    const auto file = house_.directory.write("file.sock", "mine");
    EXPECT_ERROR_SAYING(failed_precondition, "is no socket",
                        server::Listener({"unix:" + file.string(), 0, 0600}, 1));
    EXPECT_EQ(std::filesystem::file_size(file), 4U);
    EXPECT_ERROR_SAYING(failed_precondition, "is its folder there",
                        server::Listener({"unix:/nowhere/at/all.sock", 0, 0600}, 1));
    EXPECT_ERROR_SAYING(failed_precondition, "1 to 107 bytes",
                        server::Listener({"unix:/" + std::string(120, 'x'), 0, 0600}, 1));
}

TEST_F(EdgeSocketTest, ANameThatBecameAnothersIsLeftToIt) {
    auto first = std::make_unique<server::Listener>(socket(), 1);
    std::filesystem::remove(path());
    const server::Listener second(socket(), 1);
    first.reset();
    EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(EdgeSocketTest, PeersAreCountedByAddressNetworkAndUser) {
    const auto group = [](const char* text) {
        sockaddr_storage storage{};
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        ::inet_pton(AF_INET6, text, &address.sin6_addr);
        std::memcpy(&storage, &address, sizeof(address));
        return server::peer_of(-1, storage).group;
    };
    EXPECT_EQ(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::9"));
    EXPECT_NE(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
    EXPECT_EQ(group("::ffff:192.0.2.7"), "192.0.2.7");

    house_.config.listen = {socket()};
    house_.config.max_connections_per_peer = 1;
    house_.start();
    RawClient first(connect_unix(path()), options());
    EXPECT_EQ(first.ask(get("/")).status, 200);
    RawClient second(connect_unix(path()), options());
    EXPECT_EQ(second.ask(get("/")).status, 503);
}

TEST_F(EdgeSocketTest, PlainBytesAreRefusedWhereOthersCouldComeIn) {
    for (const char* address : {"0.0.0.0", "::", "192.0.2.1", "128.0.0.1"}) {
        EXPECT_FALSE(server::is_local({address, 0, 0})) << address;
    }
    for (const char* address : {"127.0.0.1", "127.9.9.9", "::1", "unix:/x"}) {
        EXPECT_TRUE(server::is_local({address, 0, 0})) << address;
    }
    house_.config.plain = true;
    house_.config.listen = {{"0.0.0.0", 0}};
    EXPECT_ERROR_SAYING(failed_precondition, "without TLS", house_.start());
}

// One plain request on a fresh connection; everything until its end.
std::string ask_plainly(int socket, const std::string& request) {
    std::string answer;
    ::send(socket, request.data(), request.size(), MSG_NOSIGNAL);
    ::shutdown(socket, SHUT_WR);
    std::array<char, 4096> part{};
    for (ssize_t count = 0; (count = ::recv(socket, part.data(), part.size(), 0)) > 0;) {
        answer.append(part.data(), static_cast<std::size_t>(count));
    }
    ::close(socket);
    return answer;
}

TEST_F(EdgeSocketTest, TheMetricsListenerServesMetricsAndHealthAndNothingElse) {
    house_.metrics.count("audit_records", 3);
    server::EdgeConfig config;
    config.listen = {{"127.0.0.1", 0}, socket()};
    const auto listener = server::open_metrics_listener(config, house_.metrics, house_.log);
    const auto ask = [&](const std::string& request) {
        return ask_plainly(connect_tcp(listener->port()), request);
    };
    const std::string close = " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    const std::string text = ask("GET /metrics" + close);
    EXPECT_NE(text.find("HTTP/1.1 200"), std::string::npos) << text;
    EXPECT_NE(text.find("strongroom_audit_records_total"), std::string::npos) << text;
    EXPECT_NE(ask("GET /healthz" + close).find("{\"status\":\"ok\"}"), std::string::npos);
    EXPECT_NE(ask_plainly(connect_unix(path()), "GET /healthz" + close).find("ok"),
              std::string::npos);
    for (const auto& [request, status] :
         std::vector<std::pair<std::string, std::string>>{{"GET /v1/keys", "404"},
                                                          {"GET /readyz", "404"},
                                                          {"POST /metrics", "405"},
                                                          {"GET /metrics?name=x", "400"}}) {
        EXPECT_NE(ask(request + close).find("HTTP/1.1 " + status), std::string::npos) << request;
    }
    EXPECT_EQ(server::open_metrics_listener(std::nullopt, house_.metrics, house_.log), nullptr);
    config.listen = {{"0.0.0.0", 0}};
    EXPECT_ERROR(failed_precondition,
                 server::open_metrics_listener(config, house_.metrics, house_.log));
}

}  // namespace
}  // namespace tests
