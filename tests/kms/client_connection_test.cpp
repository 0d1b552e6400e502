// The client's connections: reuse, repetition, deadlines, and which servers it believes.
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "kms/client/client.h"
#include "tests/kms/client_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Then = PeerReply::Then;

TEST_F(ClientTest, OneConnectionServesOneCallAfterTheOther) {
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::Client client(config());
    for (int i = 0; i < 5; ++i) static_cast<void>(client.unwrap(some_item()));
    EXPECT_EQ(peer.connections(), 1);
    EXPECT_EQ(peer.requests(), 5);
}

TEST_F(ClientTest, CallsAtTheSameTimeShareNoMoreConnectionsThanAllowed) {
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::ClientConfig two = config();
    two.max_connections = 2;
    kms::Client client(two);
    std::vector<std::future<base::SecretBytes>> calls;
    calls.reserve(12);
    for (int i = 0; i < 12; ++i) {
        calls.push_back(std::async(std::launch::async, [&] { return client.unwrap(some_item()); }));
    }
    for (auto& call : calls) EXPECT_EQ(call.get().size(), 3U);
    EXPECT_LE(peer.connections(), 2);
    EXPECT_EQ(peer.requests(), 12);
}

TEST_F(ClientTest, AnIdleConnectionThatTheServerClosedIsReplacedEvenForCreate) {
    TlsPeer& peer = serve({{one_data_key(), Then::close}, {one_data_key()}});
    kms::Client client(config());
    EXPECT_EQ(client.create_data_keys(key_id, {}).size(), 1U);
    while (peer.open_connections() > 0) std::this_thread::yield();
    EXPECT_EQ(client.create_data_keys(key_id, {}).size(), 1U);
    EXPECT_EQ(peer.connections(), 2);
}

// Whose answer the rest would be nobody knows.
TEST_F(ClientTest, AConnectionOverWhichMoreThanTheAnswerCameIsNotUsedAgain) {
    for (const std::string& more : {one_plaintext(), std::string("x"), std::string(20'000, 'x')}) {
        for (const PeerReply& reply :
             {PeerReply{one_plaintext() + more}, PeerReply{one_plaintext(), Then::keep, more}}) {
            TlsPeer& peer = serve({reply, {one_plaintext()}});
            kms::Client client(config());
            for (int i = 0; i < 3; ++i) EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
            EXPECT_EQ(peer.connections(), 2);
            EXPECT_EQ(peer.requests(), 3);
        }
    }
}

TEST_F(ClientTest, AConnectionThatTheAnswerClosesIsNotUsedAgain) {
    const auto last = http_answer(200, R"({"plaintext":"AQID"})", "Connection: close\r\n");
    TlsPeer& peer = serve({{last}});
    kms::Client client(config());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.connections(), 3);
}

TEST_F(ClientTest, BodiesOfAnySizeGoThroughTheBuffersWhole) {
    constexpr std::size_t buffer = 8192;
    std::string got;
    serve_script([&got](const std::string& request) {
        got = request.substr(request.find("\r\n\r\n") + 4);
        return PeerReply{http_answer(200, got)};
    });
    kms::Client client(config());
    for (const std::size_t size : {std::size_t{1}, buffer - 300, buffer - 100, buffer, buffer + 1,
                                   2 * buffer, 100 * buffer + 7}) {
        std::string body;
        while (body.size() < size) body += std::to_string(body.size()) + ',';
        const kms::Answer answer = client.send("POST", "/v1/echo", body);
        EXPECT_EQ(got, body);
        EXPECT_EQ(std::string_view(answer.body), body);
    }
}

TEST_F(ClientTest, UnwrapIsRepeatedAfterALostAnswer) {
    for (const Then then : {Then::close, Then::reset}) {
        TlsPeer& peer = serve({{"", then}, {one_plaintext()}});
        kms::Client client(config());
        EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
        EXPECT_EQ(peer.requests(), 2);
    }
}

TEST_F(ClientTest, UnwrapIsRepeatedAfterServiceUnavailable) {
    TlsPeer& peer = serve({{http_answer(503, "{}")}, {http_answer(503, "{}")}, {one_plaintext()}});
    kms::Client client(config());
    EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.requests(), 3);
}

