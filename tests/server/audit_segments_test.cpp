#include "server/audit_segments.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "server/audit_retention.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using tests::operation_of;

class AuditSegments : public tests::AuditLogTest {
protected:
    std::filesystem::path folder() const { return folder_ / "audit"; }
    // Segments of about ten records.
    std::unique_ptr<server::AuditLog> open_small() {
        auto small = config();
        small.segment_bytes = 4000;
        return std::make_unique<server::AuditLog>(small, clock_, log_);
    }
    static void append(server::AuditLog& log, int records) {
        for (int i = 0; i < records; ++i) {
            log.append_and_wait(operation_of("caller"), {"ok", "", 200});
        }
    }
    std::vector<std::string> all_lines(std::uint64_t from = 1) {
        server::AuditLines lines(folder(), from);
        std::vector<std::string> all;
        for (std::string_view line; lines.next(line);) all.emplace_back(line);
        return all;
    }
    void compress(const server::AuditSegment& segment) {
        ASSERT_EQ(std::system(("gzip " + segment.path.string()).c_str()), 0);
    }
};

TEST_F(AuditSegments, FullFileIsClosedUnderTheNameOfItsFirstRecord) {
    append(*open_small(), 50);
    const auto segments = server::audit_segments(folder());
    ASSERT_GT(segments.size(), 3U);
    EXPECT_EQ(segments[0].path.filename(), "audit-000000000001.jsonl");
    EXPECT_EQ(segments.back().path.filename(), "audit.jsonl");
    for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
        const auto lines = tests::lines_of(segments[i].path);
        EXPECT_EQ(server::sequence_of(lines.front()), segments[i].first);
        EXPECT_GE(std::filesystem::file_size(segments[i].path), 4000U);
        EXPECT_LE(std::filesystem::file_size(segments[i].path), 5000U);
    }
    EXPECT_EQ(all_lines().size(), 50U);
    EXPECT_EQ(tests::chain_fault(all_lines()), "");
}

TEST_F(AuditSegments, CompressingKeepsLinesAndTimesAndLeavesTheNewestFilesAlone) {
    append(*open_small(), 60);
    const auto before = all_lines();
    const auto segments = server::audit_segments(folder());
    ASSERT_GT(segments.size(), 4U);
    const auto time = std::filesystem::last_write_time(segments[0].path);
    const auto now = base::SystemClock().now();
    const auto go_on = [] { return false; };
    server::compress_audit_log(folder(), std::chrono::days(1), 60, now, go_on);
    EXPECT_FALSE(server::audit_segments(folder())[0].compressed) << "not old enough";
    const auto later = now + std::chrono::days(2);
    server::compress_audit_log(folder(), std::chrono::days(1), 60, later, [] { return true; });
    EXPECT_FALSE(server::audit_segments(folder())[0].compressed) << "was told to stop";
    server::compress_audit_log(folder(), std::chrono::days(1), segments[2].first - 1, later, go_on);
    EXPECT_TRUE(server::audit_segments(folder())[1].compressed);
    EXPECT_FALSE(server::audit_segments(folder())[2].compressed) << "no checkpoint covers it";
    server::compress_audit_log(folder(), std::chrono::days(1), 60, later, go_on);
    const auto after = server::audit_segments(folder());
    ASSERT_EQ(after.size(), segments.size());
    EXPECT_TRUE(after[after.size() - 3].compressed);
    EXPECT_FALSE(after[after.size() - 2].compressed);
    EXPECT_EQ(all_lines(), before);
    EXPECT_EQ(std::filesystem::last_write_time(after[0].path), time) << "retention goes by it";
    for (const auto& entry : std::filesystem::directory_iterator(folder())) {
        EXPECT_NE(entry.path().extension(), ".new") << entry.path();
    }
}

TEST_F(AuditSegments, OldFileIsClosed) {
    const auto log = open();
    append(*log, 2);
    clock_.advance(std::chrono::hours(7 * 24 - 1));
    append(*log, 1);
    EXPECT_EQ(server::audit_segments(folder()).size(), 1U);
    clock_.advance(std::chrono::hours(1));
    append(*log, 1);
    const auto segments = server::audit_segments(folder());
    ASSERT_EQ(segments.size(), 2U);
    EXPECT_EQ(tests::lines_of(segments[1].path).size(), 1U);
}

TEST_F(AuditSegments, AgeIsThatOfTheFirstRecordAlsoAfterARestart) {
    append(*open(), 1);
    clock_.advance(std::chrono::hours(7 * 24));
    append(*open(), 1);
    EXPECT_EQ(server::audit_segments(folder()).size(), 2U);
    EXPECT_EQ(tests::chain_fault(all_lines()), "");
}

