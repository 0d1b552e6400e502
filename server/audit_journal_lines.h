// The records that audit.journal (server/audit_journal.h) holds, for those who read a log's files
// without its daemon. After the machine has crashed the last records may stand there alone: they
// are durable, and the daemon's next start puts them back into audit.jsonl. Reading only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace server {

// To be made before the segments are read: a line is in its segment before it is in the journal.
// Not thread-safe.
class JournalLines {
public:
    // No lines where there is no journal. Throws unavailable naming the file when it can't be read.
    explicit JournalLines(const std::filesystem::path& directory);
    JournalLines(const JournalLines&) = delete;
    JournalLines& operator=(const JournalLines&) = delete;

    using Lines = std::map<std::uint64_t, std::string_view>;
    // By sequence number, without line ends.
    const Lines& all() const { return lines_; }

    // For each line of the segments, in order. False when the line of the growing one has a hole,
    // as a power failure leaves it where blocks were lost: nothing behind it counts, since the
    // journal has what was acknowledged.
    bool watch(std::string_view line, bool is_growing);
    // Those behind all lines that were watched.
    Lines::const_iterator begin_of_rest() const { return lines_.upper_bound(last_); }
    // The first line behind `covered` that the segments have otherwise than the journal; 0: none.
    std::uint64_t first_other_behind(std::uint64_t covered) const;
    // Before the segments are read once more.
    void watch_anew();

private:
    std::string text_;
    Lines lines_;
    std::uint64_t last_ = 0;
    Lines others_;  // as the journal has them
};

}  // namespace server
