// The witness of a program that makes some calls and ends, and of several that share its files:
// what is kept, what is found, and that nobody undoes what another kept.
#include "kms/witness/command_witness.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>

#include "base/encoding.h"
#include "base/file.h"
#include "kms/witness/file_lock.h"
#include "server/edge.h"
#include "server/metrics.h"
#include "tests/support/expect_error.h"
#include "tests/support/played_log.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"

namespace tests {
namespace {

// What was told, a word each.
class ToldEvents final : public kms::WitnessEvents {
public:
    void opened(const std::string& conflict) override {
        if (!conflict.empty()) words += "earlier ";
    }
    void log_begun(const server::Checkpoint& /*first*/) override { words += "begun "; }
    void contradicted(const kms::LogConflict& conflict) override {
        words += "contradicted ";
        reason = conflict.reason;
        seen = conflict.seen;
    }
    void conflict_kept(const kms::LogConflict& /*conflict*/) override { words += "kept "; }
    void conflict_not_kept(const std::string& /*reason*/) override { words += "not-kept "; }
    void unproven(const std::string& why) override {
        words += "unproven ";
        reason = why;
    }
    void failed(const std::string& /*reason*/) override { words += "failed "; }

    std::string words;
    std::string reason;
    std::string seen;
};

class CommandWitness : public testing::Test {
protected:
    // A program with its witness, from its start to its end.
    struct Program {
        Program(const kms::CommandWitnessConfig& config, const kms::ClientConfig& client)
            : witness(config, client, told) {}
        Program& hears(const std::string& head) {
            witness.after_answer(witness.before_call(), head);
            return *this;
        }
        ToldEvents told;
        kms::CommandWitness witness;
    };

    CommandWitness() {
        const auto server = pki_.server("kmsd");
        server::EdgeConfig edge;
        edge.certificate = server.certificate;
        edge.key = server.key;
        edge.client_ca = pki_.ca();
        edge_ = std::make_unique<server::Edge>(edge, played_, metrics_, log_);
        edge_->start();
        const auto files = pki_.client("operator", "spiffe://strongroom/operator");
        client_.url = "https://127.0.0.1:" + std::to_string(edge_->port());
        client_.ca = pki_.ca();
        client_.certificate = files.certificate;
        client_.key = files.key;
        client_.deadline = std::chrono::seconds(40);
        config_.file = folder_ / "kept";
        played_.grow(5);
    }
    ~CommandWitness() override { edge_->stop(std::chrono::seconds(2)); }

