// The journal before the audit log's growing segment. A file that is overwritten in place is synced
// sooner than one that grows: nothing of the file but its bytes has to be written. So
// lines go into the segment without a sync and into this journal with one; now and then the segment
// itself is synced and the journal begins anew. What lines say, and the segment, are not known
// here.
//
//   0   8  magic "SRjrnl", 0, format version 1
//   8  16  which run of the machine it was written in (boot id), zeros if that is not known
//  24   8  sequence number of the segment's first line, big endian (all numbers)
//  32   8  where in the segment the lines begin, in bytes
//  40   8  their length n in bytes
//  48   n  the lines
//  +   32  SHA-256 of everything before
//
// Frames follow one another from the file's begin. Behind the last there are zeros to the end of
// its block. One of an earlier round that begins right there goes on elsewhere in the segment. So
// reading stops there.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.h"
#include "server/digest.h"

namespace server {

inline constexpr std::string_view journal_name = "audit.journal";

// Not thread-safe.
class AuditJournal {
public:
    // As much as a sync of the segment writes at a time, so bounded: it takes some milliseconds.
    static constexpr std::uint64_t capacity_bytes = 2UL * 1024 * 1024;
    // Whole blocks are written, around the page cache where the file system lets it (O_DIRECT).
    static constexpr std::uint64_t block_bytes = 4096;

    // `file` belongs to the caller, is readable and writable, and must outlive this.
    AuditJournal(const int& file, const base::Uuid& boot) : file_(file), boot_(boot) {}

    struct Kept {
        base::Uuid boot;  // of the last frame
        std::uint64_t segment = 0;
        std::uint64_t offset = 0;
        std::string lines;
    };
    // The lines since the journal last began, as one piece; empty when it holds none. Throws
    // unavailable when it can't be read.
    std::optional<Kept> read() const { return read(capacity_bytes); }
    // Of these only what this object has added.
    std::optional<Kept> read_own() const { return read(end_); }

    // Whether the journal has room for so many bytes of lines more.
    bool has_room_for(std::uint64_t bytes) const;

    // Returns when the lines are on stable storage. Throws unavailable when they are not; then the
    // next frame takes their place.
    void add(std::uint64_t segment, std::uint64_t offset, std::string_view lines);

    // The next frame is the first. What is there stays readable until then.
    void begin_anew() { end_ = 0; }
    // The same, and durably so: read() finds nothing, and nothing of what was there is left, since
    // the segment it belongs to may go by retention. Throws unavailable.
    void clear();

private:
    struct alignas(block_bytes) Block : std::array<char, block_bytes> {};
    static_assert(sizeof(Block) == block_bytes);  // one stands right behind the other

    std::optional<Kept> read(std::uint64_t up_to) const;
    void write_blocks(std::uint64_t at);

    const int& file_;
    const base::Uuid boot_;
    std::uint64_t end_ = 0;
    std::string frame_;
    std::vector<Block> blocks_;  // to be written; the first begins with what is before end_ in it
    mutable bool is_prepared_ = false;  // the file is open for such writes, where it can be
    mutable Sha256 sha256_;
};

}  // namespace server