TEST_F(AuditSegments, LogGoesOnAfterARestartBetweenTwoSegments) {
    append(*open_small(), 30);
    // As a crash in the middle of closing a segment leaves it.
    const auto before = all_lines().size();
    const auto growing = folder() / "audit.jsonl";
    const auto first = server::sequence_of(tests::lines_of(growing).front());
    std::filesystem::rename(growing, folder() / server::closed_segment_name(first));
    append(*open_small(), 5);
    EXPECT_EQ(all_lines().size(), before + 5);
    EXPECT_EQ(tests::chain_fault(all_lines()), "");
}

TEST_F(AuditSegments, CompressedSegmentsReadTheSame) {
    append(*open_small(), 50);
    const auto plain = all_lines();
    for (const auto& segment : server::audit_segments(folder())) {
        if (segment.first != 0) compress(segment);
    }
    EXPECT_EQ(server::audit_segments(folder()).front().path.extension(), ".gz");
    EXPECT_EQ(all_lines(), plain);
    EXPECT_EQ(all_lines(17).front(), plain[16]);
}

TEST_F(AuditSegments, DamagedCompressedSegmentIsAnIntegrityFailure) {
    append(*open_small(), 20);
    compress(server::audit_segments(folder()).front());
    const auto path = server::audit_segments(folder()).front().path;
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('\x55');
    file.put('\x55');
    file.close();
    EXPECT_ERROR(integrity_failure, all_lines());
}

TEST_F(AuditSegments, ReadingCanBeginAtEveryRecord) {
    append(*open_small(), 40);
    const auto all = all_lines();
    for (std::uint64_t from = 1; from <= all.size(); ++from) {
        const auto rest = all_lines(from);
        ASSERT_EQ(rest.size(), all.size() - from + 1);
        EXPECT_EQ(rest.front(), all[from - 1]);
    }
    EXPECT_TRUE(all_lines(41).empty());
}

TEST_F(AuditSegments, RecordDeepInALargeFileIsFound) {
    {
        std::filesystem::create_directory(folder());
        std::ofstream out(folder() / "audit.jsonl");
        for (std::size_t i = 1; i <= 20'000; ++i) {
            out << "{\"sequence\":" << i << ",\"filling\":\"" << std::string(i % 300, 'x')
                << "\"}\n";
        }
    }
    for (const std::uint64_t from : {1U, 2U, 9'999U, 12'345U, 20'000U}) {
        server::AuditLines lines(folder(), from);
        std::string_view line;
        ASSERT_TRUE(lines.next(line));
        EXPECT_EQ(server::leading_sequence(line), from);
    }
}

TEST_F(AuditSegments, LinesThatWereReadAheadAreReadAgainAfterAPause) {
    append(*open(), 2);
    server::AuditLines lines(folder(), 1);
    std::string_view line;
    ASSERT_TRUE(lines.next(line));
    lines.pause();
    const auto old = tests::lines_of(file());
    {
        std::ofstream out(file());
        out << old[0] << "\n{\"sequence\":2,\"written\":\"anew\"}\n";
    }
    ASSERT_TRUE(lines.next(line));
    EXPECT_EQ(line, "{\"sequence\":2,\"written\":\"anew\"}");
}

TEST_F(AuditSegments, SegmentsThatAreClosedWhileTheyAreLookedForHideNoRecord) {
    constexpr std::uint64_t records = 300;
    auto tiny = config();
    tiny.segment_bytes = 1;                 // every batch closes the one before
    tiny.bound = std::chrono::seconds(60);  // a slow disk is no matter of this
    server::AuditLog log(tiny, clock_, log_);
    const std::jthread writer([&log] { append(log, records); });
    server::AuditLines lines(folder(), 1);
    std::string_view line;
    for (std::uint64_t read = 0; read < records && !HasFailure();) {
        const std::uint64_t durable = log.records_written();
        try {
            if (lines.next(line)) {
                ++read;
            } else {
                EXPECT_LE(durable, read);
                lines.pause();
            }
        } catch (const base::Error& error) {
            // Between the two names of a file there may be a moment without one.
            ASSERT_EQ(error.code(), base::ErrorCode::unavailable) << error.what();
        }
    }
}

TEST_F(AuditSegments, WrongLineInTheWayIsRefused) {
    append(*open(), 3);
    auto lines = tests::lines_of(file());
    {
        std::ofstream out(file());
        out << lines[0] << '\n' << lines[2] << '\n';
    }
    EXPECT_ERROR_SAYING(failed_precondition, "record 2", all_lines());
}

TEST_F(AuditSegments, ForeignFilesAreNoSegments) {
    append(*open(), 1);
    for (const char* name : {"audit-.jsonl", "audit-12x.jsonl", "audit-0.jsonl", "audit-5.json"}) {
        std::ofstream(folder() / name) << "x\n";
    }
    EXPECT_EQ(server::audit_segments(folder()).size(), 1U);
    EXPECT_ERROR(unavailable, server::audit_segments(folder_ / "none"));
}

}  // namespace
