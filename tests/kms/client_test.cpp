#include "kms/client/client.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <future>
#include <optional>

#include "base/encoding.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tls_peer.h"

namespace tests {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Then = PeerReply::Then;

constexpr std::string_view key_id = "0e4f9d3a-52a0-4b7c-9a43-0123456789ab";

// "AQID" is the base64 of 1, 2, 3.
std::string one_plaintext() {
    return http_answer(
        200, R"({"plaintext":"AQID","key_id":")" + std::string(key_id) + R"(","key_version":1})");
}

std::string one_data_key() {
    return http_answer(200, R"({"key_id":")" + std::string(key_id) +
                                R"(","key_version":7,"data_keys":[{"wrapped":"BAUG","plaintext":)"
                                R"("AQID"}]})");
}

kms::UnwrapItem some_item() { return {{4, 5, 6}, {{"owner", "acme"}}}; }

class ClientTest : public testing::Test {
protected:
    // Answers request n with replies[n], and with the last one from then on.
    TlsPeer& serve(const std::vector<PeerReply>& replies) {
        return serve_script([replies, n = std::make_shared<std::atomic<std::size_t>>(0)](
                                const std::string& /*request*/) {
            return replies[std::min(n->fetch_add(1), replies.size() - 1)];
        });
    }
    TlsPeer& serve_script(TlsPeer::Script script) {
        peer_.emplace(server_, pki_.ca(), std::move(script));
        return *peer_;
    }
    kms::ClientConfig config() {
        kms::ClientConfig config;
        config.url = peer_ ? peer_->url() : "https://127.0.0.1:1";
        config.ca = pki_.ca();
        config.certificate = client_.certificate;
        config.key = client_.key;
        return config;
    }

    TemporaryDirectory directory_;
    TestPki pki_{directory_ / "pki"};
    CertificateFiles server_ = pki_.server("server");
    CertificateFiles client_ = pki_.client("client", "spiffe://strongroom/app");
    std::optional<TlsPeer> peer_;
};

TEST_F(ClientTest, DataKeysComeBackWithPlaintextWrappedFormAndKey) {
    std::string seen;
    serve_script([&seen](const std::string& request) {
        seen = request;
        return PeerReply{one_data_key()};
    });
    kms::Client client(config());
    const auto keys = client.create_data_keys("alias/credentials", {{"owner", "acme"}}, 32, 1, true,
                                              {"00-ab-cd-01", "once-7"});
    ASSERT_EQ(keys.size(), 1U);
    EXPECT_TRUE(keys[0].plaintext.equals(base::Bytes{1, 2, 3}));
    EXPECT_EQ(keys[0].wrapped, (base::Bytes{4, 5, 6}));
    EXPECT_EQ(keys[0].key_id.to_string(), key_id);
    EXPECT_EQ(keys[0].key_version, 7U);
    EXPECT_TRUE(seen.starts_with("POST /v1/keys/alias/credentials/data-keys HTTP/1.1\r\n")) << seen;
    EXPECT_TRUE(
        seen.ends_with(R"({"context":{"owner":"acme"},"bytes":32,"count":1,"plaintext":true})"))
        << seen;
    EXPECT_NE(seen.find("traceparent: 00-ab-cd-01\r\n"), std::string::npos) << seen;
    EXPECT_NE(seen.find("Idempotency-Key: once-7\r\n"), std::string::npos) << seen;
    EXPECT_NE(seen.find("Content-Type: application/json\r\n"), std::string::npos) << seen;
}

TEST_F(ClientTest, UnwrapSendsTheItemAndReturnsThePlaintext) {
    std::string seen;
    serve_script([&seen](const std::string& request) {
        seen = request;
        return PeerReply{one_plaintext()};
    });
    kms::Client client(config());
    EXPECT_TRUE(client.unwrap(some_item()).equals(base::Bytes{1, 2, 3}));
    EXPECT_TRUE(seen.starts_with("POST /v1/data-keys/unwrap HTTP/1.1\r\n")) << seen;
    EXPECT_TRUE(seen.ends_with(R"({"wrapped":"BAUG","context":{"owner":"acme"}})")) << seen;
}

TEST_F(ClientTest, ManyUnwrapsHaveEachTheirOwnResult) {
    serve({{http_answer(200, R"({"results":[{"plaintext":"AQID","key_id":"x","key_version":1},)"
                             R"({"error":{"code":"integrity_failure","message":"no"}}]})")}});
    kms::Client client(config());
    const std::vector<kms::UnwrapItem> items{some_item(), some_item()};
    const auto results = client.unwrap_many(items);
    ASSERT_EQ(results.size(), 2U);
    EXPECT_TRUE(std::get<base::SecretBytes>(results[0]).equals(base::Bytes{1, 2, 3}));
    EXPECT_EQ(std::get<base::Error>(results[1]).code(), base::ErrorCode::integrity_failure);
    EXPECT_TRUE(client.unwrap_many({}).empty());
    const std::vector<kms::UnwrapItem> too_many(kms::max_batch_items + 1);
    EXPECT_ERROR(invalid_argument, client.unwrap_many(too_many));
}

TEST_F(ClientTest, AThousandItemsGoIntoOneCall) {
    std::string answer = R"({"results":[)";
    for (std::size_t i = 0; i < kms::max_batch_items; ++i) answer += R"({"plaintext":"AQID"},)";
    answer.back() = ']';
    TlsPeer& peer = serve({{http_answer(200, answer + "}")}});
    kms::Client client(config());
    const std::vector<kms::UnwrapItem> items(kms::max_batch_items, some_item());
    EXPECT_EQ(client.unwrap_many(items).size(), kms::max_batch_items);
    EXPECT_EQ(peer.requests(), 1);
}

// An answer of one envelope, as rewrap and encrypt give it.
std::string one_envelope(std::string_view field) {
    return http_answer(200, R"({")" + std::string(field) + R"(":"BAUG","key_id":")" +
                                std::string(key_id) + R"(","key_version":7})");
}

