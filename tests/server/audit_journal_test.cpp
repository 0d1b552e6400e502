#include "server/audit_journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "server/audit_file.h"
#include "server/audit_journal_lines.h"
#include "server/audit_query.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using tests::AuditLogTest;
using tests::chain_fault;
using tests::lines_of;
using tests::operation_of;

std::string content_of(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void overwrite(const std::filesystem::path& file, const std::string& content) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << content;
}

// What pwritev2() fails with, as many times.
struct Failing {
    int error = 0;
    int times = 0;
    bool direct_only = false;    // as file systems do that take O_DIRECT and refuse the writes
    std::size_t only_bytes = 0;  // so much is written first; then that is the answer, or the error
    bool met_direct = false;     // since it was set
};
Failing& failing() {
    static Failing value;
    return value;
}

std::size_t frame_bytes(std::string_view lines) { return 48 + lines.size() + 32; }

class AuditJournalTest : public ::testing::Test {
protected:
    AuditJournalTest() : file_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {}
    ~AuditJournalTest() override {
        failing() = {};
        ::close(file_);
    }

    // Empty when there are none.
    std::string kept_lines() const {
        const auto kept = server::AuditJournal(file_, boot_).read();
        return kept ? kept->lines : std::string();
    }

    tests::TemporaryDirectory folder_;
    std::filesystem::path path_ = folder_ / "audit.journal";
    base::Uuid boot_ = base::Uuid::random();
    int file_;
};

TEST_F(AuditJournalTest, LinesSinceItBeganAreReadAsOnePiece) {
    server::AuditJournal journal(file_, boot_);
    EXPECT_FALSE(journal.read());
    journal.add(7, 100, "a\n");
    journal.add(7, 102, "bc\nd\n");
    const auto kept = server::AuditJournal(file_, boot_).read();
    ASSERT_TRUE(kept);
    EXPECT_EQ(kept->segment, 7U);
    EXPECT_EQ(kept->offset, 100U);
    EXPECT_EQ(kept->lines, "a\nbc\nd\n");
    EXPECT_EQ(kept->boot, boot_);
}

TEST_F(AuditJournalTest, FramesOfAnEarlierRoundAreNotReadWithThoseOfTheNext) {
    server::AuditJournal journal(file_, boot_);
    journal.add(1, 0, "one\n");
    journal.add(1, 4, "two\n");
    journal.begin_anew();
    journal.add(1, 8, "six\n");  // as long as the first, so the second stands right behind it
    EXPECT_EQ(journal.read()->lines, "six\n");
}

TEST_F(AuditJournalTest, WhatWasNotAddedByThisObjectIsNotItsOwn) {
    server::AuditJournal(file_, boot_).add(1, 0, "one\n");
    server::AuditJournal journal(file_, boot_);
    EXPECT_TRUE(journal.read());
    EXPECT_FALSE(journal.read_own());
}

TEST_F(AuditJournalTest, ClearedItHoldsNothing) {
    server::AuditJournal journal(file_, boot_);
    journal.add(1, 0, "one\n");
    EXPECT_TRUE(journal.read_own());
    journal.clear();
    EXPECT_FALSE(journal.read_own());
    EXPECT_FALSE(journal.read());
}

TEST_F(AuditJournalTest, EveryFlippedByteEndsTheReadingBeforeItsFrame) {
    const std::size_t first = frame_bytes("first\n");
    {
        server::AuditJournal journal(file_, boot_);
        journal.add(3, 0, "first\n");
        journal.add(3, 6, "second\n");
    }
    const std::string good = content_of(path_);
    for (std::size_t i = 0; i < first + frame_bytes("second\n"); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ 1);
        overwrite(path_, bad);
        const auto kept = server::AuditJournal(file_, boot_).read();
        EXPECT_EQ(kept ? kept->lines : "", i < first ? "" : "first\n") << "byte " << i;
    }
}

