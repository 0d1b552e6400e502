#include "vault/import/file_bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t file_buffer_bytes = 64UL * 1024;

}  // namespace

FileBytes::FileBytes(const std::filesystem::path& file, std::uint64_t offset)
    : file_(::open(file.c_str(), O_RDONLY | O_CLOEXEC)),
      buffer_(file_buffer_bytes, '\0'),
      offset_(offset) {
    struct stat status {};
    const auto position = static_cast<off_t>(offset);
    const bool usable = file_ >= 0 && ::fstat(file_, &status) == 0 && S_ISREG(status.st_mode) &&
                        ::lseek(file_, position, SEEK_SET) == position;
    if (usable) return;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe
    const std::string why = file_ < 0 ? std::strerror(errno) : "it is no regular file";
    if (file_ >= 0) ::close(file_);
    throw Error(ErrorCode::invalid_argument, file.string() + " can't be read: " + why);
}

FileBytes::~FileBytes() { ::close(file_); }

int FileBytes::peek() {
    if (at_ == size_ && !fill()) return end;
    return static_cast<unsigned char>(buffer_[at_]);
}

int FileBytes::take() {
    const int byte = peek();
    if (byte == end) return end;
    ++at_;
    ++offset_;
    if (byte == '\n') ++line_;
    return byte;
}

bool FileBytes::fill() {
    for (;;) {
        const ssize_t got = ::read(file_, buffer_.data(), buffer_.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe
            throw Error(ErrorCode::unavailable, "the file can't be read on", std::strerror(errno));
        }
        at_ = 0;
        size_ = static_cast<std::size_t>(got);
        return got > 0;
    }
}

}  // namespace vault
