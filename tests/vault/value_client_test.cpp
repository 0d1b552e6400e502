// The client library for applications, as they link it, against a real vaultd with a real kmsd.
#include "vault/client/value_client.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temporary_directory.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/vault_house.h"

namespace tests {
namespace {

using vault::ClientError;
using vault::ValueClient;
using vault::ValueClientConfig;
using vault::ValueItem;

constexpr const char* credentials = R"({"access_token":"not-a-token","n":1.50})";

class ValueClientTest : public testing::Test {
protected:
    void SetUp() override {
        house_.kms().write("policy-vault.json", R"({ "version": 1,
  "roles": {"application": [{"id": "values", "effect": "allow", "actions": ["seal", "open"], "resources": ["value:*"]}]},
  "bindings": [{"caller": "spiffe://strongroom/app", "roles": ["application"]}] })");
        // Many values at once take their time on a busy machine.
        std::string text = house_.config_text();
        text.replace(text.find("2000"), 4, "30000");
        house_.kms().write("vaultd.json", text);
        house_.start();
    }
    ValueClientConfig config(const CertificateFiles& who) {
        return {.url = "https://127.0.0.1:" + std::to_string(house_.port()),
                .ca = house_.kms().pki().ca().string(),
                .certificate = who.certificate.string(),
                .key = who.key.string(),
                .context = "accounts.credentials",
                .deadline = std::chrono::seconds(30)};
    }

    VaultHouse house_;
};

// The code of the ClientError that `work` throws.
template <typename Work>
std::string code_of(Work&& work) {
    try {
        work();
    } catch (const ClientError& error) {
        EXPECT_EQ(std::string(error.what()).find("not-a-token"), std::string::npos);
        return error.code();
    }
    return "nothing was thrown";
}

TEST_F(ValueClientTest, WhatWasSealedOpensToTheSameAndIsSealedOnce) {
    ValueClient strongroom(config(house_.app_files));
    const std::string sealed = strongroom.encrypt_credentials(credentials);
    EXPECT_EQ(sealed.find("not-a-token"), std::string::npos);
    EXPECT_EQ(strongroom.decrypt_credentials(sealed).expose(), credentials);
    EXPECT_EQ(strongroom.encrypt_credentials(sealed), sealed);
    const auto again = strongroom.seal(sealed);
    EXPECT_EQ(again.state, "unchanged");
    EXPECT_EQ(again.key_version, 1U);
    const auto opened = strongroom.open(sealed);
    EXPECT_TRUE(opened.sealed);
    EXPECT_FALSE(opened.reseal);
    EXPECT_EQ(opened.key_id, again.key_id);
    for (const char* value : {"null", "\"text\"", "[1,{}]", "0"}) {
        EXPECT_EQ(strongroom.decrypt_credentials(strongroom.encrypt_credentials(value)).expose(),
                  value);
    }
}

TEST_F(ValueClientTest, AValueOpensInItsContextOnly) {
    ValueClient strongroom(config(house_.app_files));
    const std::string sealed = strongroom.encrypt_credentials(credentials, "accounts:42");
    EXPECT_EQ(strongroom.decrypt_credentials(sealed, "accounts:42").expose(), credentials);
    EXPECT_EQ(code_of([&] { strongroom.decrypt_credentials(sealed, "accounts:43"); }),
              "integrity_failure");
    EXPECT_EQ(code_of([&] { strongroom.decrypt_credentials(sealed); }), "integrity_failure");
    EXPECT_EQ(code_of([&] { strongroom.seal("{}", "a/b"); }), "invalid_argument");
}

TEST_F(ValueClientTest, ManyGoInSomeRequestsEachWithAResultOfItsOwn) {
    ValueClient strongroom(config(house_.app_files));
    std::vector<std::string> values;
    for (int i = 0; i < 120; ++i) values.push_back("{\"n\":" + std::to_string(i) + "}");
    values[7] = "\"" + std::string(65UL * 1024, 'x') + "\"";
    values[8] = R"({"__enc":2})";
    std::vector<ValueItem> items;
    for (const auto& value : values) items.push_back({value, {}});
    const auto sealed = strongroom.seal_many(items);
    ASSERT_EQ(sealed.size(), values.size());
    EXPECT_EQ(std::get<ClientError>(sealed[7]).code(), "invalid_argument");
    EXPECT_EQ(std::get<ClientError>(sealed[8]).code(), "integrity_failure");
    std::vector<ValueItem> to_open;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
        if (i != 7 && i != 8) to_open.push_back({std::get<vault::SealedText>(sealed[i]).value, {}});
    }
    to_open[3].context = "elsewhere";
    const auto opened = strongroom.open_many(to_open);
    ASSERT_EQ(opened.size(), 118U);
    EXPECT_EQ(std::get<ClientError>(opened[3]).code(), "integrity_failure");
    EXPECT_EQ(std::get<vault::OpenedText>(opened[2]).value.expose(), "{\"n\":2}");
    EXPECT_EQ(std::get<vault::OpenedText>(opened[117]).value.expose(), "{\"n\":119}");
    EXPECT_TRUE(strongroom.seal_many({}).empty());
    // Each at its largest: more than one request can hold.
    const std::string large = "\"" + std::string(60UL * 1024, 'x') + "\"";
    const auto many = strongroom.seal_many(std::vector<ValueItem>(40, ValueItem{large, {}}));
    for (const auto& one : many) EXPECT_TRUE(std::holds_alternative<vault::SealedText>(one));
}

