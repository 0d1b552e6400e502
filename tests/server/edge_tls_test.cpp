// Who gets through the handshake, and with what.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/server/edge_house.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

class EdgeTlsTest : public testing::Test {
protected:
    // Whether a request of a client with these options is answered, on a fresh connection. With
    // TLS 1.3 a client learns of its refusal only when it reads.
    bool is_served(const ClientOptions& options) {
        RawClient peer(house_.edge->port(), options);
        return peer.ask(get("/")).status == 200;
    }
    ClientOptions with(std::optional<CertificateFiles> certificate) {
        return {house_.pki.ca(), std::move(certificate), 0, {}};
    }
    ClientOptions tls_1_2(const std::string& suites = {}) {
        return {house_.pki.ca(), house_.app, TLS1_2_VERSION, suites};
    }

    EdgeHouse house_;
};

TEST_F(EdgeTlsTest, AClientWithACertificateOfOursIsServedOverTls13) {
    house_.start();
    RawClient peer(house_.edge->port(), with(house_.app));
    EXPECT_EQ(peer.ask(get("/")).status, 200);
    EXPECT_EQ(peer.version(), TLS1_3_VERSION);
}

TEST_F(EdgeTlsTest, WithoutACertificateAPeerIsNobodyWhereItIsOptional) {
    house_.start();
    EXPECT_TRUE(is_served(with(std::nullopt)));
    EXPECT_FALSE(house_.handler.last()->certificate);
}

TEST_F(EdgeTlsTest, WithoutACertificateNothingIsServedWhereItIsRequired) {
    house_.config.require_client_certificate = true;
    house_.start();
    EXPECT_FALSE(is_served(with(std::nullopt)));
    EXPECT_TRUE(is_served(with(house_.app)));
    EXPECT_EQ(house_.handler.handled(), 1U);
}

TEST_F(EdgeTlsTest, ACertificateThatDoesNotVerifyIsRefusedEvenWhereItIsOptional) {
    house_.start();
    TestPki other(house_.directory / "other");
    const std::vector<std::pair<const char*, CertificateFiles>> wrong = {
        {"other CA", other.client("stranger", "spiffe://strongroom/app")},
        {"expired", house_.pki.issue({"old", CertificateUse::client, {}, true})},
        {"not yet valid", house_.pki.issue({"new", CertificateUse::client, {}, false, true})},
        {"server's use", house_.pki.server("not-a-client")},
        {"other use", house_.pki.issue({"signer", CertificateUse::other, {}, false})},
    };
    for (const auto& [what, certificate] : wrong) {
        EXPECT_FALSE(is_served(with(certificate))) << what;
    }
    EXPECT_EQ(house_.handler.handled(), 0U);
    EXPECT_TRUE(house_.handler.refused().empty());
}

TEST_F(EdgeTlsTest, ACertificateWithAControlByteInItsUriNameIsRefused) {
    house_.start();
    const auto odd = house_.pki.client("odd", "spiffe://strongroom/app\x01");
    EXPECT_FALSE(is_served(with(odd)));
}

TEST_F(EdgeTlsTest, AllUriNamesOfACertificateAreSeenInOrder) {
    house_.start();
    const auto many = house_.pki.issue(
        {"many", CertificateUse::client, {"spiffe://a/one", "https://b/two"}, false});
    EXPECT_TRUE(is_served(with(many)));
    EXPECT_EQ(house_.handler.last()->certificate->uri_names,
              (std::vector<std::string>{"spiffe://a/one", "https://b/two"}));
}

TEST_F(EdgeTlsTest, EachConnectionIsRecognizedOnceAndByItsOwnCertificate) {
    house_.start();
    RawClient first(house_.edge->port(), with(house_.pki.client("one", "spiffe://t/one")));
    RawClient second(house_.edge->port(), with(house_.pki.client("two", "spiffe://t/two")));
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(first.ask(get("/p")).status, 200);
        EXPECT_EQ(house_.handler.last()->connected->id, "spiffe://t/one");
        EXPECT_EQ(second.ask(get("/p")).status, 200);
        EXPECT_EQ(house_.handler.last()->connected->id, "spiffe://t/two");
    }
    EXPECT_EQ(house_.handler.recognized(), 2U);
}

