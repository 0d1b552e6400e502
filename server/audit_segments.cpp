#include "server/audit_segments.h"

#include <botan/compression.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/error.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t block_bytes = 256UL * 1024;
constexpr std::string_view closed_start = "audit-";
constexpr std::string_view closed_end = ".jsonl";
constexpr std::string_view compressed_end = ".gz";
constexpr std::string_view sequence_start = "{\"sequence\":";
constexpr std::size_t sequence_digits = 12;
// From here on a linear search is quicker than halving.
constexpr std::uint64_t short_range = 128UL * 1024;

[[noreturn]] void unreadable(const std::filesystem::path& path, const std::string& why) {
    throw Error(ErrorCode::unavailable,
                "the audit log's file " + path.string() + " can't be read: " + why);
}

// Empty unless `name` is that of a closed segment.
std::optional<AuditSegment> closed_segment(const std::filesystem::path& path) {
    const std::string file = path.filename().string();
    std::string_view name = file;
    AuditSegment segment{path, 0, name.ends_with(compressed_end)};
    if (segment.compressed) name.remove_suffix(compressed_end.size());
    if (!name.starts_with(closed_start) || !name.ends_with(closed_end)) return std::nullopt;
    name.remove_prefix(closed_start.size());
    name.remove_suffix(closed_end.size());
    const auto [end, error] =
        std::from_chars(name.data(), name.data() + name.size(), segment.first);
    if (error != std::errc() || end != name.data() + name.size() || segment.first == 0) {
        return std::nullopt;
    }
    return segment;
}

}  // namespace

std::string closed_segment_name(std::uint64_t first) {
    std::string digits = std::to_string(first);
    if (digits.size() < sequence_digits) digits.insert(0, sequence_digits - digits.size(), '0');
    return std::string(closed_start) + digits + std::string(closed_end);
}

std::vector<AuditSegment> audit_segments(const std::filesystem::path& directory) {
    std::vector<AuditSegment> segments;
    std::error_code failure;
    for (std::filesystem::directory_iterator at(directory, failure), end; !failure && at != end;
         at.increment(failure)) {
        if (auto closed = closed_segment(at->path())) segments.push_back(std::move(*closed));
    }
    if (failure) unreadable(directory, failure.message());
    std::sort(segments.begin(), segments.end(), [](const auto& left, const auto& right) {
        return std::pair(left.first, left.compressed) < std::pair(right.first, right.compressed);
    });
    segments.erase(
        std::unique(segments.begin(), segments.end(),
                    [](const auto& left, const auto& right) { return left.first == right.first; }),
        segments.end());
    const std::filesystem::path growing = directory / growing_segment;
    if (std::filesystem::exists(growing, failure)) segments.push_back({growing, 0, false});
    return segments;
}

struct SegmentLines::File {
    std::filesystem::path path;
    int descriptor = -1;
    std::unique_ptr<Botan::Decompression_Algorithm> gunzip;
    std::string buffer;
    std::size_t taken = 0;      // of the buffer, in lines
    std::uint64_t offset = 0;   // in the file, of the buffer's first byte (plain files)
    std::uint64_t read_at = 0;  // in the file, of the next block
    bool ended = false;         // of a compressed file

    File() = default;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
        if (descriptor >= 0) ::close(descriptor);
    }

    // False at the end of the file.
    bool read_block() {
        if (ended) return false;
        buffer.erase(0, taken);
        offset += taken;
        taken = 0;
        const std::size_t before = buffer.size();
        buffer.resize(before + block_bytes);
        ssize_t got = -1;
        do {
            got = ::pread(descriptor, buffer.data() + before, block_bytes,
                          static_cast<off_t>(read_at));
        } while (got < 0 && errno == EINTR);
        if (got < 0) unreadable(path, std::strerror(errno));
        buffer.resize(before + static_cast<std::size_t>(got));
        read_at += static_cast<std::uint64_t>(got);
        if (gunzip) unpack(before);
        return got > 0 || (gunzip && buffer.size() > before);
    }

    void unpack(std::size_t from) {
        Botan::secure_vector<std::uint8_t> block(buffer.begin() + static_cast<std::ptrdiff_t>(from),
                                                 buffer.end());
        const bool last = block.empty();
        try {
            if (last) {
                gunzip->finish(block);
                ended = true;
            } else {
                gunzip->update(block);
            }
        } catch (const std::exception& error) {
            throw Error(ErrorCode::integrity_failure,
                        "the audit log's file " + path.string() + " can't be decompressed",
                        error.what());
        }
        buffer.resize(from);
        buffer.append(block.begin(), block.end());
    }
};

SegmentLines::SegmentLines(const AuditSegment& segment, std::uint64_t offset)
    : file_(std::make_unique<File>()) {
    file_->path = segment.path;
    file_->offset = file_->read_at = offset;
    file_->descriptor = ::open(segment.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_->descriptor < 0) unreadable(segment.path, std::strerror(errno));
    if (!segment.compressed) return;
    file_->gunzip = Botan::Decompression_Algorithm::create("gzip");
    if (!file_->gunzip) unreadable(segment.path, "this build can't decompress gzip");
    file_->gunzip->start();
}

