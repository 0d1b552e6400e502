// What the verifier says besides where a record was touched, which
// tests/server/audit_every_record_test.py tries on every record, together with a second verifier.
#include "server/audit_verify.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "server/audit_sealer.h"
#include "server/checkpoint_file.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"
#include "tests/support/software_signer.h"

namespace {

using server::AuditFinding;
using server::AuditVerdict;

class AuditVerify : public tests::AuditLogTest {
protected:
    void SetUp() override { make(300); }

    void make(int records) {
        const auto log = open();
        const server::AuditSealer sealer(*log, signer_.share(), {}, clock_, log_);
        for (int i = 0; i < records; ++i) {
            log->append_and_wait(tests::operation_of("caller"), {"ok", "", 200});
        }
    }
    AuditFinding verify(std::vector<std::string> trusted = {}) {
        const auto key = signer_.note_key();
        return server::verify_audit_log({folder_ / "audit", key, std::move(trusted), {}});
    }
    std::string note(const server::Checkpoint& checkpoint) {
        return server::sign_checkpoint(checkpoint, signer_);
    }
    tests::SoftwareSigner signer_{server::NoteAlgorithm::ed25519};
};

TEST_F(AuditVerify, CleanLogSaysWhatIsCovered) {
    tests::AuditLogTest::open()->append_and_wait(tests::operation_of("late"), {"ok", "", 200});
    const auto finding = verify();
    EXPECT_EQ(finding.verdict, AuditVerdict::clean);
    EXPECT_EQ(finding.reason, "");
    EXPECT_EQ(finding.first_bad, 0U);
    EXPECT_EQ(finding.records, 301U);
    EXPECT_EQ(finding.covered, 300U);
    EXPECT_EQ(finding.last.origin, "node-1/strongroom/kmsd");
    EXPECT_GE(finding.checkpoints, 1U);
}

TEST_F(AuditVerify, CheckpointKeptElsewhereShowsARollback) {
    const std::string kept = base::read_file(folder_ / "audit" / "checkpoint", 4096);
    make(5);
    const std::string later = base::read_file(folder_ / "audit" / "checkpoint", 4096);
    EXPECT_EQ(verify({kept, later}).verdict, AuditVerdict::clean);
    // The whole folder as it was before the five.
    auto lines = tests::lines_of(file());
    lines.resize(300);
    {
        std::ofstream out(file());
        for (const auto& line : lines) out << line << '\n';
        std::ofstream(folder_ / "audit" / "checkpoints") << kept << '\n';
        std::ofstream(folder_ / "audit" / "checkpoint") << kept;
    }
    EXPECT_EQ(verify().verdict, AuditVerdict::clean);  // nothing in the folder can tell
    const auto finding = verify({later});
    EXPECT_EQ(finding.verdict, AuditVerdict::cut_off);
    EXPECT_EQ(finding.first_bad, 301U);
}

TEST_F(AuditVerify, ForkIsInconsistent) {
    server::Checkpoint other = verify().last;
    other.root[0] ^= 1U;
    EXPECT_EQ(verify({note(other)}).verdict, AuditVerdict::inconsistent);
    other.size = 200;
    const auto finding = verify({note(other)});
    EXPECT_EQ(finding.verdict, AuditVerdict::inconsistent);
    EXPECT_NE(finding.reason.find("two different logs"), std::string::npos);
}

TEST_F(AuditVerify, CheckpointOfAnotherLogIsInconsistent) {
    server::Checkpoint other = verify().last;
    other.origin = "node-2/strongroom/kmsd";
    EXPECT_EQ(verify({note(other)}).verdict, AuditVerdict::inconsistent);
}

TEST_F(AuditVerify, CheckpointOfAnotherKeyIsInconsistent) {
    signer_ = tests::SoftwareSigner(server::NoteAlgorithm::ed25519);
    EXPECT_EQ(verify().verdict, AuditVerdict::inconsistent);
}

TEST_F(AuditVerify, ProgressGoesToTheEnd) {
    std::uint64_t last = 0;
    std::uint64_t of = 0;
    const auto key = signer_.note_key();
    server::verify_audit_log(
        {folder_ / "audit", key, {}, [&](std::uint64_t done, std::uint64_t all) {
             EXPECT_GE(done, last);
             last = done;
             of = all;
         }});
    EXPECT_EQ(last, of);
    EXPECT_EQ(of, std::filesystem::file_size(file()));
}

TEST_F(AuditVerify, FolderThatIsNotThereIsUnavailable) {
    const auto key = signer_.note_key();
    EXPECT_ERROR(unavailable, server::verify_audit_log({folder_ / "none", key, {}, {}}));
}

}  // namespace
