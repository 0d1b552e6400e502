// What the witness makes of the headers of answers, and of what it kept: without a key service.
// tests/system/witness_test.py has it with one.
#include "vault/witness.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/encoding.h"
#include "server/checkpoint.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/software_signer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"

namespace tests {
namespace {

class WitnessTest : public testing::Test {
protected:
    WitnessTest() {
        const auto files = pki_.client("vaultd", "spiffe://strongroom/vaultd");
        client_.url = "https://127.0.0.1:1";  // nobody there: no proof is ever had
        client_.ca = pki_.ca();
        client_.certificate = files.certificate;
        client_.key = files.key;
        client_.deadline = std::chrono::milliseconds(200);
        config_.file = folder_ / "kept";
        config_.interval = std::chrono::milliseconds(10);
    }
    std::unique_ptr<vault::LogWitness> open() {
        return std::make_unique<vault::LogWitness>(config_, client_, audit_, metrics_, log_);
    }
    static std::string head(std::uint64_t size, std::uint8_t root = 0,
                            const std::string& origin = "kms-1/strongroom/kmsd") {
        server::MerkleHash hash{};
        hash[0] = root != 0 ? root : static_cast<std::uint8_t>(size);
        return origin + ' ' + std::to_string(size) + ' ' + base::to_base64(hash);
    }
    // An exchange from its beginning to its end.
    static void exchange(vault::LogWitness& witness, const std::string& head) {
        const std::uint64_t before = witness.before_call();
        witness.after_answer(before, head);
    }
    void keep(const std::string& text) const { std::ofstream(config_.file) << text; }

