#include "kms/audit_key.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "server/audit_sealer.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace {

class AuditKey : public tests::AuditLogTest {
protected:
    std::unique_ptr<server::CheckpointSigner> open_key() {
        const auto log = open();
        return kms::open_audit_key(token_, *log);
    }
    std::string read(std::string_view name) {
        return base::read_file(folder_ / "audit" / name, 65536);
    }
    tests::FakeToken token_;
};

TEST_F(AuditKey, IsMadeOnceRecordedAndPublished) {
    const auto signer = open_key();
    EXPECT_EQ(server::NoteKey::from_der(signer->public_key()).algorithm(),
              server::NoteAlgorithm::ed25519);
    EXPECT_EQ(server::NoteKey::from_pem(read("audit.pem")).to_pem(),
              server::NoteKey::from_der(signer->public_key()).to_pem());
    const auto lines = tests::lines_of(file());
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_NE(lines[0].find(R"("step":"intent")"), std::string::npos);
    EXPECT_NE(lines[1].find(R"("step":"done")"), std::string::npos);
    EXPECT_EQ(open_key()->public_key(), signer->public_key());
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
    EXPECT_EQ(tests::lines_of(file()).size(), 2U);
}

TEST_F(AuditKey, SignsCheckpointsThatItsPublicKeyVerifies) {
    const auto log = open();
    {
        server::AuditSealer sealer(*log, kms::open_audit_key(token_, *log), {}, clock_, log_);
        log->append_and_wait(tests::operation_of("caller"), {"ok", "", 200});
    }
    const auto key = server::NoteKey::from_pem(read("audit.pem"));
    EXPECT_EQ(server::open_checkpoint(read("checkpoint"), key).size, 3U);
}

TEST_F(AuditKey, IsP256WhereTheTokenHasNoEd25519) {
    token_.lacks = {hsm::KeyKind::ed25519};
    {
        const auto log = open();
        auto signer = kms::open_audit_key(token_, *log);
        EXPECT_EQ(server::NoteKey::from_der(signer->public_key()).algorithm(),
                  server::NoteAlgorithm::ecdsa_p256);
        const server::AuditSealer sealer(*log, std::move(signer), {}, clock_, log_);
    }
    const auto key = server::NoteKey::from_pem(read("audit.pem"));
    EXPECT_EQ(server::open_checkpoint(read("checkpoint"), key).size, 2U);
    token_.lacks = {};  // a newer module makes no other key of it
    EXPECT_EQ(server::NoteKey::from_der(open_key()->public_key()).to_pem(), key.to_pem());
}

TEST_F(AuditKey, ATokenThatHasNeitherKindIsRefused) {
    token_.lacks = {hsm::KeyKind::ed25519, hsm::KeyKind::ecdsa_p256};
    EXPECT_ERROR_SAYING(failed_precondition, "neither Ed25519 nor P-256", open_key());
}

TEST_F(AuditKey, MakingThatACrashCutShortIsFinished) {
    token_.fails_to_generate = true;  // named, not made
    EXPECT_ERROR(unavailable, open_key());
    token_.fails_to_generate = false;
    token_.dies_after_generate = true;  // made, not proven
    EXPECT_ERROR(unavailable, open_key());
    token_.dies_after_generate = false;
    const auto signer = open_key();
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
    EXPECT_EQ(open_key()->public_key(), signer->public_key());
    const auto lines = tests::lines_of(file());
    ASSERT_EQ(lines.size(), 3U);  // the intent of each attempt, and what came of it
    EXPECT_NE(lines[2].find(R"("step":"found")"), std::string::npos);
}

TEST_F(AuditKey, LostKeyIsRefusedAndNeverMadeAgain) {
    open_key();
    token_.destroy_key(token_.list_keys(nullptr).front());
    EXPECT_ERROR_SAYING(failed_precondition, "the token has not the key", open_key());
    EXPECT_TRUE(token_.list_keys(nullptr).empty());
}

TEST_F(AuditKey, AnotherKeyInItsPlaceIsRefused) {
    open_key();
    token_.replace_key(token_.list_keys(nullptr).front());
    EXPECT_ERROR_SAYING(failed_precondition, "audit.pem", open_key());
}

TEST_F(AuditKey, KeyThatIsNotAsItMustBeIsRefused) {
    open_key();
    token_.attributes(token_.list_keys(nullptr).front()).extractable = true;
    EXPECT_ERROR_SAYING(failed_precondition, "not as it must be", open_key());
}

TEST_F(AuditKey, MalformedNameIsRefused) {
    open_key();
    folder_.write("audit/audit-key.json", R"({"version":1,"id":"x","kind":"ed25519"})");
    EXPECT_ERROR(invalid_argument, open_key());
    folder_.write("audit/audit-key.json",
                  R"({"version":1,"id":"7b0a1f56-4f7c-4d0e-8f7e-0d9a5ef7f3f1","kind":"aes_256"})");
    EXPECT_ERROR(failed_precondition, open_key());
}

}  // namespace
