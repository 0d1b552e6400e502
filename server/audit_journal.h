// The journal before the audit log's growing segment. A file that is overwritten in place is synced
// in about half the time of one that grows: nothing of the file but its bytes has to be written. So
// lines go into the segment without a sync and into this journal with one; now and then the segment
// itself is synced and the journal begins anew. What lines say, and the segment, are not known
// here.
//
//   0   8  magic "SRjrnl", 0, format version 1
//   8   8  sequence number of the segment's first line, big endian (all numbers)
//  16   8  where in the segment the lines begin, in bytes
//  24   8  their length n in bytes
//  32   n  the lines
//  +   32  SHA-256 of everything before
//
// Frames follow one another from the file's begin. Those that are left of an earlier round don't
// begin where the frame before them ends, so that reading stops there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "server/digest.h"

namespace server {

// Not thread-safe.
class AuditJournal {
public:
    // As much as a sync of the segment writes at a time, so bounded: it takes some milliseconds.
    static constexpr std::uint64_t capacity_bytes = 2UL * 1024 * 1024;

    // `file` belongs to the caller, is readable and writable, and must outlive this.
    explicit AuditJournal(const int& file) : file_(file) {}

    struct Kept {
        std::uint64_t segment = 0;
        std::uint64_t offset = 0;
        std::string lines;
    };
    // The lines since the journal last began, as one piece; empty when it holds none. Throws
    // unavailable when it can't be read.
    std::optional<Kept> read();

    // Whether the journal has room for so many bytes of lines more.
    bool has_room_for(std::uint64_t bytes) const;
    bool is_empty() const { return end_ == 0; }

    // Returns when the lines are on stable storage. Throws unavailable when they are not; then the
    // next frame takes their place.
    void add(std::uint64_t segment, std::uint64_t offset, std::string_view lines);

    // The next frame is the first. What is there stays readable until then.
    void begin_anew() { end_ = 0; }
    // The same, and durably so: read() finds nothing. Throws unavailable.
    void clear();

private:
    const int& file_;
    std::uint64_t end_ = 0;
    std::string frame_;
    Sha256 sha256_;
};

}  // namespace server