TEST_F(ClientTest, ReadsAreRepeatedAfterALostAnswer) {
    TlsPeer& peer = serve({{"", Then::reset}, {http_answer(200, R"({"keys":[]})")}});
    kms::Client client(config());
    EXPECT_NE(client.call("GET", "/v1/keys", {}).find("keys"), nullptr);
    EXPECT_EQ(peer.requests(), 2);
}

TEST_F(ClientTest, AnOrderWithAnIdempotencyKeyIsRepeatedAfterALostAnswer) {
    TlsPeer& peer = serve({{"", Then::reset}, {http_answer(200, R"({"id":"k"})")}});
    kms::Client client(config());
    kms::CallOptions once;
    once.idempotency_key = "once-7";
    EXPECT_NE(client.call("POST", "/v1/keys", "{}", once).find("id"), nullptr);
    EXPECT_EQ(peer.requests(), 2);
    TlsPeer& silent = serve({{"", Then::reset}, {http_answer(200, R"({"id":"k"})")}});
    kms::Client other(config());
    EXPECT_ERROR(unavailable, other.call("POST", "/v1/keys", "{}"));
    EXPECT_EQ(silent.requests(), 1);
}

TEST_F(ClientTest, DecryptIsRepeatedAfterALostAnswer) {
    TlsPeer& peer = serve({{"", Then::reset}, {one_plaintext()}});
    kms::Client client(config());
    EXPECT_EQ(client.decrypt(base::Bytes{4, 5, 6}, {}).size(), 3U);
    EXPECT_EQ(peer.requests(), 2);
}

TEST_F(ClientTest, WhatMakesAnEncryptionIsNeverRepeatedOnceSent) {
    const std::vector<std::function<void(kms::Client&)>> calls = {
        [](kms::Client& client) { static_cast<void>(client.create_data_keys(key_id, {})); },
        [](kms::Client& client) {
            static_cast<void>(client.rewrap({{4}, {}, "", std::nullopt}));
        },
        [](kms::Client& client) { static_cast<void>(client.encrypt(key_id, base::Bytes{1}, {})); }};
    for (const auto& call : calls) {
        for (const PeerReply& reply : {PeerReply{"", Then::close}, PeerReply{"", Then::reset},
                                       PeerReply{http_answer(503, "{}")}}) {
            TlsPeer& peer = serve({reply, {one_data_key()}});
            kms::Client client(config());
            EXPECT_ERROR(unavailable, call(client));
            EXPECT_EQ(peer.requests(), 1);
        }
    }
}

TEST_F(ClientTest, AServiceThatIsDownIsToldOfWithinTheRetryBudgetAndNotAtTheDeadline) {
    kms::ClientConfig nobody = config();
    nobody.deadline = std::chrono::seconds(60);
    kms::Client client(nobody);
    const auto begin = steady_clock::now();
    EXPECT_ERROR_SAYING(unavailable, "the key service can't be reached",
                        client.create_data_keys(key_id, {}));
    EXPECT_ERROR_SAYING(unavailable, "the key service can't be reached",
                        client.unwrap(some_item()));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(ClientTest, AServiceThatStaysBusyIsToldOfWithinTheRetryBudget) {
    TlsPeer& peer = serve({{http_answer(503, "{}")}});
    kms::ClientConfig patient = config();
    patient.deadline = std::chrono::seconds(60);
    kms::Client client(patient);
    const auto begin = steady_clock::now();
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10));
    EXPECT_GE(peer.requests(), 2);
}

TEST_F(ClientTest, ABudgetBeyondTheDeadlineEndsAtTheDeadline) {
    kms::ClientConfig nobody = config();
    nobody.deadline = milliseconds(300);
    nobody.retry_budget = std::chrono::seconds(60);
    kms::Client client(nobody);
    const auto begin = steady_clock::now();
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(3));
}