SegmentLines::~SegmentLines() = default;
SegmentLines::SegmentLines(SegmentLines&&) noexcept = default;
SegmentLines& SegmentLines::operator=(SegmentLines&&) noexcept = default;

bool SegmentLines::next(std::string_view& line) {
    std::size_t searched = file_->taken;
    while (true) {
        const std::size_t end = file_->buffer.find('\n', searched);
        if (end != std::string::npos) {
            line = std::string_view(file_->buffer).substr(file_->taken, end - file_->taken);
            file_->taken = end + 1;
            return true;
        }
        searched = file_->buffer.size() - file_->taken;
        if (!file_->read_block()) return false;
    }
}

std::uint64_t SegmentLines::offset() const { return file_->offset + file_->taken; }

std::string_view SegmentLines::torn() const {
    return std::string_view(file_->buffer).substr(file_->taken);
}

void SegmentLines::forget_ahead() {
    if (file_->gunzip) return;
    file_->offset += file_->taken;
    file_->read_at = file_->offset;
    file_->taken = 0;
    file_->buffer.clear();
}

std::optional<std::uint64_t> leading_sequence(std::string_view line) {
    if (!line.starts_with(sequence_start)) return std::nullopt;
    line.remove_prefix(sequence_start.size());
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || end == line.data() + line.size() || *end != ',' || value == 0) {
        return std::nullopt;
    }
    return value;
}

AuditLines::AuditLines(std::filesystem::path directory, std::uint64_t sequence)
    : directory_(std::move(directory)), sequence_(sequence) {}

void AuditLines::pause() {
    if (lines_) lines_->forget_ahead();
}

namespace {

// Where in a plain file the line with `sequence`, or one not far before it, begins.
std::uint64_t find_near(const AuditSegment& segment, std::uint64_t sequence) {
    std::error_code failure;
    std::uint64_t low = 0;
    std::uint64_t high = std::filesystem::file_size(segment.path, failure);
    if (failure) unreadable(segment.path, failure.message());
    while (high - low > short_range) {
        const std::uint64_t middle = low + (high - low) / 2;
        SegmentLines lines(segment, middle);
        std::string_view line;
        lines.next(line);  // most likely the end of a line
        const std::uint64_t begin = lines.offset();
        const auto found = lines.next(line) ? leading_sequence(line) : std::nullopt;
        if (found && *found <= sequence && begin < high) {
            low = begin;
        } else {
            high = middle;
        }
    }
    return low;
}

constexpr int max_looks = 100;

// The first record of the segment that was closed last; 0 when none was.
std::uint64_t newest_closed(const std::vector<AuditSegment>& segments) {
    std::uint64_t newest = 0;
    for (const AuditSegment& segment : segments) newest = std::max(newest, segment.first);
    return newest;
}

}  // namespace

void AuditLines::open_at(const AuditSegment& segment) {
    lines_.emplace(segment, segment.compressed ? 0 : find_near(segment, sequence_));
    growing_ = segment.first == 0;
    std::string_view line;
    while (true) {
        const std::uint64_t begin = lines_->offset();
        if (!lines_->next(line)) return;
        const auto found = leading_sequence(line);
        if (found && *found < sequence_) continue;
        if (!segment.compressed) {
            lines_.emplace(segment, begin);
        } else {  // can't go back in it: read again up to here
            SegmentLines again(segment);
            while (again.offset() < begin && again.next(line)) {
            }
            lines_ = std::move(again);
        }
        return;
    }
}

// The segment in which the next line should be.
bool AuditLines::open_next(const std::vector<AuditSegment>& segments) {
    const AuditSegment* holder = nullptr;
    for (const AuditSegment& segment : segments) {
        const bool begins_behind = segment.first > sequence_;
        if (begins_behind) break;
        if (segment.first != 0) {
            holder = &segment;
            continue;
        }
        // The growing one has no number in its name: it is the one unless it begins behind.
        SegmentLines lines(segment);
        std::string_view line;
        const auto first = lines.next(line) ? leading_sequence(line) : std::nullopt;
        if (holder == nullptr || (first && *first <= sequence_)) holder = &segment;
    }
    if (holder == nullptr) return false;
    open_at(*holder);
    return true;
}

bool AuditLines::next(std::string_view& line) {
    const auto is_next = [this, &line] { return leading_sequence(line) == sequence_; };
    bool found = lines_ && lines_->next(line);
    // The file has ended, or was closed meanwhile and another has its name. What a look at the
    // folder finds is believed when no file was closed while it was looked for.
    for (int look = 0; !found || !is_next(); ++look) {
        if (look == max_looks) {
            throw Error(ErrorCode::unavailable,
                        "the audit log's files change faster than they can be read");
        }
        lines_.reset();
        const auto segments = audit_segments(directory_);
        found = open_next(segments) && lines_->next(line);
        if (found && is_next()) break;
        if (newest_closed(audit_segments(directory_)) != newest_closed(segments)) continue;
        if (!found) return false;
        throw Error(ErrorCode::failed_precondition,
                    "record " + std::to_string(sequence_) + " of the audit log in " +
                        directory_.string() + " is missing or was changed");
    }
    ++sequence_;
    return true;
}

}  // namespace server