TEST_F(ClientTest, RewrapSaysWhatChangesAndNothingElse) {
    std::string seen;
    serve_script([&seen](const std::string& request) {
        seen = request;
        return PeerReply{one_envelope("wrapped")};
    });
    kms::Client client(config());
    const auto anew = client.rewrap({{4, 5, 6}, {{"owner", "acme"}}, "", std::nullopt});
    EXPECT_EQ(anew.bytes, (base::Bytes{4, 5, 6}));
    EXPECT_EQ(anew.key_id.to_string(), key_id);
    EXPECT_EQ(anew.key_version, 7U);
    EXPECT_TRUE(seen.starts_with("POST /v1/data-keys/rewrap HTTP/1.1\r\n")) << seen;
    EXPECT_TRUE(seen.ends_with(R"({"wrapped":"BAUG","context":{"owner":"acme"}})")) << seen;
    static_cast<void>(
        client.rewrap({{4, 5, 6}, {{"owner", "acme"}}, "alias/second", kms::EncryptionContext()}));
    EXPECT_TRUE(seen.ends_with(
        R"({"wrapped":"BAUG","context":{"owner":"acme"},"to_key":"alias/second","to_context":{}})"))
        << seen;
}

TEST_F(ClientTest, ManyRewrapsHaveEachTheirOwnResult) {
    serve({{http_answer(200, R"({"results":[{"wrapped":"BAUG","key_id":")" + std::string(key_id) +
                                 R"(","key_version":2},)"
                                 R"({"error":{"code":"failed_precondition","message":"no"}}]})")}});
    kms::Client client(config());
    const std::vector<kms::RewrapItem> items(2, {{4, 5, 6}, {}, "", std::nullopt});
    const auto results = client.rewrap_many(items);
    ASSERT_EQ(results.size(), 2U);
    EXPECT_EQ(std::get<kms::Enveloped>(results[0]).key_version, 2U);
    EXPECT_EQ(std::get<base::Error>(results[1]).code(), base::ErrorCode::failed_precondition);
    EXPECT_TRUE(client.rewrap_many({}).empty());
    const std::vector<kms::RewrapItem> too_many(kms::max_batch_items + 1);
    EXPECT_ERROR(invalid_argument, client.rewrap_many(too_many));
    EXPECT_ERROR(internal, client.rewrap_many(std::span(items).first(1)));
}