TEST_F(ClientTest, TheDeadlineEndsACallWhoseAnswerNeverComes) {
    for (const PeerReply& reply :
         {PeerReply{"", Then::hold}, PeerReply{"HTTP/1.1 200 OK\r\nX-Slow: ", Then::drip},
          PeerReply{"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", Then::drip}}) {
        serve({reply});
        kms::ClientConfig hurried = config();
        hurried.deadline = milliseconds(400);
        kms::Client client(hurried);
        const auto begin = steady_clock::now();
        EXPECT_ERROR_SAYING(unavailable, "in time", client.unwrap(some_item()));
        const auto took = steady_clock::now() - begin;
        EXPECT_GE(took, milliseconds(300));
        EXPECT_LT(took, std::chrono::seconds(3));
    }
}

TEST_F(ClientTest, WaitingForAConnectionEndsAtTheDeadlineToo) {
    TlsPeer& peer = serve({{"", Then::hold}});
    kms::ClientConfig single = config();
    single.max_connections = 1;
    single.deadline = milliseconds(400);
    kms::Client client(single);
    auto first = std::async(std::launch::async,
                            [&] { EXPECT_ERROR(unavailable, client.unwrap(some_item())); });
    while (peer.requests() == 0) std::this_thread::yield();
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    first.get();
}

TEST_F(ClientTest, AConnectionThatSawADeadlineIsNotUsedAgain) {
    TlsPeer& peer = serve({{"", Then::hold}, {one_plaintext()}});
    kms::ClientConfig hurried = config();
    hurried.deadline = milliseconds(300);
    kms::Client client(hurried);
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.connections(), 2);
}

TEST_F(ClientTest, AServerOfAnotherAuthorityIsRefusedBeforeAnythingIsSent) {
    TlsPeer& peer = serve({{one_plaintext()}});
    const TestPki other(directory_ / "other");
    kms::ClientConfig wrong = config();
    wrong.ca = other.ca();
    kms::Client client(wrong);
    EXPECT_ERROR_SAYING(unavailable, "certificate", client.unwrap(some_item()));
    EXPECT_EQ(peer.requests(), 0);
    EXPECT_EQ(peer.connections(), 1);
}

TEST_F(ClientTest, AServerOfAnotherNameOrAddressIsRefusedBeforeAnythingIsSent) {
    TlsPeer& peer = serve({{one_plaintext()}});
    // Both lead to the peer, whose certificate is for 127.0.0.1 and localhost only; the second is
    // no address in RFC form, so it is compared as a name.
    for (const char* host : {"127.0.0.2", "127.1"}) {
        kms::ClientConfig wrong = config();
        wrong.url = peer.url(host);
        kms::Client client(wrong);
        EXPECT_ERROR_SAYING(unavailable, "certificate", client.unwrap(some_item()));
    }
    EXPECT_EQ(peer.requests(), 0);
    EXPECT_EQ(peer.connections(), 2);
}

TEST_F(ClientTest, AServerMayBeCalledByName) {
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::ClientConfig by_name = config();
    by_name.url = peer.url("localhost");
    kms::Client client(by_name);
    EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
}

TEST_F(ClientTest, AnExpiredServerCertificateIsRefused) {
    server_ = pki_.issue({"expired", CertificateUse::server, {}, true});
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::Client client(config());
    EXPECT_ERROR_SAYING(unavailable, "certificate", client.unwrap(some_item()));
    EXPECT_EQ(peer.requests(), 0);
}

TEST_F(ClientTest, ACertificateThatIsNotForServersIsRefused) {
    server_ = pki_.issue({"not-a-server", CertificateUse::client, {}, false});
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::Client client(config());
    EXPECT_ERROR_SAYING(unavailable, "certificate", client.unwrap(some_item()));
    EXPECT_EQ(peer.requests(), 0);
}

}  // namespace
}  // namespace tests
