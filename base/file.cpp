#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/encoding.h"
#include "base/error.h"
#include "base/random.h"
#include "base/secret_document.h"

namespace base {
namespace {

constexpr std::size_t max_secret_bytes = 4096;

class Descriptor {
public:
    explicit Descriptor(int value) : value_(value) {}
    ~Descriptor() {
        if (value_ >= 0) ::close(value_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return value_; }

private:
    int value_;
};

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
    throw Error(ErrorCode::invalid_argument, path.string() + ": " + why);
}

[[noreturn]] void refuse_errno(const std::filesystem::path& path, const char* doing) {
    const int error = errno;
    refuse(path, std::string(doing) + ": " + std::strerror(error));
}

struct stat regular_file_status(const Descriptor& file, const std::filesystem::path& path) {
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) refuse_errno(path, "can't read its status");
    if (!S_ISREG(status.st_mode)) refuse(path, "is not a regular file");
    return status;
}

void require_own(const struct stat& status, const std::filesystem::path& path) {
    if (status.st_uid != ::geteuid() && status.st_uid != 0) {
        refuse(path, "belongs to another user than the one that runs this program");
    }
}

void require_private(const struct stat& status, const std::filesystem::path& path) {
    if ((status.st_mode & 0077U) != 0) {
        refuse(path, "other users may access it; run: chmod 0600 " + path.string());
    }
    require_own(status, path);
}

void require_trusted(const struct stat& status, const std::filesystem::path& path) {
    if ((status.st_mode & 0022U) != 0) {
        refuse(path, "other users may change it; run: chmod go-w " + path.string());
    }
    require_own(status, path);
}

// Reads up to `room.size()` bytes; the number read.
std::size_t read_all(const Descriptor& file, std::span<std::uint8_t> room,
                     const std::filesystem::path& path) {
    std::size_t total = 0;
    while (total < room.size()) {
        const ssize_t got = ::read(file.get(), room.data() + total, room.size() - total);
        if (got < 0) {
            if (errno == EINTR) continue;
            refuse_errno(path, "can't be read");
        }
        if (got == 0) break;
        total += static_cast<std::size_t>(got);
    }
    return total;
}

// The room grows with what is read: mostly that is far less than what may be.
std::string read_text(const Descriptor& file, const std::filesystem::path& path,
                      std::size_t max_bytes) {
    constexpr std::size_t first_bytes = 16UL * 1024;
    std::string content;
    for (std::size_t total = 0; total <= max_bytes;) {
        content.resize(std::min(max_bytes + 1, std::max(first_bytes, 2 * total)));
        auto* const room = reinterpret_cast<std::uint8_t*>(content.data());
        total += read_all(file, {room + total, content.size() - total}, path);
        if (total == content.size()) continue;
        content.resize(total);
        return content;
    }
    refuse(path, "is larger than " + std::to_string(max_bytes) + " bytes");
}

[[noreturn]] void write_failed(const std::filesystem::path& path) {
    throw Error(ErrorCode::unavailable, "a file can't be written",
                path.string() + ": " + std::strerror(errno));
}

void sync_folder(const std::filesystem::path& path) {
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) write_failed(folder);
}

// A name that nobody can have prepared, in the same folder, so that rename() can put it in place.
std::filesystem::path temporary_beside(const std::filesystem::path& path) {
    std::array<std::uint8_t, 8> random{};
    random_bytes(random);
    return path.parent_path() / ("." + path.filename().string() + "." + to_hex(random));
}

// A new file that is removed again unless it was put in place.
class TemporaryFile {
public:
    TemporaryFile(std::filesystem::path path, unsigned mode)
        : path_(std::move(path)),
          file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)) {
        if (file_.get() < 0) write_failed(path_);
    }
    ~TemporaryFile() {
        if (!placed_) ::unlink(path_.c_str());
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    // The umask may have taken bits from `mode`, so it is set again.
    void write(std::string_view content, unsigned mode) const {
        if (::fchmod(file_.get(), mode) != 0) write_failed(path_);
        while (!content.empty()) {
            const ssize_t written = ::write(file_.get(), content.data(), content.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) write_failed(path_);
            content.remove_prefix(static_cast<std::size_t>(written));
        }
        if (::fsync(file_.get()) != 0) write_failed(path_);
    }
    void place(const std::filesystem::path& target) {
        if (::rename(path_.c_str(), target.c_str()) != 0) write_failed(target);
        placed_ = true;
    }

private:
    std::filesystem::path path_;
    Descriptor file_;
    bool placed_ = false;
};

}  // namespace

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) refuse_errno(path, "can't be opened");
    regular_file_status(file, path);
    return read_text(file, path, max_bytes);
}

std::string read_trusted_file(const std::filesystem::path& path, std::size_t max_bytes) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) refuse_errno(path, "can't be opened");
    require_trusted(regular_file_status(file, path), path);
    return read_text(file, path, max_bytes);
}

SecretBytes read_secret_document(const std::filesystem::path& path, std::size_t max_bytes) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) refuse_errno(path, "can't be opened");
    require_private(regular_file_status(file, path), path);
    SecretBytes content(max_bytes + 1);
    const std::size_t size = read_all(file, content.expose_mutable(), path);
    if (size > max_bytes) refuse(path, "is larger than " + std::to_string(max_bytes) + " bytes");
    content.shrink(size);
    if (content.empty()) refuse(path, "is empty");
    return content;
}

SecretBytes read_secret_file(const std::filesystem::path& path) {
    SecretBytes content = read_secret_document(path, max_secret_bytes);
    const auto view = content.expose();
    const auto line_end =
        std::find_if(view.begin(), view.end(), [](auto c) { return c == '\n' || c == '\r'; });
    content.shrink(static_cast<std::size_t>(line_end - view.begin()));
    if (content.empty()) refuse(path, "is empty");
    return content;
}

void require_private_file(const std::filesystem::path& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) refuse_errno(path, "can't be opened");
    require_private(regular_file_status(file, path), path);
}

void write_file_durably(const std::filesystem::path& path, std::string_view content,
                        unsigned mode) {
    TemporaryFile temporary(temporary_beside(path), mode);
    temporary.write(content, mode);
    temporary.place(path);
    sync_folder(path);
}

}  // namespace base
