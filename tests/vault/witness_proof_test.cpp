// The witness and a key service that may lie: what the header of an answer says, without a
// signature, is held to the signed checkpoints that come later.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <thread>

#include "base/encoding.h"
#include "kms/client/certificates.h"
#include "server/edge.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/played_log.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"
#include "vault/witness.h"

namespace tests {
namespace {

class WitnessProof : public testing::Test {
protected:
    WitnessProof() {
        const auto server = pki_.server("kmsd");
        server::EdgeConfig edge;
        edge.certificate = server.certificate;
        edge.key = server.key;
        edge.client_ca = pki_.ca();
        edge_ = std::make_unique<server::Edge>(edge, played_, metrics_, log_);
        edge_->start();
        const auto files = pki_.client("vaultd", "spiffe://strongroom/vaultd");
        client_.url = "https://127.0.0.1:" + std::to_string(edge_->port());
        client_.ca = pki_.ca();
        client_.certificate = files.certificate;
        client_.key = files.key;
        config_.file = folder_ / "kept";
        config_.interval = std::chrono::milliseconds(1);
    }
    ~WitnessProof() override { edge_->stop(std::chrono::seconds(2)); }

    std::unique_ptr<vault::LogWitness> open() {
        return std::make_unique<vault::LogWitness>(config_, client_, audit_, metrics_, log_);
    }
    static void exchange(vault::LogWitness& witness, const std::string& head) {
        const std::uint64_t before = witness.before_call();
        witness.after_answer(before, head);
    }
    // True once it holds, within ten seconds.
    template <typename Condition>
    static bool comes(Condition condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            std::this_thread::yield();
        }
        return true;
    }
    bool keeps(std::uint64_t size) const {
        return comes([&] {
            std::ifstream in(config_.file);
            const std::string text{std::istreambuf_iterator<char>(in), {}};
            return text.find('\n' + std::to_string(size) + '\n') != std::string::npos;
        });
    }
    static bool finds_conflict(const vault::LogWitness& witness) {
        return comes([&] {
            try {
                witness.check();
                return false;
            } catch (const base::Error&) {
                return true;
            }
        });
    }
    static std::string lie_of(std::uint64_t size) {
        return std::string(played_origin) + ' ' + std::to_string(size) + ' ' +
               base::to_base64(server::MerkleHash{});
    }

    TemporaryDirectory folder_;
    TestPki pki_{folder_ / "pki"};
    FakeClock clock_;
    base::Log log_{"test", base::LogLevel::error};
    server::Metrics metrics_{"test"};
    server::AuditLog audit_{{folder_ / "audit", "vaultd", "node"}, clock_, log_};
    PlayedLog played_;
    std::unique_ptr<server::Edge> edge_;
    kms::ClientConfig client_;
    vault::WitnessConfig config_;
};

TEST_F(WitnessProof, WhatGrowsIsProvenAndKept) {
    const auto witness = open();
    for (const std::uint64_t size : {3U, 7U, 12U}) {
        played_.grow(size);
        exchange(*witness, played_.head(size));
        EXPECT_TRUE(keeps(size));
    }
    EXPECT_NO_THROW(witness->check());
}

// The key service trusts another authority from then on, which signed the new certificate.
TEST_F(WitnessProof, ProofsAreHadWithTheCertificateThatWasReadAnewForAll) {
    client_.certificates =
        std::make_shared<kms::ClientCertificates>(client_.ca, client_.certificate, client_.key);
    const auto witness = open();
    played_.grow(3);
    exchange(*witness, played_.head(3));
    ASSERT_TRUE(keeps(3));
    TestPki other(folder_ / "other");
    const auto renewed = other.client("vaultd", "spiffe://strongroom/vaultd");
    std::filesystem::rename(renewed.certificate, client_.certificate);
    std::filesystem::rename(renewed.key, client_.key);
    client_.certificates->reload();
    std::filesystem::rename(other.ca(), pki_.ca());  // the edge's; the client has read its own
    edge_->reload_certificates();
    played_.grow(7);
    exchange(*witness, played_.head(7));
    EXPECT_TRUE(keeps(7));
}

TEST_F(WitnessProof, FirstHeaderIsHeldToTheSignedCheckpointOfItsSize) {
    played_.grow(5);
    const auto witness = open();
    exchange(*witness, lie_of(5));
    EXPECT_TRUE(finds_conflict(*witness));
}

TEST_F(WitnessProof, HeaderBetweenTwoCheckpointsIsHeldToTheLaterOne) {
    played_.grow(5);
    const auto witness = open();
    exchange(*witness, played_.head(5));
    ASSERT_TRUE(keeps(5));
    played_.grow(9);
    exchange(*witness, lie_of(7));
    EXPECT_TRUE(finds_conflict(*witness));
}

TEST_F(WitnessProof, HeaderOlderThanWhatWasProvenIsNotTakenForTheSameAsBefore) {
    played_.grow(9);
    const auto witness = open();
    const std::string older = played_.head(5);
    exchange(*witness, older);  // the proof leads to 9
    ASSERT_TRUE(keeps(9));
    // What was written is known a moment later.
    EXPECT_TRUE(comes([&] {
        try {
            exchange(*witness, older);
            return false;
        } catch (const base::Error&) {
            return true;
        }
    }));
}

TEST_F(WitnessProof, SignedCheckpointOfLessThanAnswersNamedIsFound) {
    played_.grow(9);
    const std::string named = played_.head(9);
    played_.cut(5);
    const auto witness = open();
    exchange(*witness, named);
    EXPECT_TRUE(finds_conflict(*witness));
}

TEST_F(WitnessProof, LogThatIsGoneSinceTheLastStartIsAskedForThoughNoAnswerNamesIt) {
    played_.grow(5);
    {
        const auto witness = open();
        exchange(*witness, played_.head(5));
        ASSERT_TRUE(keeps(5));
    }
    played_.hide();
    const auto witness = open();
    exchange(*witness, "");
    EXPECT_TRUE(finds_conflict(*witness));
}

TEST_F(WitnessProof, KeyServiceThatAnswersButProvesNothingIsSaid) {
    config_.patience = std::chrono::milliseconds(0);
    played_.grow(5);
    const std::string head = played_.head(5);
    played_.give_no_proofs();
    const auto witness = open();
    exchange(*witness, head);
    EXPECT_TRUE(
        comes([&] { return metrics_.text().find("audit_witness_failures") != std::string::npos; }));
    EXPECT_NO_THROW(witness->check());
}

}  // namespace
}  // namespace tests