TEST_F(EdgeTlsTest, Tls12IsRefusedByDefault) {
    house_.start();
    EXPECT_FALSE(is_served(tls_1_2()));
}

TEST_F(EdgeTlsTest, Tls12IsServedWithForwardSecrecyAndAeadOnlyWhereConfigured) {
    house_.config.minimum_version = server::TlsVersion::tls_1_2;
    house_.start();
    EXPECT_TRUE(is_served(tls_1_2("ECDHE-ECDSA-AES256-GCM-SHA384")));
    for (const char* weak :
         {"ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA", "AES256-GCM-SHA384",
          "ECDHE-ECDSA-AES256-CCM8", "DHE-RSA-AES256-GCM-SHA384"}) {
        EXPECT_FALSE(is_served(tls_1_2(weak))) << weak;
    }
    auto old = tls_1_2("DEFAULT:@SECLEVEL=0");
    old.max_version = TLS1_1_VERSION;
    EXPECT_FALSE(is_served(old));
}

TEST_F(EdgeTlsTest, RenegotiationIsRefused) {
    house_.config.minimum_version = server::TlsVersion::tls_1_2;
    house_.start();
    RawClient peer(house_.edge->port(), tls_1_2());
    ASSERT_EQ(peer.ask(get("/")).status, 200);
    SSL_renegotiate(peer.ssl());
    const bool again = SSL_do_handshake(peer.ssl()) == 1 &&
                       SSL_renegotiate_pending(peer.ssl()) == 0 && peer.ask(get("/")).status == 200;
    EXPECT_FALSE(again);
}

TEST_F(EdgeTlsTest, NoSessionIsResumed) {
    house_.start();
    RawClient first(house_.edge->port(), with(house_.app));
    ASSERT_EQ(first.ask(get("/")).status, 200);
    const SSL_SESSION* session = SSL_get0_session(first.ssl());
    EXPECT_EQ(session == nullptr ? 0 : SSL_SESSION_is_resumable(session), 0);
}

TEST_F(EdgeTlsTest, PlainHttpOnTheTlsPortGetsNoHttpAnswer) {
    house_.start();
    const int socket = connect_tcp(house_.edge->port());
    const std::string request = get("/");
    ASSERT_EQ(::send(socket, request.data(), request.size(), 0),
              static_cast<ssize_t>(request.size()));
    std::string answer(64, '\0');
    const auto count = ::recv(socket, answer.data(), answer.size(), 0);
    EXPECT_FALSE(count > 4 && answer.starts_with("HTTP"));
    ::close(socket);
    EXPECT_EQ(house_.handler.handled(), 0U);
}

TEST_F(EdgeTlsTest, BadFilesRefuseTheStartAndAreNamed) {
    const auto start_with = [](auto change) {
        EdgeHouse fresh;
        change(fresh.config);
        fresh.start();
    };
    using Config = server::EdgeConfig;
    const auto other = house_.pki.server("other");
    const auto junk = house_.directory.write("junk.pem", "no certificate");
    const auto open_key = house_.directory.write("open.key", "key", 0644);
    EXPECT_ERROR_SAYING(failed_precondition, "missing.crt",
                        start_with([](Config& c) { c.certificate = "/nowhere/missing.crt"; }));
    EXPECT_ERROR_SAYING(failed_precondition, "junk.pem",
                        start_with([&](Config& c) { c.certificate = junk; }));
    EXPECT_ERROR_SAYING(failed_precondition, "open.key",
                        start_with([&](Config& c) { c.key = open_key; }));
    EXPECT_ERROR_SAYING(failed_precondition, "other.key",
                        start_with([&](Config& c) { c.key = other.key; }));
    EXPECT_ERROR_SAYING(failed_precondition, "missing.key",
                        start_with([](Config& c) { c.key = "/nowhere/missing.key"; }));
    EXPECT_ERROR_SAYING(failed_precondition, "missing-ca.crt",
                        start_with([](Config& c) { c.client_ca = "/nowhere/missing-ca.crt"; }));
    EXPECT_ERROR_SAYING(failed_precondition, "junk.pem",
                        start_with([&](Config& c) { c.client_ca = junk; }));
}

}  // namespace
}  // namespace tests
