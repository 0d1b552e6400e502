#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <string>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

namespace {

std::set<std::string> names_in(const tests::TemporaryDirectory& directory) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
        names.insert(entry.path().filename().string());
    }
    return names;
}

}  // namespace

TEST(ReadFile, ReturnsTheWholeFile) {
    const tests::TemporaryDirectory directory;
    EXPECT_EQ(base::read_file(directory.write("file", "content\n"), 100), "content\n");
    EXPECT_EQ(base::read_file(directory.write("exact", "12345"), 5), "12345");
}

TEST(ReadFile, AFileOfAnySizeIsReadWholeUpToTheBound) {
    const tests::TemporaryDirectory directory;
    constexpr std::size_t step = 16UL * 1024;
    for (const std::size_t size :
         {std::size_t{0}, step - 1, step, step + 1, 2 * step, 6 * step + 7, 8 * step}) {
        std::string content;
        while (content.size() < size) content += std::to_string(content.size()) + ' ';
        content.resize(size);
        const auto file = directory.write("file", content);
        for (const std::size_t bound : {size, size + 1, 32UL * 1024 * 1024})
            EXPECT_EQ(base::read_file(file, bound), content) << size;
        if (size > 0) {
            EXPECT_ERROR_SAYING(invalid_argument, "is larger than",
                                base::read_file(file, size - 1));
        }
    }
    EXPECT_FALSE(base::read_file("/proc/self/status", 100'000).empty()) << "whose size reads 0";
}

TEST(ReadFile, NamesTheFileAndWhatIsWrong) {
    const tests::TemporaryDirectory directory;
    EXPECT_ERROR_SAYING(invalid_argument, "missing: can't be opened",
                        base::read_file(directory / "missing", 100));
    EXPECT_ERROR_SAYING(invalid_argument, "larger than 4 bytes",
                        base::read_file(directory.write("file", "12345"), 4));
    EXPECT_ERROR_SAYING(invalid_argument, "not a regular file",
                        base::read_file(directory.path(), 4));
}

TEST(ReadTrustedFile, OthersMayReadButNotWrite) {
    const tests::TemporaryDirectory directory;
    for (const unsigned mode : {0600U, 0644U, 0444U, 0755U}) {
        EXPECT_EQ(base::read_trusted_file(directory.write("policy", "content", mode), 100),
                  "content");
    }
    for (const unsigned mode : {0664U, 0620U, 0646U, 0602U}) {
        EXPECT_ERROR_SAYING(
            invalid_argument, "chmod go-w",
            base::read_trusted_file(directory.write("policy", "content", mode), 100));
    }
    EXPECT_ERROR_SAYING(invalid_argument, "larger than 4 bytes",
                        base::read_trusted_file(directory.write("large", "12345"), 4));
    EXPECT_ERROR(invalid_argument, base::read_trusted_file(directory / "missing", 100));
    EXPECT_ERROR(invalid_argument, base::read_trusted_file(directory.path(), 100));
}

TEST(ReadTrustedFile, RefusesFilesOfAnotherUser) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
    const tests::TemporaryDirectory directory;
    const auto file = directory.write("policy", "content", 0644);
    ASSERT_EQ(::chown(file.c_str(), 65534, 65534), 0);
    EXPECT_ERROR_SAYING(invalid_argument, "another user", base::read_trusted_file(file, 100));
}

TEST(ReadSecretFile, TakesTheFirstLine) {
    const tests::TemporaryDirectory directory;
    EXPECT_EQ(base::read_secret_file(directory.write("pin", "1234\n")).expose_text(), "1234");
    EXPECT_EQ(base::read_secret_file(directory.write("crlf", "1234\r\nmore")).expose_text(),
              "1234");
    EXPECT_EQ(base::read_secret_file(directory.write("read-only", "1234", 0400)).expose_text(),
              "1234");
}

TEST(ReadSecretFile, RefusesFilesThatOthersMayAccess) {
    const tests::TemporaryDirectory directory;
    for (const unsigned mode : {0644U, 0640U, 0604U, 0620U, 0602U, 0610U}) {
        const auto file = directory.write("pin", "1234", mode);
        EXPECT_ERROR_SAYING(invalid_argument, "chmod 0600", base::read_secret_file(file));
        EXPECT_ERROR_SAYING(invalid_argument, "chmod 0600", base::require_private_file(file));
    }
}

TEST(ReadSecretFile, RefusesFilesOfAnotherUser) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
    const tests::TemporaryDirectory directory;
    const auto file = directory.write("pin", "1234");
    ASSERT_EQ(::chown(file.c_str(), 65534, 65534), 0);
    EXPECT_ERROR_SAYING(invalid_argument, "another user", base::read_secret_file(file));
}

