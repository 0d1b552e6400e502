#include "server/audit_sealer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/file.h"
#include "server/audit_retention.h"
#include "server/audit_segments.h"
#include "server/checkpoint_file.h"
#include "server/tiles.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"
#include "tests/support/software_signer.h"

namespace {

using namespace std::chrono_literals;
using server::Checkpoint;
using tests::eventually;
using tests::lines_of;
using tests::operation_of;

class AuditSealerTest : public tests::AuditLogTest {
protected:
    std::filesystem::path folder() const { return folder_ / "audit"; }

    // Makes checkpoints only when it is told to, and at its end.
    std::unique_ptr<server::AuditSealer> seal(server::AuditLog& log) {
        return std::make_unique<server::AuditSealer>(log, signer_.share(), rarely_, clock_, log_);
    }
    static void append(server::AuditLog& log, int records) {
        tests::Answers answers;
        for (int i = 0; i < records; ++i) {
            log.append(operation_of("caller"), {"ok", "", 200}, answers.callback());
        }
        ASSERT_TRUE(answers.wait_for(static_cast<std::size_t>(records)));
        ASSERT_EQ(answers.no(), 0U);
    }
    // A log of so many records with its checkpoint, closed.
    void make(int records) {
        const auto log = open();
        const auto sealer = seal(*log);
        append(*log, records);
    }
    std::vector<std::string> all_lines() {
        server::AuditLines lines(folder(), 1);
        std::vector<std::string> all;
        for (std::string_view line; lines.next(line);) all.emplace_back(line);
        return all;
    }
    server::MerkleHash root_of(std::size_t size) {
        const auto lines = all_lines();
        server::MerkleTree tree;
        for (std::size_t i = 0; i < size; ++i) tree.append(tree.hasher().leaf(lines.at(i)));
        return tree.root();
    }
    Checkpoint opened(const std::string& note) {
        return server::open_checkpoint(note, signer_.note_key());
    }
    std::string on_disk() { return base::read_file(folder() / server::latest_checkpoint, 4096); }
    void rewrite(const std::vector<std::string>& lines) {
        std::ofstream out(file());
        for (const std::string& line : lines) out << line << '\n';
    }
    void expect_refused(std::string_view saying) {
        const auto log = open();
        EXPECT_ERROR_SAYING(failed_precondition, saying, seal(*log));
        EXPECT_NO_THROW(log->check());  // the sealer has let go of it
    }

