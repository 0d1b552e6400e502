#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

TEST(ReadFile, ReturnsTheWholeFile) {
    const tests::TemporaryDirectory directory;
    EXPECT_EQ(base::read_file(directory.write("file", "content\n"), 100), "content\n");
    EXPECT_EQ(base::read_file(directory.write("exact", "12345"), 5), "12345");
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
    EXPECT_FALSE(std::filesystem::exists(directory / "file.new"));
}

TEST(WriteFileDurably, AMissingFolderIsUnavailable) {
    const tests::TemporaryDirectory directory;
    EXPECT_ERROR(unavailable, base::write_file_durably(directory / "none/file", "x", 0600));
}