TEST_F(AuditJournalTest, ATornFrameIsNotRead) {
    server::AuditJournal journal(file_, boot_);
    journal.add(3, 0, "first\n");
    const std::size_t first = frame_bytes("first\n");
    journal.add(3, 6, "second\n");
    const std::string good = content_of(path_).substr(0, first + frame_bytes("second\n"));
    for (std::size_t size = 0; size < good.size(); ++size) {
        overwrite(path_, good.substr(0, size));
        const auto kept = server::AuditJournal(file_, boot_).read();
        EXPECT_EQ(kept ? kept->lines : "", size < first ? "" : "first\n") << "size " << size;
    }
}

TEST_F(AuditJournalTest, FramesThatBeginWithinABlockLeaveThoseBeforeThem) {
    server::AuditJournal journal(file_, boot_);
    std::string lines;
    for (std::size_t size = 1; size < 3 * server::AuditJournal::block_bytes; size += 101) {
        const std::string line = std::string(size, static_cast<char>('a' + size % 26)) + "\n";
        ASSERT_TRUE(journal.has_room_for(line.size()));
        journal.add(3, lines.size(), line);
        lines += line;
        const auto kept = server::AuditJournal(file_, boot_).read();
        ASSERT_TRUE(kept);
        ASSERT_EQ(kept->lines, lines) << "after a line of " << size;
    }
}

TEST_F(AuditJournalTest, FramesMayEndWithTheirBlockAndWithTheJournal) {
    constexpr std::uint64_t block = server::AuditJournal::block_bytes;
    constexpr std::uint64_t capacity = server::AuditJournal::capacity_bytes;
    server::AuditJournal journal(file_, boot_);
    const auto line_for = [](std::uint64_t bytes) {
        return std::string(bytes - frame_bytes("\n"), 'x') + "\n";
    };
    std::string lines;
    for (const std::uint64_t bytes : {block, 2 * block, capacity - 3 * block}) {
        const std::string line = line_for(bytes);
        ASSERT_TRUE(journal.has_room_for(line.size()));
        journal.add(3, lines.size(), line);
        lines += line;
        const auto kept = server::AuditJournal(file_, boot_).read();
        ASSERT_TRUE(kept);
        EXPECT_TRUE(kept->lines == lines) << "after a frame of " << bytes;
    }
    EXPECT_FALSE(journal.has_room_for(1));
    EXPECT_EQ(std::filesystem::file_size(path_), capacity);
}

TEST_F(AuditJournalTest, AFrameThatFailedLeavesThoseBeforeItAndIsOverwritten) {
    constexpr std::size_t block = server::AuditJournal::block_bytes;
    for (const std::size_t written : {std::size_t{0}, block, 2 * block}) {
        server::AuditJournal journal(file_, boot_);
        journal.add(3, 0, "first\n");
        failing() = {EIO, 1, false, written};
        EXPECT_ERROR(unavailable, journal.add(3, 6, std::string(2 * block, 'x')));
        EXPECT_EQ(kept_lines(), "first\n");
        journal.add(3, 6, "second\n");
        EXPECT_EQ(kept_lines(), "first\nsecond\n");
    }
}

TEST_F(AuditJournalTest, AShortWriteIsAFailure) {
    server::AuditJournal journal(file_, boot_);
    failing() = {0, 1, false, server::AuditJournal::block_bytes};
    EXPECT_ERROR(unavailable,
                 journal.add(3, 0, std::string(2 * server::AuditJournal::block_bytes, 'x')));
    EXPECT_FALSE(server::AuditJournal(file_, boot_).read());
}

TEST_F(AuditJournalTest, AJournalThatCouldNotBeClearedIsWrittenFromItsBegin) {
    server::AuditJournal journal(file_, boot_);
    journal.add(3, 0, "first\n");
    failing() = {EIO, 1};
    EXPECT_ERROR(unavailable, journal.clear());
    EXPECT_EQ(kept_lines(), "first\n");
    journal.add(3, 6, "second\n");
    EXPECT_EQ(kept_lines(), "second\n");
}

TEST_F(AuditJournalTest, OneOfAnySizeIsCleared) {
    overwrite(path_, std::string(server::AuditJournal::block_bytes + 1, 'x'));
    server::AuditJournal journal(file_, boot_);
    journal.clear();
    EXPECT_EQ(content_of(path_), std::string(2 * server::AuditJournal::block_bytes, '\0'));
}