    tests::SoftwareSigner signer_{server::NoteAlgorithm::ed25519};
    server::SealConfig rarely_{1'000'000, 1h, {}, std::chrono::days{0}, 2000ms};
};

TEST_F(AuditSealerTest, CheckpointIsOfAllThatIsDurable) {
    const auto log = open();
    const auto sealer = seal(*log);
    EXPECT_EQ(sealer->checkpoint(), "");
    append(*log, 700);
    sealer->seal_now();
    const Checkpoint checkpoint = opened(sealer->checkpoint());
    EXPECT_EQ(checkpoint.origin, "node-1/strongroom/kmsd");
    EXPECT_EQ(checkpoint.size, 700U);
    EXPECT_EQ(checkpoint.root, root_of(700));
    EXPECT_EQ(on_disk(), sealer->checkpoint());
    sealer->seal_now();  // nothing new, nothing to sign
    EXPECT_EQ(signer_.signatures(), 1);
}

TEST_F(AuditSealerTest, TilesLeadToTheRoot) {
    make(700);
    server::TileReader reader(folder(), 700);
    server::MerkleHasher hasher;
    EXPECT_EQ(server::tree_root(700, reader.nodes(), hasher), root_of(700));
    EXPECT_TRUE(std::filesystem::exists(folder() / "tile/entries/001"));
    EXPECT_TRUE(std::filesystem::exists(folder() / "tile/entries/002.p/188"));
}

TEST_F(AuditSealerTest, CheckpointIsMadeAfterSoManyRecords) {
    rarely_.every_records = 10;
    const auto log = open();
    const auto sealer = seal(*log);
    append(*log, 9);
    EXPECT_EQ(sealer->checkpoint(), "");
    append(*log, 1);
    EXPECT_TRUE(eventually([&] { return !sealer->checkpoint().empty(); }));
    EXPECT_EQ(opened(sealer->checkpoint()).size, 10U);
}

TEST_F(AuditSealerTest, CheckpointIsMadeAfterSoLong) {
    rarely_.every = 20ms;
    const auto log = open();
    const auto sealer = seal(*log);
    append(*log, 1);
    EXPECT_TRUE(eventually([&] { return !sealer->checkpoint().empty(); }));
    EXPECT_EQ(opened(sealer->checkpoint()).size, 1U);
}

TEST_F(AuditSealerTest, CheckpointIsMadeAtTheEnd) {
    make(3);
    EXPECT_EQ(opened(on_disk()).size, 3U);
}

TEST_F(AuditSealerTest, LogGoesOnUnderTheSameTreeAfterEveryRestart) {
    std::size_t size = 0;
    for (const int records : {1, 254, 1, 1, 255, 300, 2}) {
        make(records);
        size += static_cast<std::size_t>(records);
        const Checkpoint checkpoint = opened(on_disk());
        EXPECT_EQ(checkpoint.size, size);
        EXPECT_EQ(checkpoint.root, root_of(size));
    }
    const auto all = server::split_notes(base::read_file(folder() / "checkpoints", 65536));
    EXPECT_EQ(all.notes.size(), 7U);
}

TEST_F(AuditSealerTest, RecordsWrittenWithoutASealerAreCoveredLater) {
    append(*open(), 20);
    make(5);
    append(*open(), 300);
    make(1);
    EXPECT_EQ(opened(on_disk()).size, 326U);
    EXPECT_EQ(opened(on_disk()).root, root_of(326));
}

TEST_F(AuditSealerTest, TreeGoesOverTheBordersOfSegments) {
    auto small = config();
    small.segment_bytes = 20'000;
    for (int run = 0; run < 3; ++run) {
        server::AuditLog log(small, clock_, log_);
        const auto sealer = seal(log);
        for (int i = 0; i < 5; ++i) {
            append(log, 40);
            sealer->seal_now();
        }
    }
    EXPECT_GT(server::audit_segments(folder()).size(), 5U);
    EXPECT_EQ(opened(on_disk()).size, 600U);
    EXPECT_EQ(opened(on_disk()).root, root_of(600));
}

TEST_F(AuditSealerTest, HangingSignerHoldsNoRecordUp) {
    rarely_.stop_bound = 100ms;
    const auto log = open();
    auto sealer = seal(*log);
    signer_.hang(true);
    append(*log, 1);
    EXPECT_ERROR(unavailable, sealer->seal_now());
    const auto start = std::chrono::steady_clock::now();
    append(*log, 100);
    EXPECT_LT(std::chrono::steady_clock::now() - start, 200ms);
    EXPECT_NO_THROW(log->check());
    sealer.reset();  // does not hang either
    signer_.hang(false);
}

TEST_F(AuditSealerTest, FailingSignerIsTriedAgain) {
    const auto log = open();
    const auto sealer = seal(*log);
    signer_.fail(true);
    append(*log, 1);
    EXPECT_ERROR(unavailable, sealer->seal_now());
    EXPECT_NO_THROW(log->check());
    append(*log, 1);
    signer_.fail(false);
    EXPECT_TRUE(eventually([&] {
        try {
            sealer->seal_now();
            return true;
        } catch (const base::Error&) {
            return false;
        }
    }));
    EXPECT_EQ(opened(sealer->checkpoint()).size, 2U);
}

TEST_F(AuditSealerTest, CopyOfTheCheckpointsIsKeptElsewhere) {
    rarely_.copy = folder_.path();
    make(4);
    make(2);
    EXPECT_EQ(base::read_file(folder_ / "checkpoint", 4096), on_disk());
    EXPECT_EQ(base::read_file(folder_ / "checkpoints", 65536),
              base::read_file(folder() / "checkpoints", 65536));
}

TEST_F(AuditSealerTest, TornLastLineBehindTheCheckpointIsCut) {
    make(3);
    std::ofstream(file(), std::ios::app) << R"({"sequence":4,"time":"2027-)";
    make(1);
    EXPECT_EQ(opened(on_disk()).size, 4U);
    EXPECT_EQ(opened(on_disk()).root, root_of(4));
}

TEST_F(AuditSealerTest, LogThatIsShorterThanItsCheckpointIsRefused) {
    make(300);
    auto lines = all_lines();
    lines.pop_back();
    rewrite(lines);
    expect_refused("records are cut off");
}

TEST_F(AuditSealerTest, TornLineThatACheckpointCoversIsRefused) {
    make(300);
    std::filesystem::resize_file(file(), std::filesystem::file_size(file()) - 1);
    expect_refused("records are cut off");
}

