// Certificates, authorities and revocation lists: what they refuse, and how they change while the
// edge serves.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "tests/server/edge_house.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

class EdgeReloadTest : public testing::Test {
protected:
    std::unique_ptr<RawClient> client(const CertificateFiles& certificate,
                                      const std::filesystem::path& ca = {}) {
        return std::make_unique<RawClient>(
            house_.edge->port(),
            ClientOptions{ca.empty() ? house_.pki.ca() : ca, certificate, 0, {}});
    }
    bool is_served(const CertificateFiles& certificate) {
        return client(certificate)->ask(get("/")).status == 200;
    }
    void start_with_list(const std::vector<CertificateFiles>& revoked) {
        // A reload takes its time on a busy machine; no deadline is the matter here.
        for (auto* deadline : {&house_.config.handshake_deadline, &house_.config.head_deadline,
                               &house_.config.request_deadline}) {
            *deadline = std::chrono::seconds(30);
        }
        house_.config.client_crl = {house_.pki.revocation_list("ca", revoked)};
        house_.start();
    }

    EdgeHouse house_;
};

TEST_F(EdgeReloadTest, ARevokedCertificateIsRefusedInTheHandshakeAndOthersAreNot) {
    const auto revoked = house_.pki.client("revoked", "spiffe://strongroom/revoked");
    start_with_list({revoked});
    EXPECT_FALSE(is_served(revoked));
    EXPECT_TRUE(is_served(house_.app));
    EXPECT_EQ(house_.handler.handled(), 1U);
}

TEST_F(EdgeReloadTest, ARevokedCertificateLosesItsOpenConnectionsAtTheReload) {
    const auto revoked = house_.pki.client("revoked", "spiffe://strongroom/revoked");
    start_with_list({});
    const auto open = client(revoked);
    const auto other = client(house_.app);
    ASSERT_EQ(open->ask(get("/")).status, 200);
    ASSERT_EQ(other->ask(get("/")).status, 200);
    house_.pki.revocation_list("ca", {revoked});
    EXPECT_EQ(open->ask(get("/")).status, 200) << "not in force before the reload";

    const auto facts = house_.edge->reload_certificates();
    EXPECT_EQ(facts.at("revoked"), "1");
    for (const auto* gauge :
         {"strongroom_certificate_end_seconds", "strongroom_client_crl_end_seconds"}) {
        EXPECT_NE(house_.metrics.text().find(gauge), std::string::npos) << gauge;
    }
    const WireAnswer refusal = open->ask(get("/"));
    EXPECT_EQ(refusal.status, 401);
    EXPECT_NE(refusal.body.find("does not hold any more"), std::string::npos);
    EXPECT_TRUE(open->ends());
    EXPECT_FALSE(is_served(revoked));
    EXPECT_EQ(other->ask(get("/")).status, 200) << "connections stay";
    EXPECT_EQ(other->ask(get("/")).status, 200);
}

TEST_F(EdgeReloadTest, ARequestWhoseBodyWasUnderWayIsRefusedAfterTheReload) {
    start_with_list({});
    const auto peer = client(house_.app);
    ASSERT_EQ(peer->ask(get("/")).status, 200);
    const std::size_t handled = house_.handler.handled();
    const std::string whole = post("/late", "{\"x\":1}");
    peer->send(whole.substr(0, whole.size() - 1));
    house_.pki.revocation_list("ca", {house_.app});
    house_.edge->reload_certificates();
    EXPECT_EQ(peer->ask(whole.substr(whole.size() - 1)).status, 401);
    EXPECT_EQ(house_.handler.handled(), handled);
}

// Neither file changes: time alone ends what was good.
TEST_F(EdgeReloadTest, ACertificateThatEndsLosesItsOpenConnection) {
    std::atomic<std::chrono::hours> later{std::chrono::hours(0)};
    house_.config.now = [&later] { return std::chrono::system_clock::now() + later.load(); };
    house_.start();
    const auto open = client(house_.app);
    ASSERT_EQ(open->ask(get("/")).status, 200);
    later = std::chrono::hours(25);
    const std::size_t handled = house_.handler.handled();
    const WireAnswer refusal = open->ask(get("/"));
    EXPECT_EQ(refusal.status, 401);
    EXPECT_NE(refusal.body.find("does not hold any more"), std::string::npos) << refusal.body;
    EXPECT_TRUE(open->ends());
    EXPECT_EQ(house_.handler.handled(), handled);
}

TEST_F(EdgeReloadTest, ARevocationListThatEndsLosesItsOpenConnections) {
    std::atomic<std::chrono::hours> later{std::chrono::hours(0)};
    house_.config.now = [&later] { return std::chrono::system_clock::now() + later.load(); };
    house_.config.client_crl = {
        house_.pki.revocation_list("ca", {}, false, std::chrono::hours(12))};
    house_.start();
    const auto open = client(house_.app);
    ASSERT_EQ(open->ask(get("/")).status, 200);
    later = std::chrono::hours(11);
    ASSERT_EQ(open->ask(get("/")).status, 200);
    later = std::chrono::hours(13);  // the certificates are good for a day
    EXPECT_EQ(open->ask(get("/")).status, 401);
    EXPECT_TRUE(open->ends());
}

TEST_F(EdgeReloadTest, ARequestBeingHandledIsAnsweredAcrossTheReload) {
    start_with_list({});
    const auto peer = client(house_.app);
    peer->send(get("/hold"));
    ASSERT_TRUE(house_.handler.wait_for_held(1));
    house_.edge->reload_certificates();
    house_.handler.release();
    EXPECT_EQ(peer->read().status, 200);
    EXPECT_EQ(peer->ask(get("/")).status, 200);
}