TEST_F(ValueClientTest, FailuresHaveTheVaultsWords) {
    ValueClient app(config(house_.app_files));
    ValueClient stranger(config(house_.stranger_files));
    EXPECT_EQ(code_of([&] { stranger.seal("{}"); }), "permission_denied");
    EXPECT_EQ(code_of([&] { app.open(R"({"access_token":"not-a-token"})"); }), "invalid_argument");
    EXPECT_EQ(code_of([&] { app.seal("{\"access_token\":not-a-token}"); }), "invalid_argument");
    EXPECT_EQ(code_of([&] { app.seal("{},\"x\":{}"); }), "invalid_argument");
    const std::string sealed = app.encrypt_credentials("{}");
    house_.kmsd().stop();
    EXPECT_EQ(code_of([&] { app.open(sealed); }), "unavailable");
    house_.vaultd().stop();
    EXPECT_EQ(code_of([&] { app.open(sealed); }), "unavailable");
}

TEST_F(ValueClientTest, ARefusalNamesItsRequestForTheLog) {
    ValueClient stranger(config(house_.stranger_files));
    try {
        stranger.seal("{}");
        ADD_FAILURE();
    } catch (const ClientError& error) {
        EXPECT_NE(error.detail().find("status 403, request "), std::string::npos) << error.detail();
    }
}

TEST_F(ValueClientTest, AConfigurationThatIsWrongIsRefusedAtOnce) {
    const auto good = config(house_.app_files);
    auto wrong = good;
    wrong.url = "http://127.0.0.1:1";
    EXPECT_EQ(code_of([&] { ValueClient client(wrong); }), "invalid_argument");
    wrong = good;
    wrong.ca = "/missing";
    EXPECT_EQ(code_of([&] { ValueClient client(wrong); }), "invalid_argument");
    wrong = good;
    wrong.ca = good.certificate;
    ValueClient untrusting(wrong);
    EXPECT_EQ(code_of([&] { untrusting.seal("{}"); }), "unavailable");
    ASSERT_EQ(::chmod(good.key.c_str(), 0644), 0);
    EXPECT_EQ(code_of([&] { ValueClient client(good); }), "invalid_argument");
}

TEST(ValueClientCertificates, AreReadAnewWhenToldAllOrNone) {
    using Names = std::vector<std::string>;
    const TemporaryDirectory folder;
    TestPki pki(folder / "pki");
    TlsPeer peer(pki.server("vaultd"), pki.ca(), [](const std::string& /*request*/) {
        return PeerReply{http_answer(200, R"({"results":[{"value":{"n":1}}]})")};
    });
    const auto files = pki.client("old", "spiffe://strongroom/app");
    ValueClient client({.url = peer.url(),
                        .ca = pki.ca().string(),
                        .certificate = files.certificate.string(),
                        .key = files.key.string(),
                        .context = "accounts",
                        .deadline = std::chrono::seconds(30)});
    const auto open = [&] { return std::string(client.open("{}").value.expose()); };
    EXPECT_EQ(open(), R"({"n":1})");
    const auto renewed = pki.client("renewed", "spiffe://strongroom/app");
    std::filesystem::rename(renewed.certificate, files.certificate);
    try {  // half of a pair
        client.reload_certificates();
        ADD_FAILURE() << "nothing was thrown";
    } catch (const ClientError& error) {
        EXPECT_EQ(error.code(), "invalid_argument");
        EXPECT_NE(std::string(error.what()).find(files.key), std::string::npos) << error.what();
    }
    EXPECT_EQ(open(), R"({"n":1})");
    EXPECT_EQ(peer.shown(), Names{"old"}) << "the old pair, and its connection, stay";

    std::filesystem::rename(renewed.key, files.key);
    const auto facts = client.reload_certificates();
    EXPECT_EQ(facts.at("certificate_sha256").size(), 64U);
    EXPECT_TRUE(facts.contains("certificate_end"));
    EXPECT_EQ(open(), R"({"n":1})");
    EXPECT_EQ(peer.shown(), (Names{"old", "renewed"}));
}

TEST(SecretTextTest, GoesWhereItIsMovedAndNowhereElse) {
    vault::SecretText first("secret");
    vault::SecretText second(std::move(first));
    EXPECT_EQ(second.expose(), "secret");
    EXPECT_EQ(first.expose(), "");  // NOLINT(bugprone-use-after-move): that is what is asked
    vault::SecretText third("other");
    third = std::move(second);
    EXPECT_EQ(third.expose(), "secret");
    EXPECT_EQ(vault::SecretText().expose(), "");
}

}  // namespace
}  // namespace tests