TEST_F(ClientTest, TextsAreEncryptedAndDecrypted) {
    std::string seen;
    serve_script([&seen](const std::string& request) {
        seen = request;
        return PeerReply{request.starts_with("POST /v1/decrypt ") ? one_plaintext()
                                                                  : one_envelope("ciphertext")};
    });
    kms::Client client(config());
    const auto made = client.encrypt(key_id, base::Bytes{1, 2, 3}, {{"owner", "acme"}});
    EXPECT_EQ(made.bytes, (base::Bytes{4, 5, 6}));
    EXPECT_TRUE(seen.starts_with("POST /v1/keys/" + std::string(key_id) + "/encrypt HTTP/1.1\r\n"))
        << seen;
    EXPECT_TRUE(seen.ends_with(R"({"plaintext":"AQID","context":{"owner":"acme"}})")) << seen;
    EXPECT_TRUE(client.decrypt(made.bytes, {}).equals(base::Bytes{1, 2, 3}));
    EXPECT_TRUE(seen.ends_with(R"({"ciphertext":"BAUG"})")) << seen;
    serve({{http_answer(200, R"({"plaintext":")" + std::string(5464, 'A') + R"("})")}});
    kms::Client longest(config());
    EXPECT_EQ(longest.decrypt(made.bytes, {}).size(), 4098U);
}

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

TEST_F(ClientTest, ErrorsKeepTheServicesCodeMessageAndRequestId) {
    serve({{http_answer(403, R"({"error":{"code":"permission_denied","message":"not for you",)"
                             R"("request_id":"r-1"}})")}});
    kms::Client client(config());
    try {
        static_cast<void>(client.unwrap(some_item()));
        FAIL() << "nothing was thrown";
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::permission_denied);
        EXPECT_EQ(error.message(), "not for you");
        EXPECT_NE(error.detail().find("r-1"), std::string::npos);
    }
}

TEST_F(ClientTest, AnUnknownCodeWordIsReadByTheStatus) {
    serve({{http_answer(404, R"({"error":{"code":"strange","message":"gone"}})")},
           {http_answer(429, "plain words")},
           {http_answer(500, "")}});
    kms::Client client(config());
    EXPECT_ERROR_SAYING(not_found, "gone", client.unwrap(some_item()));
    EXPECT_ERROR_SAYING(resource_exhausted, "status 429", client.unwrap(some_item()));
    EXPECT_ERROR_SAYING(internal, "status 500", client.unwrap(some_item()));
}

TEST_F(ClientTest, AnAnswerThatMakesNoSenseIsInternalAndNotQuoted) {
    for (const char* body :
         {"no json SECRETWORD", R"({"plaintext":"SECRETWORD!"})", R"({"plaintext":7})",
          R"(["SECRETWORD"])", R"({"other":"SECRETWORD"})"}) {
        serve({{http_answer(200, body)}});
        kms::Client client(config());
        try {
            static_cast<void>(client.unwrap(some_item()));
            ADD_FAILURE() << "nothing was thrown for " << body;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::internal) << error.what();
            EXPECT_EQ(std::string(error.what()).find("SECRETWORD"), std::string::npos) << body;
        }
    }
}

TEST_F(ClientTest, FewerDataKeysThanAskedForAreInternal) {
    serve({{one_data_key()}});
    kms::Client client(config());
    EXPECT_ERROR(internal, client.create_data_keys(key_id, {}, 32, 2));
}

