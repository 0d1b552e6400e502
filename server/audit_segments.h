// The files of an audit log, read: `audit-<first sequence>.jsonl` for each closed segment, oldest
// first, and `audit.jsonl`, which grows. A closed segment may be compressed (`.gz`): what is hashed
// is the line, not the file. Reading only; lines are what audit_record says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace server {

inline constexpr std::string_view growing_segment = "audit.jsonl";

struct AuditSegment {
    std::filesystem::path path;
    std::uint64_t first = 0;  // sequence of its first line, by its name; 0 for the one that grows
    bool compressed = false;
};

// `audit-000000000001.jsonl`.
std::string closed_segment_name(std::uint64_t first);
// Those that are there, in order. Where a segment is there both plain and compressed, the plain
// one. Throws unavailable when the folder can't be read.
std::vector<AuditSegment> audit_segments(const std::filesystem::path& directory);

// The lines of one file. Not thread-safe.
class SegmentLines {
public:
    // From the byte `offset` on, which is 0 for a compressed file. Throws unavailable naming the
    // file when it can't be opened.
    explicit SegmentLines(const AuditSegment& segment, std::uint64_t offset = 0);
    ~SegmentLines();
    SegmentLines(SegmentLines&&) noexcept;
    SegmentLines& operator=(SegmentLines&&) noexcept;

    // The next whole line without its end, valid until the next call; false when there is none
    // (yet). Throws unavailable when the file can't be read, integrity_failure when a compressed
    // one is damaged.
    bool next(std::string_view& line);
    // Where the next line begins.
    std::uint64_t offset() const;
    // After next() gave false: how many bytes stand behind the last line end.
    std::size_t torn_bytes() const { return torn().size(); }
    std::string_view torn() const;
    // Reads again what follows the lines that were taken: it may have changed since.
    void forget_ahead();

private:
    struct File;
    std::unique_ptr<File> file_;
};

// The line's sequence number when it begins as our lines do; empty otherwise. Cheap: no JSON is
// parsed.
std::optional<std::uint64_t> leading_sequence(std::string_view line);

// The lines of a log from one on, over the borders of segments, while it grows. Not thread-safe.
class AuditLines {
public:
    // Nothing is read yet. `sequence` is that of the first line that next() gives.
    AuditLines(std::filesystem::path directory, std::uint64_t sequence);

    // The line with the next sequence number; false when the log ends before it. Throws
    // failed_precondition when another line stands in its place.
    bool next(std::string_view& line);
    // Of the line that next() would give.
    std::uint64_t sequence() const { return sequence_; }
    // To be called before the log is left to grow: lines that were read ahead may be cut off and
    // written anew.
    void pause();

private:
    bool open_next(const std::vector<AuditSegment>& segments);
    void open_at(const AuditSegment& segment);

    std::filesystem::path directory_;
    std::uint64_t sequence_;
    std::optional<SegmentLines> lines_;
    bool growing_ = false;
};

}  // namespace server
