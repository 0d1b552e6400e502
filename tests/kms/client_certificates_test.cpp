// What the client shows and whom it trusts, read anew while it runs.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <thread>

#include "base/file.h"
#include "kms/client/certificates.h"
#include "kms/client/client.h"
#include "tests/kms/client_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using Names = std::vector<std::string>;

class ClientCertificatesTest : public ClientTest {
protected:
    // In the place of the client's pair, which keeps its paths.
    void put(const CertificateFiles& fresh) const {
        std::filesystem::rename(fresh.certificate, client_.certificate);
        std::filesystem::rename(fresh.key, client_.key);
    }
    CertificateFiles fresh() { return pki_.client("fresh", "spiffe://strongroom/app"); }
    static void wait_until_none_is_open(const TlsPeer& peer) {
        while (peer.open_connections() > 0) std::this_thread::yield();
    }
};

TEST_F(ClientCertificatesTest, ARenewedCertificateIsShownAndNoIdleConnectionOfTheOldOneIsUsed) {
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::Client client(config());
    static_cast<void>(client.unwrap(some_item()));
    put(fresh());
    static_cast<void>(client.unwrap(some_item()));
    EXPECT_EQ(peer.shown(), Names{"client"}) << "nothing is read unless it is told to";

    client.reload_certificates();
    wait_until_none_is_open(peer);  // closed at once, and not at the next call
    for (int i = 0; i < 3; ++i) EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.shown(), (Names{"client", "fresh"}));
}

TEST_F(ClientCertificatesTest, ACallUnderWayEndsOnItsConnectionWhichIsNotUsedAgain) {
    std::promise<void> asked;
    std::promise<void> go_on;
    std::atomic<int> requests = 0;
    TlsPeer& peer = serve_script([&](const std::string& /*request*/) {
        if (requests++ == 0) {
            asked.set_value();
            go_on.get_future().wait();
        }
        return PeerReply{one_data_key()};
    });
    kms::Client client(config());
    // What is never sent twice.
    auto call =
        std::async(std::launch::async, [&] { return client.create_data_keys(key_id, {}).size(); });
    asked.get_future().wait();
    put(fresh());
    client.reload_certificates();
    go_on.set_value();
    EXPECT_EQ(call.get(), 1U);
    EXPECT_EQ(peer.connections(), 1);
    wait_until_none_is_open(peer);
    EXPECT_EQ(client.create_data_keys(key_id, {}).size(), 1U);
    EXPECT_EQ(peer.shown(), (Names{"client", "fresh"}));
    EXPECT_EQ(peer.requests(), 2);
}

TEST_F(ClientCertificatesTest, CallsFromManyThreadsGoOnWhileTheCertificateIsRenewed) {
    serve({{one_data_key()}});
    kms::ClientConfig patient = config();
    patient.deadline = std::chrono::seconds(60);
    kms::Client client(patient);
    std::atomic<bool> enough = false;
    const auto call_on = [&] {
        std::size_t failed = 0;
        while (!enough) {
            try {
                static_cast<void>(client.create_data_keys(key_id, {}));
            } catch (const base::Error&) {
                ++failed;
            }
        }
        return failed;
    };
    std::vector<std::future<std::size_t>> callers;
    callers.reserve(4);
    for (int i = 0; i < 4; ++i) callers.push_back(std::async(std::launch::async, call_on));
    for (int i = 0; i < 20; ++i) {
        put(fresh());
        client.reload_certificates();
        static_cast<void>(client.create_data_keys(key_id, {}));
    }
    enough = true;
    for (auto& caller : callers) EXPECT_EQ(caller.get(), 0U);
}