TEST_F(AuditJournalTest, ItIsWrittenAroundTheCacheWhereTheFileSystemTakesThat) {
    const int direct = ::open(path_.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (direct < 0) GTEST_SKIP() << "this file system does not take O_DIRECT";
    ::close(direct);
    server::AuditJournal journal(file_, boot_);
    failing() = {EINVAL, 1000, true};
    journal.add(3, 0, "first\n");
    EXPECT_TRUE(failing().met_direct);
    // And through the cache where the writes themselves are refused.
    journal.add(3, 6, "second\n");
    EXPECT_EQ(failing().times, 999);
    EXPECT_EQ(kept_lines(), "first\nsecond\n");
}

TEST_F(AuditJournalTest, AnErrorThatDirectWritesHaveNoPartInIsUnavailable) {
    server::AuditJournal journal(file_, boot_);
    failing() = {EINVAL, 1000};
    EXPECT_ERROR(unavailable, journal.add(3, 0, "first\n"));
    EXPECT_GE(failing().times, 998);
}

TEST_F(AuditJournalTest, AFileThatCannotBeWrittenIsUnavailable) {
    const int read_only = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    server::AuditJournal journal(read_only, boot_);
    EXPECT_ERROR(unavailable, journal.add(1, 0, "one\n"));
    EXPECT_ERROR(unavailable, journal.clear());
    EXPECT_FALSE(journal.read_own());
    ::close(read_only);
    EXPECT_ERROR(unavailable, static_cast<void>(journal.read()));
}

// A log as the disk has it at the moment of a power failure: the journal as it was synced, of the
// segment only what a sync of its own has made durable.
class AuditPowerFailureTest : public AuditLogTest {
protected:
    static void append(server::AuditLog& log, int count) {
        for (int i = 0; i < count; ++i)
            log.append_and_wait(operation_of("caller"), {"ok", "", 200});
    }
    std::unique_ptr<server::DiskAuditFile> open_file(const char* folder = "audit") {
        return std::make_unique<server::DiskAuditFile>(
            folder_ / folder, server::SegmentLimits{1UL << 40U, std::chrono::hours(1000)}, log_,
            boot_id_);
    }
    // After the machine was started anew.
    void open_copied_file() {
        overwrite(folder_ / "boot_id", base::Uuid::random().to_string() + "\n");
        boot_id_ = folder_ / "boot_id";
        open_file("copy");
    }
    // Lines of that size, below the writer: making large records takes long.
    void append_long(server::DiskAuditFile& file, int count, std::size_t bytes) {
        for (int i = 0; i < count; ++i) {
            std::string line;
            server::append_audit_line(line, ++sequence_, '"' + std::string(bytes, 'x') + "\":1",
                                      previous_);
            previous_ = server::line_hash(line, hasher_);
            file.begin_segment_if_due(sequence_, clock_.now());
            file.append(line + "\n");
        }
    }
    // Copies the log as it is now, while it runs.
    void fail() {
        std::filesystem::remove_all(folder_ / "copy");
        std::filesystem::copy(folder_ / "audit", folder_ / "copy");
        std::filesystem::permissions(folder_ / "copy", std::filesystem::perms::owner_all);
        whole_ = content_of(copied_log());
    }
    std::filesystem::path copied_log() const { return folder_ / "copy" / "audit.jsonl"; }
    std::unique_ptr<server::AuditLog> open_copy(bool same_run = false) {
        server::AuditConfig copy = config();
        copy.directory = folder_ / "copy";
        if (!same_run) {
            overwrite(folder_ / "boot_id", base::Uuid::random().to_string() + "\n");
            copy.boot_id = folder_ / "boot_id";
        }
        return std::make_unique<server::AuditLog>(copy, clock_, log_);
    }

    std::filesystem::path boot_id_ = server::system_boot_id;
    std::string whole_;
    std::uint64_t sequence_ = 0;
    std::string previous_ = server::first_previous();
    server::MerkleHasher hasher_;
};

TEST_F(AuditPowerFailureTest, WhatTheSegmentLostIsPutBack) {
    const auto log = open();
    append(*log, 5);
    fail();
    for (const std::size_t left : {std::size_t{0}, whole_.size() / 2, whole_.size() - 1}) {
        for (const bool holes : {false, true}) {
            SCOPED_TRACE(left);
            fail();
            overwrite(copied_log(),
                      whole_.substr(0, left) +
                          (holes ? std::string(whole_.size() - left + 99, '\0') : ""));
            open_copy();
            EXPECT_EQ(content_of(copied_log()), whole_);
        }
    }
    append(*open_copy(), 1);
    EXPECT_EQ(lines_of(copied_log()).size(), 6U);
    EXPECT_EQ(chain_fault(lines_of(copied_log())), "");
}

// A disk may have written later pages and not the first one.
TEST_F(AuditPowerFailureTest, WhatTheSegmentLostBeforeWhatItKeptIsPutBack) {
    const auto log = open();
    append(*log, 5);
    fail();
    const std::size_t line_end = whole_.find('\n');
    for (const std::size_t lost : {std::size_t{1}, line_end, line_end + 1, whole_.size() - 2}) {
        SCOPED_TRACE(lost);
        fail();
        overwrite(copied_log(), std::string(lost, '\0') + whole_.substr(lost));
        open_copy();
        EXPECT_EQ(content_of(copied_log()), whole_);
    }
}

TEST_F(AuditPowerFailureTest, WhatTheSegmentLostSinceItsLastSyncIsPutBack) {
    const auto running = open_file();
    append_long(*running, 7, server::AuditJournal::capacity_bytes / 5);  // anew after four
    fail();
    const auto lines = lines_of(copied_log());
    ASSERT_EQ(lines.size(), 7U);
    std::size_t durable = 0;
    for (int i = 0; i < 4; ++i) durable += lines[static_cast<std::size_t>(i)].size() + 1;
    overwrite(copied_log(), whole_.substr(0, durable));
    open_copied_file();
    EXPECT_TRUE(content_of(copied_log()) == whole_);
}

TEST_F(AuditPowerFailureTest, ALineLargerThanTheJournalIsDurableByItself) {
    const auto running = open_file();
    append_long(*running, 1, 10);
    append_long(*running, 1, server::AuditJournal::capacity_bytes);
    fail();
    open_copied_file();
    EXPECT_TRUE(content_of(copied_log()) == whole_);
    append_long(*running, 1, 10);
    fail();
    overwrite(copied_log(), whole_.substr(0, whole_.size() - 20));
    open_copied_file();
    EXPECT_TRUE(content_of(copied_log()) == whole_);
}

TEST_F(AuditPowerFailureTest, BehindTheJournalOnlyWholeLinesThatContinueTheChainStay) {
    const auto log = open();
    append(*log, 2);
    fail();
    append(*log, 1);
    const std::string next = content_of(file()).substr(whole_.size());
    overwrite(copied_log(), whole_ + next + next);
    open_copy();
    EXPECT_EQ(content_of(copied_log()), whole_ + next);
}

TEST_F(AuditPowerFailureTest, BehindTheJournalALineWithAHoleDoesNotStay) {
    const auto log = open();
    append(*log, 1);
    for (const std::size_t at : {0U, 100U}) {
        fail();
        append(*log, 1);
        std::string next = content_of(file()).substr(whole_.size());
        next.replace(at, 50, 50, '\0');
        overwrite(copied_log(), whole_ + next);
        open_copy();
        EXPECT_EQ(content_of(copied_log()), whole_) << at;
    }
}

// The first line after a start is in the segment before anything is in the journal.
TEST_F(AuditPowerFailureTest, ALastLineWithAHoleDoesNotStayWhereTheJournalHoldsNothing) {
    auto log = open();
    append(*log, 2);
    log.reset();
    fail();
    std::string next = whole_.substr(whole_.find('\n') + 1);
    next.replace(0, 50, 50, '\0');
    overwrite(copied_log(), whole_ + next);
    open_copy();
    EXPECT_EQ(content_of(copied_log()), whole_);
}

TEST_F(AuditPowerFailureTest, ALogThatIsNotItsJournalsIsRefused) {
    const auto running = open_file();
    append_long(*running, 4, server::AuditJournal::capacity_bytes / 3);  // anew after two
    fail();
    overwrite(copied_log(), whole_.substr(0, whole_.find('\n') + 1));
    EXPECT_ERROR(failed_precondition, open_copy());
    std::string other = whole_;
    other.replace(other.find(":1,"), 3, ":9,");
    overwrite(copied_log(), other);
    EXPECT_ERROR(failed_precondition, open_copy());
}

TEST_F(AuditPowerFailureTest, WhereOnlyTheProcessEndedAChangedOrCutLogIsRefused) {
    const auto log = open();
    append(*log, 3);
    fail();
    std::string changed = whole_;
    changed.replace(changed.find("caller"), 6, "nobody");
    for (const auto& content : {changed, whole_.substr(0, whole_.find('\n') + 1), std::string()}) {
        overwrite(copied_log(), content);
        EXPECT_ERROR(failed_precondition, open_copy(true));
        EXPECT_EQ(content_of(copied_log()), content);  // the evidence stays
    }
    overwrite(copied_log(), whole_ + "{\"sequence\":4,\"ti");  // a kill while it was written
    append(*open_copy(true), 1);
    EXPECT_EQ(lines_of(copied_log()).size(), 4U);
    EXPECT_EQ(chain_fault(lines_of(copied_log())), "");
}

TEST_F(AuditPowerFailureTest, WhoReadsTheFilesAloneFindsWhatTheSegmentLost) {
    const auto log = open();
    append(*log, 6);
    fail();
    const auto lines = lines_of(copied_log());
    const auto sequences = [this] {
        std::vector<std::uint64_t> read;
        std::uint64_t unreadable = 0;
        server::read_audit_log(
            folder_ / "copy", {},
            [&read](const server::AuditRow& row, std::string_view) {
                read.push_back(row.sequence);
                return true;
            },
            unreadable);
        EXPECT_EQ(unreadable, 0U);
        return read;
    };
    const std::vector<std::uint64_t> all{1, 2, 3, 4, 5, 6};
    EXPECT_EQ(sequences(), all);
    const std::size_t half = whole_.size() / 2;
    for (const bool holes : {false, true}) {
        overwrite(copied_log(),
                  whole_.substr(0, half) +
                      (holes ? std::string(300, '\0') + whole_.substr(half + 300) : ""));
        EXPECT_EQ(sequences(), all);
    }
    std::filesystem::remove(copied_log());
    EXPECT_EQ(sequences(), all);
    server::JournalLines journal(folder_ / "copy");
    ASSERT_EQ(journal.all().size(), 6U);
    EXPECT_EQ(journal.all().at(6), lines[5]);
    EXPECT_TRUE(server::JournalLines(folder_ / "nothing").all().empty());
    std::filesystem::remove(folder_ / "copy" / "audit.journal");
    std::filesystem::create_directory(folder_ / "copy" / "audit.journal");
    EXPECT_ERROR(unavailable, server::JournalLines(folder_ / "copy"));
}

TEST_F(AuditPowerFailureTest, AStoppedLogNeedsNoJournal) {
    append(*open(), 3);
    fail();
    std::filesystem::remove(folder_ / "copy" / "audit.journal");
    append(*open_copy(), 1);
    EXPECT_EQ(lines_of(copied_log()).size(), 4U);
    EXPECT_EQ(chain_fault(lines_of(copied_log())), "");
}

}  // namespace

// In the place of the C library's, for the journal, which alone calls it.
extern "C" ssize_t pwritev2(int file, const iovec* parts, int count, off_t at, int flags) {
    Failing& rule = failing();
    const bool is_direct = (::fcntl(file, F_GETFL) & O_DIRECT) != 0;
    if (rule.times > 0) rule.met_direct = rule.met_direct || is_direct;
    if (rule.times > 0 && (is_direct || !rule.direct_only)) {
        --rule.times;
        ssize_t written = 0;
        if (rule.only_bytes > 0)
            written =
                ::pwrite(file, parts->iov_base, std::min(rule.only_bytes, parts->iov_len), at);
        if (rule.error == 0) return written;
        errno = rule.error;
        return -1;
    }
    return ::syscall(SYS_pwritev2, file, parts, count, at, 0L, flags);
}