    std::unique_ptr<Program> start() { return std::make_unique<Program>(config_, client_); }
    // What a program that hears `head` is told of; `reason_` is why.
    std::string run(const std::string& head) {
        const auto program = start();
        const bool contradicted = program->hears(head).witness.conclude();
        EXPECT_EQ(contradicted, has_conflict()) << head;
        reason_ = program->told.reason;
        return program->told.words;
    }
    std::string conflict_text() const { return base::read_file(conflict_file(), 200'000); }
    std::string kept_text() const { return base::read_file(config_.file, 200'000); }
    static std::string empty_log(const std::string& origin) {
        return origin + " 0 " + base::to_base64(server::MerkleHash{});
    }
    // The size of the log that is kept; 0 when there is none.
    std::uint64_t kept() const {
        if (!std::filesystem::exists(config_.file)) return 0;
        const std::string text = base::read_file(config_.file, 10'000);
        return server::parse_checkpoint_text(text).size;
    }
    std::filesystem::path conflict_file() const { return config_.file.string() + ".conflict"; }
    bool has_conflict() const { return std::filesystem::exists(conflict_file()); }

    TemporaryDirectory folder_;
    TestPki pki_{folder_ / "pki"};
    base::Log log_{"test", base::LogLevel::error};
    server::Metrics metrics_{"test"};
    PlayedLog played_;
    std::unique_ptr<server::Edge> edge_;
    kms::ClientConfig client_;
    kms::CommandWitnessConfig config_;
    std::string reason_;
};

TEST_F(CommandWitness, TheFirstProgramKeepsWhatItSeesAndTheNextHasItExtended) {
    EXPECT_EQ(run(played_.head(5)), "begun ");
    EXPECT_EQ(kept(), 5U);
    played_.grow(9);
    EXPECT_EQ(run(played_.head(9)), "");
    EXPECT_EQ(kept(), 9U);
}

TEST_F(CommandWitness, NothingIsAskedWhereTheHeadIsWhatIsKeptOrThereWasNoAnswer) {
    run(played_.head(5));
    const int before = played_.requests();
    run(played_.head(5));
    EXPECT_FALSE(start()->witness.conclude());
    EXPECT_EQ(played_.requests(), before);
}

TEST_F(CommandWitness, LogThatWasSetBackIsAConflictAndTheNextProgramCallsNobody) {
    played_.grow(9);
    run(played_.head(9));
    played_.cut(6);
    EXPECT_EQ(run(played_.head(6)), "contradicted kept ");
    EXPECT_EQ(kept(), 9U);
    const std::string found = base::read_file(conflict_file(), 10'000);
    EXPECT_TRUE(found.starts_with("the audit log is shorter than it was")) << found;
    EXPECT_NE(found.find(base::read_file(config_.file, 10'000).substr(0, 60)), std::string::npos);

    const auto next = start();
    EXPECT_EQ(next->told.words, "earlier ");
    EXPECT_ERROR(unavailable, next->witness.before_call());
    EXPECT_TRUE(next->witness.conclude());
    EXPECT_EQ(next->told.words, "earlier ");

    // The operator has put the right log back, and looked at the file.
    std::filesystem::remove(conflict_file());
    played_.grow(12);
    EXPECT_EQ(run(played_.head(12)), "");
    EXPECT_EQ(kept(), 12U);
}

TEST_F(CommandWitness, NoFurtherCallIsMadeOnceAnAnswerContradicts) {
    run(played_.head(5));
    const auto program = start();
    program->hears(played_.head(4));
    EXPECT_ERROR(unavailable, program->witness.before_call());
    EXPECT_TRUE(program->witness.conclude());
}

TEST_F(CommandWitness, ForkIsAConflictThoughItGrew) {
    run(played_.head(5));
    played_.cut(3);
    played_.grow(20, 'b');
    EXPECT_EQ(run(played_.head(20)), "contradicted kept ");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, LogThatIsHiddenIsAConflictAlsoWithoutAHead) {
    run(played_.head(5));
    played_.hide();
    EXPECT_EQ(run(""), "contradicted kept ");
}

TEST_F(CommandWitness, ServiceThatShowsNoCheckpointsIsSaidOnceForAllItsAnswers) {
    played_.hide();
    const auto program = start();
    EXPECT_FALSE(program->hears("").hears("").witness.conclude());
    EXPECT_EQ(program->told.words, "unproven ");
    EXPECT_NE(program->told.reason.find("shows no checkpoints"), std::string::npos);
}

TEST_F(CommandWitness, ServiceThatNamesNoCheckpointButShowsOneIsWatched) {
    EXPECT_EQ(run(""), "begun ");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, LogThatHasNoCheckpointYetIsNothingToSpeakOf) {
    played_.hide();
    const auto program = start();
    // Without a checkpoint it may still get another name.
    program->hears(empty_log("kms-1/strongroom/kmsd")).hears("").hears(empty_log("kms-2"));
    EXPECT_FALSE(program->witness.conclude());
    EXPECT_EQ(program->told.words, "");
    EXPECT_EQ(played_.requests(), 0);
}

// The program was answered by the one and the witness by the other, which is new.
TEST_F(CommandWitness, NodeWithoutACheckpointBesideOneThatNamedItsOwnIsNoConflict) {
    run(played_.head(5));
    played_.grow(9);
    played_.hide();
    EXPECT_EQ(run(played_.head(9)), "unproven ");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, NodeThatShowsNothingIsNoConflictWhereThereAreSeveral) {
    config_.nodes = 2;
    run(played_.head(5));
    played_.hide();
    EXPECT_EQ(run(""), "unproven ");
}

TEST_F(CommandWitness, SignedCheckpointOfLessThanAnswersNamedIsAConflict) {
    played_.grow(9);
    const std::string named = played_.head(9);
    played_.cut(5);
    EXPECT_EQ(run(named), "contradicted kept ");
    std::filesystem::remove(conflict_file());
    run(played_.head(5));
    ASSERT_EQ(kept(), 5U);
    EXPECT_EQ(run(named), "contradicted kept ");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, WhatAnswersNamedOfAnotherNodesLogSaysNothingOfThisOne) {
    config_.nodes = 2;
    played_.call_it("kms-2/strongroom/kmsd");
    played_.grow(9);
    const std::string other = played_.head(9);
    played_.call_it(played_origin);
    played_.cut(5);
    EXPECT_EQ(run(other), "begun ");
    EXPECT_EQ(run(other), "");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, LogBegunAnewUnderAnotherNameIsAConflict) {
    run(played_.head(5));
    EXPECT_EQ(run(empty_log("kms-2/strongroom/kmsd")), "contradicted kept ");
    std::filesystem::remove(conflict_file());
    played_.call_it("kms-2/strongroom/kmsd");
    played_.grow(9);
    EXPECT_EQ(run(played_.head(9)), "contradicted kept ");
    EXPECT_NE(reason_.find("\"nodes\""), std::string::npos) << reason_;
    std::filesystem::remove(conflict_file());
    EXPECT_EQ(run(""), "contradicted kept ") << "what is signed says so as well";
    EXPECT_NE(conflict_text().find(kept_text()), std::string::npos);
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, AsManyLogsAreKeptAsThereAreNodes) {
    config_.nodes = 2;
    run(played_.head(5));
    played_.call_it("kms-2/strongroom/kmsd");
    EXPECT_EQ(run(played_.head(5)), "begun ");
    config_.nodes = 1;  // what is kept is none too many
    EXPECT_EQ(run(played_.head(5)), "");
    config_.nodes = 2;
    const std::string both = kept_text();
    played_.call_it("kms-3/strongroom/kmsd");
    EXPECT_EQ(run(""), "contradicted kept ");
    EXPECT_EQ(kept_text(), both);
}

// The proof for what was kept is of a log that nobody asked about.
TEST_F(CommandWitness, ProofOfAnotherNodeIsSaid) {
    config_.nodes = 2;
    run(played_.head(5));
    played_.grow(9);
    const std::string head = played_.head(9);
    const std::string note =
        server::sign_checkpoint(*server::parse_checkpoint_head(head), played_.signer());
    played_.answer_with(note);
    played_.call_it("kms-2/strongroom/kmsd");
    EXPECT_EQ(run(head), "unproven ");
    config_.nodes = 1;
    EXPECT_EQ(run(head), "contradicted kept ");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, CheckpointOfAnotherKeyIsAConflict) {
    config_.audit_keys = folder_ / "audit.pem";
    const auto write_key = [this](SoftwareSigner& signer) {
        std::ofstream(config_.audit_keys) << signer.note_key().to_pem();
    };
    write_key(played_.signer());
    EXPECT_EQ(run(played_.head(5)), "begun ");
    SoftwareSigner other(server::NoteAlgorithm::ed25519);
    write_key(other);
    played_.grow(9);
    EXPECT_EQ(run(played_.head(9)), "contradicted kept ");
    EXPECT_EQ(kept(), 5U);
    EXPECT_NE(conflict_text().find(kept_text()), std::string::npos);
}

TEST_F(CommandWitness, WhatTheServiceSentIsToldInPartAndWithoutControlCharacters) {
    config_.audit_keys = folder_ / "audit.pem";
    std::ofstream(config_.audit_keys) << played_.signer().note_key().to_pem();
    played_.answer_with("\x1b[2J\n\xff" + std::string(1'000'000, 'x'));
    const auto program = start();
    EXPECT_TRUE(program->hears(played_.head(5)).witness.conclude());
    EXPECT_EQ(program->told.words, "contradicted kept ");
    EXPECT_EQ(program->told.seen.size(), kms::max_told_bytes);
    EXPECT_TRUE(program->told.seen.starts_with("?[2J\n?xx"));
    EXPECT_TRUE(conflict_text().ends_with("\nseen:\n" + program->told.seen));
}

TEST_F(CommandWitness, CallerWithoutTheRightIsToldWhichOne) {
    played_.refuse_with({base::ErrorCode::permission_denied, "not allowed"});
    EXPECT_EQ(run(played_.head(5)), "unproven ");
    EXPECT_NE(reason_.find("witness_audit"), std::string::npos) << reason_;
}

TEST_F(CommandWitness, ConflictThatCantBeKeptIsSaid) {
    // The name of what is to become the conflict file is too long then.
    config_.file = folder_ / std::string(230, 'k');
    run(played_.head(5));
    ASSERT_EQ(kept(), 5U);
    const auto program = start();
    EXPECT_TRUE(program->hears(played_.head(4)).witness.conclude());
    EXPECT_EQ(program->told.words, "contradicted not-kept ");
}

TEST_F(CommandWitness, ServiceThatGivesNoProofIsSaidAndIsNoConflict) {
    run(played_.head(5));
    played_.grow(9);
    const std::string head = played_.head(9);
    played_.give_no_proofs();
    EXPECT_EQ(run(head), "unproven ");
    EXPECT_EQ(kept(), 5U);
}

TEST_F(CommandWitness, SlowerProgramAccusesNobodyAndPutsNothingOlderBack) {
    run(played_.head(5));
    const auto slow = start();
    slow->hears(played_.head(5));
    played_.grow(7);
    slow->hears(played_.head(7));
    played_.grow(9);
    EXPECT_EQ(run(played_.head(9)), "");
    EXPECT_FALSE(slow->witness.conclude());
    EXPECT_EQ(slow->told.words, "");
    EXPECT_EQ(kept(), 9U);
}

// The second would extend what both began with, and not what the first has kept since.
TEST_F(CommandWitness, TwoProgramsAtOnceAreNotShownTwoLogs) {
    run(played_.head(5));
    const auto slow = start();
    played_.grow(9);
    EXPECT_EQ(run(played_.head(9)), "");
    played_.cut(5);
    played_.grow(12, 'b');
    slow->hears(played_.head(12));
    EXPECT_TRUE(slow->witness.conclude());
    EXPECT_EQ(slow->told.words, "contradicted kept ");
    EXPECT_EQ(kept(), 9U);
}

TEST_F(CommandWitness, ConflictThatAnotherProgramFoundMeanwhileIsSaid) {
    run(played_.head(5));
    const auto slow = start();
    std::ofstream(conflict_file()) << "found";
    played_.grow(9);
    slow->hears(played_.head(9));
    EXPECT_TRUE(slow->witness.conclude());
    EXPECT_EQ(slow->told.words, "earlier ");
    EXPECT_EQ(kept(), 5U);
    EXPECT_EQ(base::read_file(conflict_file(), 100), "found");
}

TEST_F(CommandWitness, ProgramThatGetsNoLockKeepsNothingAndSaysSo) {
    client_.deadline = std::chrono::milliseconds(40);
    const kms::FileLock held(config_.file.string() + ".lock", {});
    const auto program = start();
    EXPECT_FALSE(program->hears(played_.head(5)).witness.conclude());
    EXPECT_EQ(program->told.words, "unproven ");
    EXPECT_NE(program->told.reason.find("another process has it"), std::string::npos);
    EXPECT_EQ(kept(), 0U);
}

TEST_F(CommandWitness, FolderThatIsNotThereIsSaid) {
    config_.file = folder_ / "nowhere" / "kept";
    EXPECT_EQ(run(played_.head(5)), "unproven ");
    EXPECT_NE(reason_.find("see to its folder"), std::string::npos) << reason_;
}

TEST_F(CommandWitness, FileThatMakesNoSenseIsRefusedAndStays) {
    std::ofstream(config_.file) << "no note\n\n\xE2\x80\x94 x y\n\n";
    EXPECT_ERROR_SAYING(invalid_argument, config_.file.string(), start());
    EXPECT_TRUE(std::filesystem::exists(config_.file));
}

}  // namespace
}  // namespace tests
