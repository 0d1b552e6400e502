#include "tests/support/faulty_pkcs11/ledger.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace tests {
namespace {

constexpr mode_t shared_mode = 0666;

[[noreturn]] void ledger_failed(const std::filesystem::path& file) {
    throw std::runtime_error(file.string() + ": " +
                             std::error_code(errno, std::generic_category()).message());
}

}  // namespace

SharedLedger::SharedLedger(const std::filesystem::path& file)
    : file_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, shared_mode)) {
    if (file_ < 0) ledger_failed(file);
    // Whatever the umask: who controls and who is controlled may be different users. Only the
    // file's owner can, and has done so.
    static_cast<void>(::fchmod(file_, shared_mode));
    struct stat status {};
    const bool fits =
        ::fstat(file_, &status) == 0 && (status.st_size >= static_cast<off_t>(sizeof(Ledger)) ||
                                         ::ftruncate(file_, sizeof(Ledger)) == 0);
    void* place =
        fits ? ::mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0)
             : MAP_FAILED;
    if (place == MAP_FAILED) {
        const int why = errno;
        ::close(file_);
        errno = why;
        ledger_failed(file);
    }
    ledger_ = static_cast<Ledger*>(place);
}

SharedLedger::~SharedLedger() {
    ::munmap(ledger_, sizeof(Ledger));
    ::close(file_);
}

void SharedLedger::begin(std::uint64_t version) const {
    ::flock(file_, LOCK_EX);
    if (ledger_->version != version) {
        for (Ledger::OfRule& rule : ledger_->rules) {
            rule.matched = 0;
            rule.struck = 0;
        }
        ledger_->version = version;
    }
    ::flock(file_, LOCK_UN);
}

}  // namespace tests