TEST_F(AuditSealerTest, ChangedRecordBeforeTheCheckpointIsRefused) {
    make(300);
    auto lines = all_lines();
    lines[280].replace(lines[280].find("caller"), 6, "nobody");
    rewrite(lines);
    expect_refused("a record up to 300 was changed or removed");
}

TEST_F(AuditSealerTest, RecordRemovedBeforeTheCheckpointIsRefused) {
    make(300);
    append(*open(), 5);
    auto lines = all_lines();
    lines.erase(lines.begin() + 290);
    rewrite(lines);
    expect_refused("a record up to 300 was changed or removed");
}

TEST_F(AuditSealerTest, ChangedRecordBehindTheCheckpointIsRefused) {
    make(300);
    append(*open(), 5);
    auto lines = all_lines();
    lines[302].replace(lines[302].find("caller"), 6, "nobody");
    rewrite(lines);
    expect_refused("record 304 of the audit log does not follow");
}

TEST_F(AuditSealerTest, CheckpointOfAnotherKeyIsRefused) {
    make(3);
    signer_ = tests::SoftwareSigner(server::NoteAlgorithm::ed25519);
    expect_refused("the audit key did not sign");
}

TEST_F(AuditSealerTest, LostTilesAreMadeAgainFromTheRecords) {
    make(700);
    std::filesystem::remove_all(folder() / "tile");
    make(10);
    EXPECT_EQ(opened(on_disk()).root, root_of(710));
    server::TileReader reader(folder(), 710);
    server::MerkleHasher hasher;
    EXPECT_EQ(server::tree_root(710, reader.nodes(), hasher), root_of(710));
}

TEST_F(AuditSealerTest, DamagedTilesAreMadeAgainFromTheRecords) {
    make(700);
    {
        std::ofstream tile(folder() / "tile/1/000.p/2");
        tile << std::string(64, 'x');
    }
    make(1);
    EXPECT_EQ(opened(on_disk()).root, root_of(701));
}

TEST_F(AuditSealerTest, ChangeBehindItsBackIsNoticedAndNothingIsServedAnyMore) {
    const auto log = open();
    const auto sealer = seal(*log);
    append(*log, 5);
    auto lines = all_lines();
    std::string text = base::read_file(file(), 65536);
    text.replace(text.find("caller\",\"method"), 6, "nobody");
    {
        std::fstream out(file(), std::ios::in | std::ios::out);
        out << text;
    }
    EXPECT_ERROR(unavailable, sealer->seal_now());
    EXPECT_ERROR(unavailable, log->check());
    EXPECT_EQ(sealer->checkpoint(), "");
    EXPECT_EQ(signer_.signatures(), 0);
}

TEST_F(AuditSealerTest, LastRecordChangedBehindItsBackIsNoticed) {
    const auto log = open();
    const auto sealer = seal(*log);
    append(*log, 1);
    std::string text = base::read_file(file(), 65536);
    text.replace(text.find("caller\",\"method"), 6, "nobody");
    {
        std::fstream out(file(), std::ios::in | std::ios::out);
        out << text;
    }
    EXPECT_ERROR(unavailable, sealer->seal_now());
    EXPECT_ERROR(unavailable, log->check());
}

TEST_F(AuditSealerTest, EveryCoveredRecordCanBeProven) {
    const auto log = open();
    const auto sealer = seal(*log);
    append(*log, 300);
    sealer->seal_now();
    append(*log, 1);
    const auto lines = all_lines();
    server::MerkleHasher hasher;
    for (std::uint64_t sequence = 1; sequence <= 300; sequence += 13) {
        const auto proof = sealer->prove(sequence);
        const Checkpoint checkpoint = opened(proof.checkpoint);
        EXPECT_EQ(proof.leaf, hasher.leaf(lines[sequence - 1]));
        EXPECT_TRUE(server::verify_inclusion(proof.leaf, sequence - 1, checkpoint.size, proof.path,
                                             checkpoint.root, hasher));
    }
    EXPECT_ERROR(not_found, sealer->prove(301));
    EXPECT_ERROR(not_found, sealer->prove(0));
}

