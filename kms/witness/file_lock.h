// One process at a time at a file that others replace by renaming: the lock is on a file beside it,
// which stays.
#pragma once

#include <chrono>
#include <filesystem>

namespace kms {

// Held until it ends, or the process does.
class FileLock {
public:
    // `file` is the lock's own. Throws unavailable, naming it, when it can't be used or another
    // process still has it at `until`.
    FileLock(const std::filesystem::path& file, std::chrono::steady_clock::time_point until);
    ~FileLock();
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

private:
    int descriptor_ = -1;
};

}  // namespace kms