    TemporaryDirectory folder_;
    TestPki pki_{folder_ / "pki"};
    FakeClock clock_;
    base::Log log_{"test", base::LogLevel::error};
    server::Metrics metrics_{"test"};
    server::AuditLog audit_{{folder_ / "audit", "vaultd", "node"}, clock_, log_};
    kms::ClientConfig client_;
    vault::WitnessConfig config_;
};

TEST_F(WitnessTest, LogThatGrowsOrStaysIsFine) {
    config_.nodes = 2;
    const auto witness = open();
    for (const std::uint64_t size : {1U, 5U, 5U, 9U}) exchange(*witness, head(size));
    exchange(*witness, head(3, 0, "kms-2/strongroom/kmsd"));  // another node's
    exchange(*witness, head(9));
    EXPECT_NO_THROW(witness->check());
}

TEST_F(WitnessTest, AnswerThatIsShorterThanWhatWasKnownBeforeTheCallIsRefused) {
    const auto witness = open();
    exchange(*witness, head(9));
    EXPECT_ERROR(unavailable, exchange(*witness, head(8)));
    EXPECT_ERROR(unavailable, witness->check());
    EXPECT_ERROR(unavailable, witness->before_call());
}

TEST_F(WitnessTest, AnswerThatWasUnderWayWhenAConflictWasFoundIsRefused) {
    const auto witness = open();
    exchange(*witness, head(9));
    const std::uint64_t slow = witness->before_call();
    EXPECT_ERROR(unavailable, exchange(*witness, head(8)));
    EXPECT_ERROR(unavailable, witness->after_answer(slow, head(9)));
}

TEST_F(WitnessTest, AnswerToACallThatBeganBeforeMayKnowLess) {
    const auto witness = open();
    const std::uint64_t slow = witness->before_call();
    exchange(*witness, head(9));
    EXPECT_NO_THROW(witness->after_answer(slow, head(8)));
    EXPECT_NO_THROW(witness->check());
}

TEST_F(WitnessTest, TwoLogsOfOneSizeAreAConflictWheneverTheCallBegan) {
    const auto witness = open();
    const std::uint64_t slow = witness->before_call();
    exchange(*witness, head(9, 1));
    EXPECT_ERROR(unavailable, witness->after_answer(slow, head(9, 2)));
}

TEST_F(WitnessTest, WhoIsToReportOnlyServesOnButIsNotReady) {
    config_.refuse = false;
    const auto witness = open();
    exchange(*witness, head(9));
    EXPECT_NO_THROW(exchange(*witness, head(8)));
    EXPECT_ERROR(unavailable, witness->check());
    EXPECT_NO_THROW(witness->before_call());
}

TEST_F(WitnessTest, HeaderThatIsNoneAccusesNobody) {
    const auto witness = open();
    for (const auto* text : {"", "x", "x 1", " 1 x", "log -1 AA==", "log 1 AA==", "log x AA=="}) {
        EXPECT_NO_THROW(exchange(*witness, text)) << text;
    }
    EXPECT_NO_THROW(witness->check());
}

TEST_F(WitnessTest, WhatWasKeptHoldsAfterARestart) {
    SoftwareSigner signer(server::NoteAlgorithm::ed25519);
    server::Checkpoint kept{"kms-1/strongroom/kmsd", 9, {}};
    kept.root[0] = 9;
    keep(server::sign_checkpoint(kept, signer) + '\n');
    const auto witness = open();
    exchange(*witness, head(9));
    EXPECT_ERROR(unavailable, exchange(*witness, head(8)));
}

TEST_F(WitnessTest, NodeThatShowsNoCheckpointIsAConflictOnlyWhereItIsTheOnlyOne) {
    SoftwareSigner signer(server::NoteAlgorithm::ed25519);
    const server::Checkpoint kept{"kms-1/strongroom/kmsd", 9, {}};
    keep(server::sign_checkpoint(kept, signer) + '\n');
    TlsPeer peer(pki_.server("kmsd"), pki_.ca(), [](const std::string& /*request*/) {
        return PeerReply{
            http_answer(404, R"({"error":{"code":"not_found","message":"none yet"}})")};
    });
    client_.url = peer.url();
    client_.more_urls = {peer.url()};
    client_.deadline = std::chrono::seconds(30);
    config_.interval = std::chrono::milliseconds(1);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    {
        const auto witness = open();
        // The second question comes after the first answer was judged.
        for (std::uint64_t size = 20; peer.requests() < 2; ++size) {
            exchange(*witness, head(size));
            ASSERT_LT(std::chrono::steady_clock::now(), end);
        }
        EXPECT_NO_THROW(witness->check());
    }
    client_.more_urls.clear();
    const auto witness = open();
    const auto is_conflict = [&] {
        try {
            witness->check();
            return false;
        } catch (const base::Error&) {
            return true;
        }
    };
    exchange(*witness, head(20));
    while (!is_conflict()) ASSERT_LT(std::chrono::steady_clock::now(), end);
}

TEST_F(WitnessTest, LogOfAnotherNameIsAConflictUnlessThereAreSoManyNodes) {
    const std::string other = "kms-2/strongroom/kmsd";
    {
        const auto witness = open();
        exchange(*witness, head(9));
        EXPECT_ERROR(unavailable, exchange(*witness, head(9, 0, other)));
    }
    std::filesystem::remove(config_.file.string() + ".conflict");
    client_.more_urls = {client_.url};
    const auto witness = open();
    exchange(*witness, head(9));
    EXPECT_NO_THROW(exchange(*witness, head(9, 0, other)));
    EXPECT_ERROR(unavailable, exchange(*witness, head(9, 0, "kms-3/strongroom/kmsd")));
}

TEST_F(WitnessTest, ConflictStaysUntilAnOperatorRemovesItsFile) {
    std::ofstream(config_.file.string() + ".conflict") << "found";
    EXPECT_ERROR(unavailable, open()->before_call());
    std::filesystem::remove(config_.file.string() + ".conflict");
    EXPECT_NO_THROW(open()->before_call());
}

TEST_F(WitnessTest, FilesThatMakeNoSenseAreRefused) {
    keep("no note\n\n\xE2\x80\x94 x y\n\n");
    EXPECT_ERROR_SAYING(invalid_argument, config_.file.string(), open());
    for (const char* text : {"", "kms-1/strongroom/kmsd\n9\n"}) {
        keep(text);
        EXPECT_ERROR_SAYING(invalid_argument, config_.file.string() + " is damaged", open());
    }
    std::filesystem::remove(config_.file);
    config_.audit_keys = folder_ / "keys.pem";
    std::ofstream(config_.audit_keys) << "no key";
    EXPECT_ERROR_SAYING(invalid_argument, "keys.pem", open());
}

}  // namespace
}  // namespace tests