TEST_F(AuditSealerTest, EveryCheckpointIsProvenToExtendTheOnesBefore) {
    const auto log = open();
    const auto sealer = seal(*log);
    std::string note;
    EXPECT_ERROR(not_found, sealer->extends(1, note));
    append(*log, 290);
    sealer->seal_now();
    const Checkpoint first = opened(sealer->checkpoint());
    append(*log, 100);
    sealer->seal_now();
    const auto proof = sealer->extends(first.size, note);
    const Checkpoint second = opened(note);
    server::MerkleHasher hasher;
    EXPECT_TRUE(server::verify_consistency(first.size, first.root, second.size, second.root, proof,
                                           hasher));
    EXPECT_ERROR(not_found, sealer->extends(391, note));
}

TEST_F(AuditSealerTest, OldSegmentsGoAndTheRestStaysProvable) {
    auto small = config();
    small.segment_bytes = 100'000;
    server::AuditLog log(small, clock_, log_);
    const auto sealer = seal(log);
    for (int i = 0; i < 20; ++i) append(log, 64);
    sealer->seal_now();
    const auto before = server::audit_segments(folder());
    ASSERT_GT(before.size(), 4U);
    const std::uint64_t size = opened(sealer->checkpoint()).size;
    const base::Time far_off = base::SystemClock().now() + std::chrono::days(31);

    // Too young, or not covered: nothing goes.
    server::prune_audit_log(log, std::chrono::days(30), size, far_off - std::chrono::days(2));
    server::prune_audit_log(log, std::chrono::days(30), before[1].first - 2, far_off);
    EXPECT_EQ(server::audit_segments(folder()).size(), before.size());

    server::prune_audit_log(log, std::chrono::days(30), size, far_off);
    const auto after = server::audit_segments(folder());
    EXPECT_EQ(after.front().first, before[before.size() - 2].first);  // the newest closed one stays
    const std::string last = lines_of(after.back().path).back();
    EXPECT_EQ(tests::text_field(last, "action"), "audit_prune");
    EXPECT_NE(last.find("\"through\":\"" + std::to_string(after.front().first - 1) + "\""),
              std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(folder() / "tile/entries/000"));
    EXPECT_TRUE(std::filesystem::exists(folder() / "tile/0/000"));
    sealer->seal_now();
    const auto proof = sealer->prove(3);  // of a record that is gone
    const Checkpoint checkpoint = opened(proof.checkpoint);
    server::MerkleHasher hasher;
    EXPECT_TRUE(server::verify_inclusion(proof.leaf, 2, checkpoint.size, proof.path,
                                         checkpoint.root, hasher));
}

TEST_F(AuditSealerTest, OldSegmentsAreCompressedAndRemovedWithoutBeingAsked) {
    auto small = config();
    small.segment_bytes = 50'000;
    server::AuditLog log(small, clock_, log_);
    for (int i = 0; i < 10; ++i) append(log, 64);
    const auto before = server::audit_segments(folder());
    ASSERT_GT(before.size(), 4U);
    clock_.advance(std::chrono::hours(24) * 365 * 20);  // past all files' times
    const auto compressed = [&] {
        const auto segments = server::audit_segments(folder());
        return std::count_if(segments.begin(), segments.end(),
                             [](const auto& segment) { return segment.compressed; });
    };
    rarely_.compress = std::chrono::days(1);
    {
        const auto sealer = seal(log);
        sealer->seal_now();
        // All but the growing one and the newest closed one.
        EXPECT_TRUE(eventually([&] { return compressed() + 2 == std::ssize(before); }));
    }
    append(log, 1);  // closes the growing one, which is old
    rarely_.keep = std::chrono::days(30);
    const auto sealer = seal(log);
    sealer->seal_now();
    EXPECT_TRUE(eventually([&] {
        const auto segments = server::audit_segments(folder());
        return segments.size() == 2 && segments.front().first > before[before.size() - 2].first;
    }));
}

TEST_F(AuditSealerTest, PrunedLogGoesOnAfterARestart) {
    auto small = config();
    small.segment_bytes = 50'000;
    {
        server::AuditLog log(small, clock_, log_);
        const auto sealer = seal(log);
        for (int i = 0; i < 10; ++i) append(log, 64);
        sealer->seal_now();
        server::prune_audit_log(log, std::chrono::days(1), 640,
                                base::SystemClock().now() + std::chrono::days(2));
    }
    server::AuditLog log(small, clock_, log_);
    const auto sealer = seal(log);
    append(log, 1);
    sealer->seal_now();
    EXPECT_EQ(opened(sealer->checkpoint()).size, 642U);
}

}  // namespace
