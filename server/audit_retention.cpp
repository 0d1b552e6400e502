#include "server/audit_retention.h"

#include <botan/compression.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "server/audit_segments.h"
#include "server/tiles.h"

namespace server {
namespace {

// Empty when the file is gone.
base::Time last_written(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return base::Time::max();
    return base::from_milliseconds(std::int64_t{status.st_mtim.tv_sec} * 1000 +
                                   status.st_mtim.tv_nsec / 1'000'000);
}

void remove_bundles(const std::filesystem::path& directory, std::uint64_t from,
                    std::uint64_t through) {
    std::error_code ignored;  // what is not there needs no removing
    for (std::uint64_t tile = from / tile_width; (tile + 1) * tile_width <= through; ++tile) {
        std::filesystem::remove(directory / tile_path("entries", tile, tile_width), ignored);
    }
}

}  // namespace

void prune_audit_log(AuditLog& log, std::chrono::days keep, std::uint64_t covered, base::Time now) {
    const std::filesystem::path& directory = log.config().directory;
    std::vector<AuditSegment> closed = audit_segments(directory);
    std::erase_if(closed, [](const AuditSegment& segment) { return segment.first == 0; });
    std::size_t old = 0;
    while (old + 1 < closed.size() && closed[old + 1].first - 1 <= covered &&
           last_written(closed[old].path) + keep < now) {
        ++old;
    }
    if (old == 0) return;
    const std::uint64_t first = closed.front().first;
    const std::uint64_t through = closed[old].first - 1;
    log.event(prune_action, {{"from", std::to_string(first)},
                             {"through", std::to_string(through)},
                             {"kept_days", std::to_string(keep.count())}});
    for (std::size_t i = 0; i < old; ++i) {
        std::error_code failure;
        std::filesystem::remove(closed[i].path, failure);
        if (failure) {
            throw base::Error(base::ErrorCode::unavailable, "a segment can't be removed",
                              closed[i].path.string() + ": " + failure.message());
        }
    }
    remove_bundles(directory, first - 1, through);
}

namespace {

constexpr std::size_t compress_block_bytes = 256UL * 1024;
constexpr std::size_t compress_level = 3;
constexpr mode_t compressed_mode = 0600;

[[noreturn]] void cant_compress(const std::filesystem::path& path, const std::string& why) {
    throw base::Error(base::ErrorCode::unavailable, "a segment can't be compressed",
                      path.string() + ": " + why);
}

class OpenFile {
public:
    OpenFile(std::filesystem::path path, int flags)
        : path_(std::move(path)),
          descriptor_(::open(path_.c_str(), flags | O_CLOEXEC, compressed_mode)) {
        if (descriptor_ < 0) cant_compress(path_, std::strerror(errno));
    }
    ~OpenFile() { ::close(descriptor_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    // Empty at the end.
    void read(Botan::secure_vector<std::uint8_t>& block) const {
        block.resize(compress_block_bytes);
        ssize_t got = -1;
        do {
            got = ::read(descriptor_, block.data(), block.size());
        } while (got < 0 && errno == EINTR);
        if (got < 0) cant_compress(path_, std::strerror(errno));
        block.resize(static_cast<std::size_t>(got));
    }
    void write(const Botan::secure_vector<std::uint8_t>& block) const {
        std::size_t done = 0;
        while (done < block.size()) {
            const ssize_t wrote = ::write(descriptor_, block.data() + done, block.size() - done);
            if (wrote < 0 && errno == EINTR) continue;
            if (wrote < 0) cant_compress(path_, std::strerror(errno));
            done += static_cast<std::size_t>(wrote);
        }
    }
    void sync() const {
        if (::fsync(descriptor_) != 0) cant_compress(path_, std::strerror(errno));
    }
    // The times of another file: retention goes by them.
    void take_times(const OpenFile& other) const {
        struct stat status {};
        if (::fstat(other.descriptor_, &status) != 0) cant_compress(path_, std::strerror(errno));
        const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
        if (::futimens(descriptor_, times.data()) != 0) cant_compress(path_, std::strerror(errno));
    }

private:
    std::filesystem::path path_;
    int descriptor_;
};

// False when it was told to stop.
bool write_compressed(const OpenFile& plain, const OpenFile& out,
                      const std::function<bool()>& stop) {
    const auto gzip = Botan::Compression_Algorithm::create("gzip");
    if (!gzip) cant_compress("gzip", "this build can't compress");
    gzip->start(compress_level);
    Botan::secure_vector<std::uint8_t> block;
    while (true) {
        if (stop()) return false;
        plain.read(block);
        const bool last = block.empty();
        if (last) {
            gzip->finish(block);
        } else {
            gzip->update(block);
        }
        out.write(block);
        if (last) return true;
    }
}

bool same_lines(const std::filesystem::path& plain, const std::filesystem::path& compressed) {
    SegmentLines left({plain, 0, false});
    SegmentLines right({compressed, 0, true});
    std::string_view one;
    std::string_view other;
    while (left.next(one)) {
        if (!right.next(other) || one != other) return false;
    }
    return !right.next(other) && left.torn() == right.torn();
}

void sync_directory(const std::filesystem::path& directory) {
    OpenFile(directory, O_RDONLY | O_DIRECTORY).sync();
}

// False when it was told to stop; then the plain file is as it was.
bool compress_segment(const std::filesystem::path& path, const std::function<bool()>& stop) {
    const std::filesystem::path target = path.string() + ".gz";
    const std::filesystem::path fresh = target.string() + ".new";
    bool whole = false;
    {
        const OpenFile plain(path, O_RDONLY);
        const OpenFile out(fresh, O_WRONLY | O_CREAT | O_TRUNC);
        whole = write_compressed(plain, out, stop);
        if (whole) {
            out.sync();
            out.take_times(plain);
        }
    }
    std::error_code failure;
    if (!whole) {
        std::filesystem::remove(fresh, failure);
        return false;
    }
    if (!same_lines(path, fresh)) cant_compress(path, "it reads back otherwise");
    std::filesystem::rename(fresh, target, failure);
    if (failure) cant_compress(target, failure.message());
    sync_directory(path.parent_path());
    std::filesystem::remove(path, failure);
    if (failure) cant_compress(path, failure.message());
    return true;
}

}  // namespace

void compress_audit_log(const std::filesystem::path& directory, std::chrono::days after,
                        std::uint64_t covered, base::Time now, const std::function<bool()>& stop) {
    const std::vector<AuditSegment> segments = audit_segments(directory);
    for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
        const AuditSegment& segment = segments[i];
        if (segment.first == 0 || segment.compressed) continue;
        const auto& next = segments[i + 1];
        // The growing one does not say in its name where it begins: its predecessor waits.
        if (next.first == 0 || next.first - 1 > covered) return;
        if (last_written(segment.path) + after >= now) continue;
        if (!compress_segment(segment.path, stop)) return;
    }
}

}  // namespace server