TEST(ReadSecretFile, RefusesEmptyLargeAndOddFiles) {
    const tests::TemporaryDirectory directory;
    EXPECT_ERROR_SAYING(invalid_argument, "empty",
                        base::read_secret_file(directory.write("empty", "")));
    EXPECT_ERROR_SAYING(invalid_argument, "empty",
                        base::read_secret_file(directory.write("newline", "\n")));
    EXPECT_ERROR_SAYING(invalid_argument, "4096",
                        base::read_secret_file(directory.write("large", std::string(5000, 'x'))));
    EXPECT_ERROR(invalid_argument, base::read_secret_file(directory.path()));
    EXPECT_ERROR(invalid_argument, base::read_secret_file(directory / "missing"));
}

TEST(ReadSecretFile, MessagesNeverQuoteTheSecret) {
    const tests::TemporaryDirectory directory;
    try {
        base::read_secret_file(directory.write("pin", "hunter2", 0644));
        FAIL();
    } catch (const base::Error& error) {
        EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos);
    }
}

TEST(WriteFileDurably, ReplacesContentAndSetsTheMode) {
    const tests::TemporaryDirectory directory;
    base::write_file_durably(directory / "file", "first", 0640);
    base::write_file_durably(directory / "file", "second", 0600);
    EXPECT_EQ(base::read_file(directory / "file", 100), "second");
    struct stat status {};
    ASSERT_EQ(::stat((directory / "file").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
    EXPECT_EQ(names_in(directory), std::set<std::string>{"file"});
}

// Root may write anything, so a child process gives its rights up first.
TEST(WriteFileDurably, AnotherRunsLeftoverIsNoObstacle) {
    const tests::TemporaryDirectory directory;
    for (const char* leftover : {"file", "file.new", ".file.new"}) {
        directory.write(leftover, "old", 0400);
    }
    if (::geteuid() == 0) {
        ASSERT_EQ(::chown(directory.path().c_str(), 65534, 65534), 0);
        for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
            ASSERT_EQ(::chown(entry.path().c_str(), 65534, 65534), 0);
        }
    }
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 1;
        if (::geteuid() != 0 || ::setuid(65534) == 0) {
            try {
                base::write_file_durably(directory / "file", "new", 0400);
                code = 42;
            } catch (const base::Error&) {
                code = 2;
            }
        }
        ::_exit(code);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42);
    EXPECT_EQ(base::read_file(directory / "file", 100), "new");
}

TEST(WriteFileDurably, SymbolicLinksAreReplacedNotFollowed) {
    const tests::TemporaryDirectory directory;
    const auto target = directory.write("target", "untouched");
    for (const char* link : {"file", "file.new", ".file.new"}) {
        std::filesystem::create_symlink(target, directory / link);
    }
    base::write_file_durably(directory / "file", "new", 0600);
    EXPECT_EQ(base::read_file(target, 100), "untouched");
    EXPECT_FALSE(std::filesystem::is_symlink(directory / "file"));
    EXPECT_EQ(base::read_file(directory / "file", 100), "new");
}

TEST(WriteFileDurably, FailureLeavesNothingBehind) {
    const tests::TemporaryDirectory directory;
    // rename() can't replace a folder.
    std::filesystem::create_directory(directory / "file");
    EXPECT_ERROR(unavailable, base::write_file_durably(directory / "file", "secret", 0600));
    EXPECT_EQ(names_in(directory), std::set<std::string>{"file"});
    // write() ends at the limit.
    const auto before = std::signal(SIGXFSZ, SIG_IGN);
    rlimit unlimited{};
    ::getrlimit(RLIMIT_FSIZE, &unlimited);
    const rlimit small{4, unlimited.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    EXPECT_ERROR(unavailable, base::write_file_durably(directory / "other", "secret", 0600));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    std::signal(SIGXFSZ, before);
    EXPECT_EQ(names_in(directory), std::set<std::string>{"file"});
}

TEST(WriteFileDurably, AMissingFolderIsUnavailable) {
    const tests::TemporaryDirectory directory;
    EXPECT_ERROR(unavailable, base::write_file_durably(directory / "none/file", "x", 0600));
}
