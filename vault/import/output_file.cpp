#include "vault/import/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

std::string errno_text() {
    return std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): glibc's is safe
}

int open_output(const std::filesystem::path& file, std::optional<std::uint64_t> bytes) {
    constexpr mode_t private_mode = 0600;
    constexpr int how = O_WRONLY | O_CLOEXEC | O_NOFOLLOW;
    if (bytes) {
        const int begun = ::open(file.c_str(), how);
        // An import may have ended before it made the file.
        if (begun >= 0 || errno != ENOENT || *bytes != 0) return begun;
    }
    return ::open(file.c_str(), how | O_CREAT | O_EXCL, private_mode);
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& file, std::optional<std::uint64_t> bytes)
    : file_(open_output(file, bytes)), size_(bytes.value_or(0)) {
    if (file_ < 0) refuse(file, errno_text());
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) refuse(file, "another process writes it");
    const auto begin = static_cast<off_t>(size_);
    const off_t length = ::lseek(file_, 0, SEEK_END);
    if (length < begin) refuse(file, "it is shorter than the state of the import says");
    // Behind a part that was put on disk for this import stands what a crash left of its next one.
    // Without such a part nothing tells whose the file is.
    if (begin == 0 && length > 0) {
        refuse(file, "it has " + std::to_string(length) +
                         " bytes, and by its state this import has put none there; move the file "
                         "away, or remove it if you know it for a beginning that a crash left, "
                         "and run the same command again");
    }
    if (::ftruncate(file_, begin) != 0 || ::lseek(file_, 0, SEEK_END) != begin)
        refuse(file, errno_text());
}

OutputFile::~OutputFile() {
    if (file_ >= 0) ::close(file_);
}

void OutputFile::write(std::string_view text) {
    size_ += text.size();
    while (!text.empty()) {
        const ssize_t written = ::write(file_, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0)
            throw Error(ErrorCode::unavailable, "the output file can't be written", errno_text());
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

std::uint64_t OutputFile::sync() const {
    if (::fdatasync(file_) != 0)
        throw Error(ErrorCode::unavailable, "the output file can't be written", errno_text());
    return size_;
}

void OutputFile::refuse(const std::filesystem::path& file, const std::string& why) {
    if (file_ >= 0) ::close(file_);
    throw Error(ErrorCode::invalid_argument, file.string() + " can't be written: " + why);
}

}  // namespace vault