TEST_F(ClientTest, AnOversizedAnswerIsRefusedAndNotAskedForAgain) {
    TlsPeer& peer = serve({{http_answer(200, std::string(9UL * 1024 * 1024, ' '))}});
    kms::Client client(config());
    EXPECT_ERROR_SAYING(unavailable, "too large", client.call("GET", "/v1/keys", {}));
    EXPECT_EQ(peer.requests(), 1);
}

TEST_F(ClientTest, SendGivesEveryStatusBackAndDoesNotRepeat) {
    TlsPeer& peer = serve({{http_answer(503, R"({"ready":false})")}, {"", Then::reset}});
    kms::Client client(config());
    const kms::Answer answer = client.send("GET", "/readyz");
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.body, R"({"ready":false})");
    EXPECT_ERROR(unavailable, client.send("GET", "/readyz"));
    EXPECT_EQ(peer.requests(), 2);
}

TEST_F(ClientTest, NotReadyNamesTheChecksThatFail) {
    serve({{http_answer(503, R"({"ready":false,"checks":{"token":"no session","store":"ok"}})")},
           {http_answer(200, R"({"ready":true,"checks":{"token":"ok"}})")}});
    kms::Client client(config());
    EXPECT_ERROR_SAYING(unavailable, "not ready: token", client.check_ready());
    client.check_ready();
}

TEST_F(ClientTest, WhatWouldBreakTheRequestHeadIsInvalidAndNotSent) {
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::Client client(config());
    EXPECT_ERROR(invalid_argument, client.call("GET", "/v1/keys HTTP/1.1\r\nX: y", {}));
    EXPECT_ERROR(invalid_argument, client.call("GET", "v1/keys", {}));
    EXPECT_ERROR(invalid_argument, client.unwrap(some_item(), {"00\r\nX: y", {}}));
    EXPECT_ERROR(invalid_argument, client.unwrap(some_item(), {{}, "one two"}));
    EXPECT_EQ(peer.requests(), 0);
    EXPECT_EQ(kms::path_segment("a/b c~\xC3\xA9"), "a%2Fb%20c~%C3%A9");
}

TEST_F(ClientTest, AKeyThatOthersCanReadIsRefused) {
    ASSERT_EQ(::chmod(client_.key.c_str(), 0644), 0);
    EXPECT_ERROR_SAYING(invalid_argument, client_.key.string(), kms::Client(config()));
}

TEST_F(ClientTest, FilesThatAreMissingOrWrongAreRefusedByName) {
    const auto junk = directory_.write("junk.pem", "no PEM");
    for (auto member :
         {&kms::ClientConfig::ca, &kms::ClientConfig::certificate, &kms::ClientConfig::key}) {
        for (const auto& file : {junk, directory_ / "missing.pem"}) {
            kms::ClientConfig wrong = config();
            wrong.*member = file;
            EXPECT_ERROR_SAYING(invalid_argument, file.string(), kms::Client(wrong));
        }
    }
    kms::ClientConfig mixed = config();
    mixed.key = server_.key;
    EXPECT_ERROR_SAYING(invalid_argument, server_.key.string(), kms::Client(mixed));
}

TEST_F(ClientTest, OnlyAnHttpsUrlOfHostAndPortIsTaken) {
    for (const char* url :
         {"", "127.0.0.1:7443", "http://127.0.0.1:7443", "https://", "https://:7443",
          "https://host:0", "https://host:65536", "https://host:port", "https://host:7443/",
          "https://host/path", "https://user@host:1", "https://[::1", "https://[::1]7443"}) {
        kms::ClientConfig wrong = config();
        wrong.url = url;
        EXPECT_ERROR_SAYING(invalid_argument, "\"url\"", kms::Client(wrong));
    }
    for (const char* url : {"https://host", "https://127.0.0.1:7443", "https://[::1]:7443"}) {
        kms::ClientConfig right = config();
        right.url = url;
        EXPECT_NO_THROW(kms::Client{right}) << url;
    }
}

}  // namespace
}  // namespace tests
