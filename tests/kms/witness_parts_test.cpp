// What a witness is made of, without a key service: the file with what is kept, what is remembered
// of headers, and the settings of a tool.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/encoding.h"
#include "base/file.h"
#include "kms/client/connection.h"
#include "kms/witness/kept_notes.h"
#include "kms/witness/seen_heads.h"
#include "tests/support/expect_error.h"
#include "tests/support/software_signer.h"
#include "tests/support/temporary_directory.h"

namespace tests {
namespace {

constexpr const char* parts_origin = "kms-1/strongroom/kmsd";

class KeptNotesTest : public testing::Test {
protected:
    std::string note(std::uint64_t size, const std::string& origin = parts_origin) {
        return server::sign_checkpoint({origin, size, {}}, signer_);
    }
    std::string text() const { return base::read_file(file_, 200'000); }
    void write(const std::string& text) const { std::ofstream(file_) << text; }

    TemporaryDirectory folder_;
    const std::filesystem::path file_ = folder_ / "kept";
    SoftwareSigner signer_{server::NoteAlgorithm::ed25519};
};

TEST_F(KeptNotesTest, FileThatIsNotThereHoldsNothing) {
    EXPECT_TRUE(kms::KeptNotes(file_).empty());
    EXPECT_FALSE(std::filesystem::exists(file_));
}

// Taken for nothing kept, a log that was set back would be one that is seen for the first time.
TEST_F(KeptNotesTest, FileThatIsNotAsItWasLeftIsRefusedAndSaysWhatToDo) {
    kms::KeptNotes(file_).keep(parts_origin, note(5));
    const std::string whole = text();
    EXPECT_EQ(kms::KeptNotes(file_).checkpoints().at(0).size, 5U);
    std::string with_returns;
    for (const char c : whole) with_returns += c == '\n' ? std::string("\r\n") : std::string(1, c);
    for (const std::string& damaged :
         {std::string(), std::string("\n"), std::string("garbage"), with_returns,
          whole.substr(0, whole.size() / 2), whole.substr(0, whole.size() - 1),
          whole.substr(0, whole.size() - 2), whole + "more", whole + whole.substr(0, 30)}) {
        write(damaged);
        EXPECT_ERROR_SAYING(invalid_argument, file_.string() + " is damaged",
                            kms::KeptNotes{file_});
        EXPECT_ERROR_SAYING(invalid_argument, "kmsctl audit verify --checkpoint",
                            kms::KeptNotes{file_});
        EXPECT_EQ(text(), damaged);
    }
}

TEST_F(KeptNotesTest, NoteThatTheFileCouldNotHoldIsRefusedAndWhatWasKeptStays) {
    kms::KeptNotes kept(file_);
    kept.keep(parts_origin, note(5));
    const std::string before = text();
    const std::string line = "\n\xE2\x80\x94 x " + base::to_base64(base::Bytes(9)) + '\n';
    const auto body = [](std::uint64_t size) {
        return server::checkpoint_text({parts_origin, size, {}});
    };
    // Read again it would be the last of two: the log set back.
    const std::string two = body(9) + line + '\n' + body(3) + line;
    ASSERT_EQ(server::parse_checkpoint_text(server::parse_note(two).text).size, 9U);
    const std::string extended = body(9) + std::string(kms::max_note_bytes, 'x') + '\n' + line;
    ASSERT_EQ(server::parse_checkpoint_text(server::parse_note(extended).text).size, 9U);
    for (const std::string& hostile : {two, extended}) {
        EXPECT_ERROR(invalid_argument, kept.keep(parts_origin, hostile));
        EXPECT_EQ(text(), before);
        EXPECT_EQ(kept.checkpoints().at(0).size, 5U);
    }
}

TEST_F(KeptNotesTest, OnlySoManyLogsAreKept) {
    kms::KeptNotes kept(file_);
    for (std::size_t i = 0; i < kms::max_logs; ++i) {
        const std::string name = "kms-" + std::to_string(i);
        kept.keep(name, note(5, name));
    }
    EXPECT_ERROR(invalid_argument, kept.keep("one-more", note(5, "one-more")));
    EXPECT_NO_THROW(kept.keep("kms-0", note(6, "kms-0")));
    EXPECT_EQ(kms::KeptNotes(file_).checkpoints().size(), kms::max_logs);
}

TEST(SeenHeadsTest, OnlyACallThatBeganAfterwardsMustKnow) {
    kms::SeenHeads heads(1);
    const std::uint64_t before = heads.epoch();
    heads.see(before, server::checkpoint_head({parts_origin, 9, {}}));
    EXPECT_FALSE(heads.of(parts_origin, before)->must_be_known);
    EXPECT_TRUE(heads.of(parts_origin, heads.epoch())->must_be_known);
}

class WitnessSettings : public testing::Test {
protected:
    WitnessSettings() {
        options_.config = (folder_ / "kmsctl.json").string();
        std::ofstream(options_.config)
            << R"({"url": "https://kms:1", "ca": "ca", "certificate": "c", "key": "k",
                   "witness": {"file": "seen", "audit_key": "audit.pem", "nodes": 3}})";
    }
    kms::WitnessFiles read() { return kms::read_connection(options_, {}).witness; }

    TemporaryDirectory folder_;
    kms::ConnectionOptions options_;
};

TEST_F(WitnessSettings, AnotherFileStillHasTheServicesKeyAndNodes) {
    EXPECT_EQ(read().file, folder_ / "seen");
    options_.witness_file = "other";
    EXPECT_EQ(read().file, "other");
    EXPECT_EQ(read().audit_key, folder_ / "audit.pem");
    EXPECT_EQ(read().nodes, 3U);
    options_.audit_key_file = "other.pem";
    EXPECT_EQ(read().audit_key, "other.pem");
}

TEST_F(WitnessSettings, NothingOfThemIsForAnotherService) {
    options_.url = "https://other:1";
    EXPECT_EQ(read().file, "");
    options_.witness_file = "other";
    EXPECT_EQ(read().audit_key, "");
    EXPECT_EQ(read().nodes, 0U);
}

}  // namespace
}  // namespace tests