TEST_F(ClientCertificatesTest, AFileThatIsWrongIsNamedAndTheOldOnesStayInForce) {
    TlsPeer& peer = serve({{one_plaintext()}});
    const kms::ClientConfig given = config();
    kms::Client client(given);
    static_cast<void>(client.unwrap(some_item()));
    const auto kept = directory_ / "kept";
    for (const auto& file : {given.ca, given.certificate, given.key}) {
        std::filesystem::rename(file, kept);
        EXPECT_ERROR_SAYING(invalid_argument, file.string(), client.reload_certificates());
        std::ofstream(file) << "no PEM\n";
        std::filesystem::permissions(file, std::filesystem::perms(0600));
        EXPECT_ERROR_SAYING(invalid_argument, file.string(), client.reload_certificates());
        std::filesystem::rename(kept, file);
    }
    // Half of a new pair, and a key that others can read.
    const auto half = fresh();
    std::filesystem::rename(client_.certificate, kept);
    std::filesystem::rename(half.certificate, client_.certificate);
    EXPECT_ERROR_SAYING(invalid_argument, client_.key.string(), client.reload_certificates());
    std::filesystem::rename(half.key, client_.key);
    std::filesystem::permissions(client_.key, std::filesystem::perms(0644));
    EXPECT_ERROR_SAYING(invalid_argument, client_.key.string(), client.reload_certificates());

    EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.connections(), 1) << "a failure closes nothing";
    std::filesystem::permissions(client_.key, std::filesystem::perms(0600));
    client.reload_certificates();
    EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.shown(), (Names{"client", "fresh"}));
}

// One that breaks meanwhile ends no connection.
TEST_F(ClientCertificatesTest, NewConnectionsReadNoFile) {
    TlsPeer& peer = serve(
        {{one_plaintext(), PeerReply::Then::close}, {one_plaintext(), PeerReply::Then::keep}});
    kms::ClientConfig given = config();
    given.ca = directory_.write("authority.crt", base::read_file(pki_.ca(), 1 << 20), 0644);
    kms::Client client(given);
    for (const auto& file : {given.ca, given.certificate, given.key}) {
        std::filesystem::remove(file);
    }
    for (int i = 0; i < 2; ++i) EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_EQ(peer.connections(), 2);
}

TEST_F(ClientCertificatesTest, AnotherAuthorityOfTheServersIsTrustedInPlaceOfTheOldOne) {
    TestPki other(directory_ / "other");
    const TlsPeer moved(other.server("server"), pki_.ca(),
                        [](const std::string& /*request*/) { return PeerReply{one_plaintext()}; });
    const TlsPeer& old = serve({{one_plaintext()}});
    kms::ClientConfig given = config();
    given.url = moved.url();
    given.ca = directory_.write("authority.crt", base::read_file(pki_.ca(), 1 << 20), 0644);
    kms::Client client(given);
    given.url = old.url();
    kms::Client to_old(given);
    EXPECT_ERROR(unavailable, client.unwrap(some_item()));
    EXPECT_EQ(to_old.unwrap(some_item()).size(), 3U);

    std::filesystem::copy_file(other.ca(), given.ca,
                               std::filesystem::copy_options::overwrite_existing);
    client.reload_certificates();
    to_old.reload_certificates();
    EXPECT_EQ(client.unwrap(some_item()).size(), 3U);
    EXPECT_ERROR(unavailable, to_old.unwrap(some_item()));
}

TEST_F(ClientCertificatesTest, ClientsThatShareThemChangeTogetherAlsoWhenOneOfThemHasGone) {
    TlsPeer& peer = serve({{one_plaintext()}});
    kms::ClientConfig shared = config();
    shared.certificates =
        std::make_shared<kms::ClientCertificates>(shared.ca, shared.certificate, shared.key);
    EXPECT_EQ(shared.certificates->files(),
              (std::vector{shared.ca, shared.certificate, shared.key}));
    shared.ca = shared.certificate = shared.key = "not read";
    kms::Client first(shared);
    kms::Client second(shared);
    static_cast<void>(kms::Client(shared).unwrap(some_item()));
    for (auto* client : {&first, &second}) static_cast<void>(client->unwrap(some_item()));
    put(fresh());
    const auto facts = shared.certificates->reload();
    wait_until_none_is_open(peer);
    for (auto* client : {&first, &second}) static_cast<void>(client->unwrap(some_item()));
    EXPECT_EQ(peer.shown(), (Names{"client", "client", "client", "fresh", "fresh"}));
    EXPECT_EQ(facts.at("certificate_sha256").size(), 64U);
    EXPECT_TRUE(facts.at("certificate_end").ends_with('Z')) << facts.at("certificate_end");
}

}  // namespace
}  // namespace tests
