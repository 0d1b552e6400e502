#include "server/audit_retention.h"

#include <sys/stat.h>

#include <algorithm>
#include <system_error>
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

}  // namespace server
