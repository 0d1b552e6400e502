#include "kms/witness/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "base/error.h"

namespace kms {
namespace {

constexpr std::chrono::milliseconds between_tries{10};
constexpr unsigned lock_mode = 0600;

[[noreturn]] void refuse_lock(const std::filesystem::path& file, const std::string& why) {
    throw base::Error(base::ErrorCode::unavailable, file.string() + " can't be locked: " + why);
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& file, std::chrono::steady_clock::time_point until)
    : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, lock_mode)) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe
    if (descriptor_ < 0)
        refuse_lock(file, std::strerror(errno) + std::string("; see to its folder"));
    // The system's wait has no end of its own.
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        const int error = errno;
        const bool is_taken = error == EWOULDBLOCK || error == EINTR;
        if (is_taken && std::chrono::steady_clock::now() < until) {
            std::this_thread::sleep_for(between_tries);
            continue;
        }
        ::close(descriptor_);
        // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe
        refuse_lock(file, is_taken ? "another process has it" : std::strerror(error));
    }
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace kms