TEST_F(EdgeReloadTest, NewConnectionsGetTheNewCertificate) {
    house_.start();
    TestPki fresh(house_.directory / "fresh");
    const auto before = client(house_.app);
    ASSERT_EQ(before->ask(get("/")).status, 200);
    const auto files = fresh.server("server");
    std::filesystem::rename(files.certificate, house_.server_files.certificate);
    std::filesystem::rename(files.key, house_.server_files.key);
    const auto facts = house_.edge->reload_certificates();
    EXPECT_EQ(facts.at("certificate_sha256").size(), 64U);
    EXPECT_EQ(facts.count("certificate_end"), 1U);
    EXPECT_FALSE(client(house_.app)->shook_hands()) << "it trusts the old authority only";
    EXPECT_EQ(client(house_.app, fresh.ca())->ask(get("/")).status, 200);
    EXPECT_EQ(before->ask(get("/")).status, 200) << "connections stay";
}

TEST_F(EdgeReloadTest, AnotherAuthorityRefusesTheOldOnesCallersAndTheirConnections) {
    house_.start();
    TestPki fresh(house_.directory / "fresh");
    const auto before = client(house_.app);
    ASSERT_EQ(before->ask(get("/")).status, 200);
    std::filesystem::copy_file(fresh.ca(), house_.pki.ca().parent_path() / "new.crt");
    std::filesystem::copy_file(house_.pki.ca(), house_.directory / "trusted.crt");
    std::filesystem::rename(house_.pki.ca().parent_path() / "new.crt", house_.pki.ca());
    house_.edge->reload_certificates();
    EXPECT_EQ(before->ask(get("/")).status, 401);
    const auto trusted = house_.directory / "trusted.crt";
    EXPECT_EQ(client(house_.app, trusted)->ask(get("/")).status, 0);
    EXPECT_EQ(client(fresh.client("new"), trusted)->ask(get("/")).status, 200);
}

TEST_F(EdgeReloadTest, BrokenFilesAreRefusedByNameAndTheOldOnesStayInForce) {
    const auto revoked = house_.pki.client("revoked", "spiffe://strongroom/revoked");
    start_with_list({revoked});
    const auto open = client(house_.app);
    ASSERT_EQ(open->ask(get("/")).status, 200);
    const auto expect_kept = [&](const char* what) {
        SCOPED_TRACE(what);
        EXPECT_TRUE(is_served(house_.app));
        EXPECT_FALSE(is_served(revoked));
        EXPECT_EQ(open->ask(get("/")).status, 200);
    };
    const auto list = house_.config.client_crl.front();
    const auto replace = [this](const std::filesystem::path& file, std::string_view text) {
        const auto saved = house_.directory / "saved";
        std::filesystem::rename(file, saved);
        std::filesystem::rename(house_.directory.write("junk", text), file);
        return saved;
    };
    for (const auto& [file, name] : std::vector<std::pair<std::filesystem::path, std::string>>{
             {list, "ca.crl"},
             {house_.server_files.certificate, "server.crt"},
             {house_.server_files.key, "server.key"},
             {house_.pki.ca(), "ca.crt"}}) {
        const auto saved = replace(file, "-----BEGIN nothing");
        EXPECT_ERROR_SAYING(failed_precondition, name, house_.edge->reload_certificates());
        std::filesystem::rename(saved, file);
        expect_kept(name.c_str());
    }
    std::filesystem::rename(list, house_.directory / "away");
    EXPECT_ERROR_SAYING(failed_precondition, "ca.crl", house_.edge->reload_certificates());
    expect_kept("missing");
    house_.pki.revocation_list("ca", {}, true);
    EXPECT_ERROR_SAYING(failed_precondition, "ended at", house_.edge->reload_certificates());
    expect_kept("expired");
    EXPECT_EQ(house_.edge->certificate_files().size(), 4U);
}

TEST_F(EdgeReloadTest, AListThatIsMissingExpiredOrAnothersRefusesTheStart) {
    TestPki other(house_.directory / "other");
    const auto start_with = [this](const std::filesystem::path& list) {
        house_.config.client_crl = {list};
        house_.start();
    };
    EXPECT_ERROR_SAYING(failed_precondition, "/nowhere/ca.crl", start_with("/nowhere/ca.crl"));
    EXPECT_ERROR_SAYING(failed_precondition, "get a fresh one",
                        start_with(house_.pki.revocation_list("expired", {}, true)));
    EXPECT_ERROR_SAYING(failed_precondition, "none of client_crl is signed by CN=Test CA",
                        start_with(other.revocation_list("other", {})));
    EXPECT_ERROR_SAYING(failed_precondition, "holds no PEM list",
                        start_with(house_.directory.write("empty.crl", "", 0644)));
    EXPECT_ERROR_SAYING(failed_precondition, "open.crl",
                        start_with(house_.directory.write("open.crl", "x", 0666)));
}

TEST_F(EdgeReloadTest, ACertificateOfItsOwnThatHasEndedRefusesTheStart) {
    const auto old = house_.pki.issue({"old", CertificateUse::server, {}, true});
    house_.config.certificate = old.certificate;
    house_.config.key = old.key;
    EXPECT_ERROR_SAYING(failed_precondition, "old.crt ended at", house_.start());
}

}  // namespace
}  // namespace tests
