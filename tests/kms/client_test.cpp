// What each call of the client sends, and what it makes of the answer.
#include "kms/client/client.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/encoding.h"
#include "tests/kms/client_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

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

TEST_F(ClientTest, ItemsOfOtherTracesSayTheirs) {
    std::string seen;
    serve_script([&](const std::string& request) {
        seen = request;
        return PeerReply{http_answer(200, R"({"results":[{"plaintext":"AQID"},)"
                                          R"({"plaintext":"AQID"}]})")};
    });
    kms::Client client(config());
    std::vector<kms::UnwrapItem> items{some_item(), some_item()};
    items[1].traceparent = "00-a-b-00";
    client.unwrap_many(items);
    EXPECT_TRUE(seen.ends_with(
        R"({"items":[{"wrapped":"BAUG","context":{"owner":"acme"}},)"
        R"({"wrapped":"BAUG","context":{"owner":"acme"},"traceparent":"00-a-b-00"}]})"))
        << seen;
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

TEST_F(ClientTest, ARewrapTellsTheCommitmentWhereItIsAskedFor) {
    const std::string key =
        R"({"wrapped":"BAUG","key_id":")" + std::string(key_id) + R"(","key_version":2)";
    std::string commitment = R"(,"commitment":")" + base::to_base64(base::Bytes(32, 7)) + "\"";
    std::string seen;
    serve_script([&](const std::string& request) {
        seen = request;
        const std::string refusal = R"({"error":{"code":"failed_precondition","message":"no"}})";
        return PeerReply{
            http_answer(200, R"({"results":[)" + key + commitment + "}," + refusal + "]}")};
    });
    kms::Client client(config());
    const std::vector<kms::RewrapItem> items(2, {{4, 5, 6}, {}, "", std::nullopt});
    const auto results = client.rewrap_committed(items);
    EXPECT_NE(seen.find(R"("commitment":true)"), std::string::npos) << seen;
    ASSERT_EQ(results.size(), 2U);
    EXPECT_EQ(std::get<kms::Enveloped>(results[0]).commitment->at(31), 7);
    EXPECT_EQ(std::get<base::Error>(results[1]).code(), base::ErrorCode::failed_precondition);
    commitment.clear();
    // From a service that leaves it out.
    EXPECT_ERROR(internal, client.rewrap_committed(items));
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

TEST_F(ClientTest, ALongMessageIsNotCutWithinACharacter) {
    // The longest that is kept are 1,000 bytes, and this character has two.
    const std::string shown = std::string(999, 'x');
    serve(
        {{http_answer(404, R"({"error":{"code":"not_found","message":")" + shown + "\u00e9\"}}")}});
    kms::Client client(config());
    try {
        static_cast<void>(client.unwrap(some_item()));
        FAIL() << "nothing was thrown";
    } catch (const base::Error& error) {
        EXPECT_EQ(error.message(), shown);
    }
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
    TlsPeer& peer = serve({{http_answer(503, R"({"ready":false})")}, {"", PeerReply::Then::reset}});
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
