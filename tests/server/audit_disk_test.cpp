// The audit log on real disks that are full or do not answer: small file systems of the test's own,
// mounted where nobody else sees them. Only root can mount; everybody else skips.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "base/file.h"
#include "server/audit_segments.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using namespace std::chrono_literals;
using tests::Answers;
using tests::eventually;
using tests::operation_of;
using Steady = std::chrono::steady_clock;

class AuditOnARealDisk : public tests::AuditLogTest {
protected:
    // This thread, and those it starts, see mounts of their own from here on, which go with them.
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "only root can mount a small file system";
        if (::unshare(CLONE_NEWNS) != 0 ||
            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
            GTEST_SKIP() << "this machine lets nobody mount here";
        }
        std::filesystem::create_directory(disk());
    }
    void TearDown() override { ::umount2(disk().c_str(), MNT_DETACH); }

    std::filesystem::path disk() const { return folder_ / "disk"; }
    std::unique_ptr<server::AuditLog> open_there() {
        auto there = config();
        there.directory = disk() / "audit";
        return std::make_unique<server::AuditLog>(there, clock_, log_);
    }
    // Whole lines: what is being written may be seen in part.
    std::vector<std::string> lines_there() const {
        const std::string text =
            base::read_file(disk() / "audit" / "audit.jsonl", 64UL * 1024 * 1024);
        std::vector<std::string> lines;
        std::size_t begin = 0;
        for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos;
             begin = end + 1) {
            lines.push_back(text.substr(begin, end - begin));
        }
        return lines;
    }
    static std::ptrdiff_t withheld(const std::vector<std::string>& lines) {
        return std::count_if(lines.begin(), lines.end(), [](const auto& line) {
            return tests::text_field(line, "outcome") == "withheld";
        });
    }
};

TEST_F(AuditOnARealDisk, FullDiskRefusesInTimeAndTheLogRecoversByItself) {
    ASSERT_EQ(::mount("tmpfs", disk().c_str(), "tmpfs", 0, "size=8m"), 0);
    const auto log = open_there();
    Answers answers;
    log->append(operation_of("before"), {"ok", "", 200}, answers.callback());
    ASSERT_TRUE(answers.wait_for(1));
    const auto ballast = disk() / "ballast";
    {
        std::ofstream fill(ballast, std::ios::binary);
        const std::string block(4096, 'x');
        while (fill.write(block.data(), 4096).flush()) {
        }
    }
    // What the last page of the file has room for still goes in; then it is over.
    std::size_t asked = 1;
    while (answers.no() == 0 && asked < 100) {
        const auto begin = Steady::now();
        log->append(operation_of("during"), {"ok", "", 200}, answers.callback());
        ASSERT_TRUE(answers.wait_for(++asked));
        EXPECT_LE(Steady::now() - begin, 250ms);
    }
    ASSERT_EQ(answers.no(), 1U);
    EXPECT_ERROR(unavailable, log->check());
    const auto begin = Steady::now();
    for (int i = 0; i < 50; ++i)
        log->append(operation_of("during"), {"ok", "", 200}, answers.callback());
    ASSERT_TRUE(answers.wait_for(asked + 50));
    EXPECT_LE(Steady::now() - begin, 250ms);
    EXPECT_EQ(answers.no(), 51U) << "what was performed is not told";
    EXPECT_ERROR(unavailable, log->append_and_wait(operation_of("intent"), {"intent", "", 0}));

    std::filesystem::remove(ballast);
    ASSERT_TRUE(eventually([&] {
        try {
            log->check();
            return true;
        } catch (const base::Error&) {
            return false;
        }
    })) << "by itself";
    ASSERT_TRUE(eventually([&] { return withheld(lines_there()) == 52; }));
    const auto lines = lines_there();
    EXPECT_EQ(tests::chain_fault(lines), "");
    EXPECT_EQ(lines.size(), asked + 50 + 1 + 52) << "nothing performed and unrecorded";
}

TEST_F(AuditOnARealDisk, FrozenFileSystemRefusesInTimeAndNobodyHangs) {
    const auto image = folder_ / "image";
    { std::ofstream(image).flush(); }
    std::filesystem::resize_file(image, 16UL * 1024 * 1024);
    const std::string command = "mkfs.ext4 -q -F " + image.string() +
                                " >/dev/null 2>&1 && mount -o loop " + image.string() + ' ' +
                                disk().string() + " 2>/dev/null";
    if (std::system(command.c_str()) != 0) GTEST_SKIP() << "no loop device or no ext4 here";
    auto log = open_there();
    Answers answers;
    log->append(operation_of("before"), {"ok", "", 200}, answers.callback());
    ASSERT_TRUE(answers.wait_for(1));
    const int frozen = ::open(disk().c_str(), O_RDONLY | O_CLOEXEC);
    if (::ioctl(frozen, FIFREEZE, 0) != 0) {
        ::close(frozen);
        GTEST_SKIP() << "file systems can't be frozen here";
    }
    const auto begin = Steady::now();
    for (int i = 0; i < 20; ++i)
        log->append(operation_of("during"), {"ok", "", 200}, answers.callback());
    const bool told = answers.wait_for(21, 10s);
    const auto taken = Steady::now() - begin;
    EXPECT_EQ(::ioctl(frozen, FITHAW, 0), 0);
    ::close(frozen);
    ASSERT_TRUE(told);
    EXPECT_LE(taken, 250ms);
    EXPECT_EQ(answers.no(), 20U);
    ASSERT_TRUE(eventually([&] { return withheld(lines_there()) == 20; }));
    EXPECT_EQ(tests::chain_fault(lines_there()), "");
    log.reset();
}

}  // namespace
