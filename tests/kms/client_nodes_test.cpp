// The client of a service with several nodes: which of them it asks, and for how long it avoids one
// that failed.
#include <gtest/gtest.h>

#include <chrono>
#include <list>

#include "kms/client/client.h"
#include "tests/kms/client_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Then = PeerReply::Then;

constexpr const char* nobodys_url = "https://127.0.0.1:1";

class ClientNodesTest : public ClientTest {
protected:
    // Another node, that always says the same.
    TlsPeer& node(const PeerReply& reply) {
        return nodes_.emplace_back(server_, pki_.ca(),
                                   [reply](const std::string& /*request*/) { return reply; });
    }
    kms::ClientConfig config_of(const std::vector<std::string>& urls) {
        kms::ClientConfig config = this->config();
        config.url = urls.front();
        config.more_urls.assign(urls.begin() + 1, urls.end());
        config.avoidance = std::chrono::hours(1);
        return config;
    }

    std::list<TlsPeer> nodes_;
};

TEST_F(ClientNodesTest, TheFirstNodeIsAskedAsLongAsItIsWell) {
    TlsPeer& first = node({one_plaintext()});
    TlsPeer& second = node({one_plaintext()});
    kms::Client client(config_of({first.url(), second.url()}));
    for (int i = 0; i < 5; ++i) static_cast<void>(client.unwrap(some_item()));
    EXPECT_EQ(first.requests(), 5);
    EXPECT_EQ(second.connections(), 0);
}

TEST_F(ClientNodesTest, ANodeThatIsNotThereIsNoticedByNobodyAlsoNotByACreate) {
    TlsPeer& second = node({one_data_key()});
    kms::ClientConfig hurried = config_of({nobodys_url, second.url()});
    hurried.retry_budget = milliseconds(0);
    kms::Client client(hurried);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(client.create_data_keys(key_id, {}).size(), 1U);
    EXPECT_EQ(second.requests(), 3);
    EXPECT_EQ(second.connections(), 1);
}

TEST_F(ClientNodesTest, ALostAnswerOrABusyNodeSendsAnUnwrapToTheNextNodeAndTheRestAfterIt) {
    for (const PeerReply& failure : {PeerReply{"", Then::reset}, PeerReply{"", Then::close},
                                     PeerReply{http_answer(503, "{}")}}) {
        TlsPeer& first = node(failure);
        TlsPeer& second = node({one_plaintext()});
        kms::ClientConfig hurried = config_of({first.url(), second.url()});
        hurried.retry_budget = milliseconds(0);
        kms::Client client(hurried);
        for (int i = 0; i < 3; ++i) EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
        EXPECT_EQ(first.requests(), 1);
        EXPECT_EQ(second.requests(), 3);
    }
}

TEST_F(ClientNodesTest, WhatMakesAnEncryptionIsNotSentToASecondNodeOnceItWasSent) {
    TlsPeer& first = node({"", Then::reset});
    TlsPeer& second = node({one_data_key()});
    kms::Client client(config_of({first.url(), second.url()}));
    EXPECT_ERROR(unavailable, client.create_data_keys(key_id, {}));
    EXPECT_EQ(second.requests(), 0);
    EXPECT_EQ(client.create_data_keys(key_id, {}).size(), 1U) << "the next call goes there";
    EXPECT_EQ(first.requests(), 1);
}

TEST_F(ClientNodesTest, ANodeIsAskedAgainWhenItsTimeIsOver) {
    TlsPeer& first = serve({{"", Then::reset}, {one_plaintext()}});
    TlsPeer& second = node({one_plaintext()});
    kms::ClientConfig forgiving = config_of({first.url(), second.url()});
    forgiving.avoidance = milliseconds(100);
    kms::Client client(forgiving);
    const auto begin = steady_clock::now();
    while (first.requests() < 2 && steady_clock::now() - begin < std::chrono::seconds(20)) {
        EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    }
    EXPECT_EQ(first.requests(), 2);
    EXPECT_GE(second.requests(), 1);
}

TEST_F(ClientNodesTest, NodesThatAllFailAreTriedOnceEachBeyondTheRetryBudgetAndNoLonger) {
    TlsPeer& first = node({http_answer(503, "{}")});
    TlsPeer& second = node({http_answer(503, "{}")});
    kms::ClientConfig hurried = config_of({first.url(), second.url(), nobodys_url});
    hurried.retry_budget = milliseconds(0);
    kms::Client client(hurried);
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    EXPECT_EQ(first.requests(), 1);
    EXPECT_EQ(second.requests(), 1);
    // All are avoided, but there is no other.
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    EXPECT_EQ(first.requests() + second.requests(), 3);
}

TEST_F(ClientNodesTest, AServiceIsReadyWhenOneOfItsNodesIs) {
    TlsPeer& first = node({http_answer(503, R"({"checks":{"token":"unavailable"}})")});
    TlsPeer& second = node({http_answer(200, "{}")});
    kms::Client client(config_of({first.url(), second.url()}));
    EXPECT_NO_THROW(client.check_ready());
    kms::Client without(config_of({first.url(), first.url()}));
    EXPECT_ERROR_SAYING(unavailable, "not ready: token", without.check_ready());
}

TEST_F(ClientNodesTest, IdleConnectionsToOtherNodesMakeRoomForNewOnes) {
    TlsPeer& first = serve({{one_plaintext()}, {"", Then::reset}});
    TlsPeer& second = node({one_plaintext()});
    kms::ClientConfig single = config_of({first.url(), second.url()});
    single.max_connections = 1;
    kms::Client client(single);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(second.requests(), 3);
}

TEST_F(ClientNodesTest, ListsThatMakeNoSenseAreRefused) {
    EXPECT_ERROR(invalid_argument, kms::Client(config_of({nobodys_url, "http://127.0.0.1"})));
    EXPECT_ERROR(invalid_argument,
                 kms::Client(config_of(std::vector<std::string>(kms::max_nodes + 1, nobodys_url))));
    kms::ClientConfig socket = config_of({nobodys_url, nobodys_url});
    socket.socket = "/run/kmsd.sock";
    EXPECT_ERROR(invalid_argument, kms::Client(socket));
}

}  // namespace
}  // namespace tests
