// A part of an audit log, by number or by time, and the judgement of its records one by one, for
// which the tiles must say what each is. The whole log is server/audit_verify.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/merkle.h"
#include "server/tiles.h"

namespace server {

// Which records are to be judged: by number or by time; nothing given: all of them. The period goes
// from behind the last good record before it up to the first good one after it, so that a record
// whose time was changed is in it. What was done to other records does not matter then, as long as
// the tiles lead to the checkpoints; without them the whole log is judged.
struct AuditPeriod {
    std::uint64_t first = 0;           // 0: from the beginning
    std::uint64_t last = 0;            // including; 0: to the end
    std::optional<base::Time> from;    // including
    std::optional<base::Time> before;  // excluding
    bool all() const { return first == 0 && last == 0 && !from && !before; }
};

// Compares each line with what the tiles say of it, and notes where the period begins and ends. Not
// thread-safe.
class PeriodWatch {
public:
    // The tiles must lead to a checkpoint of `covered` records. References must outlive it.
    PeriodWatch(const AuditPeriod& period, TileReader& tiles, std::uint64_t covered);

    // All lines of the log that are there, in order.
    void line(std::string_view text);
    // What comes next can't be read.
    void unreadable() { note_bad(next_ + 1); }
    // After the last one.
    void end();

    // The period, as sequence numbers; `last` is one less than `first` when there is none in it.
    std::uint64_t first() const { return first_; }
    std::uint64_t last() const;
    // The first record of the period that is not the one that it must be, or not in its place; 0:
    // none.
    std::uint64_t first_bad() const;
    // Whether the log ends within the period, before a record that is covered, or before the first
    // number that was asked for; and before which.
    bool cut_off() const;
    std::uint64_t next() const { return next_; }

private:
    bool is_good(std::uint64_t number, std::string_view text);
    // What is there from next_ up to `end`, which is not in it, is not what it must be.
    void note_bad(std::uint64_t end);
    void place(std::uint64_t number, std::string_view text);

    const AuditPeriod& period_;
    TileReader& tiles_;
    std::uint64_t covered_;
    MerkleHasher hasher_;
    std::uint64_t first_;
    bool begun_ = false;       // a record of the period or one behind its beginning was seen
    std::uint64_t end_ = 0;    // the first behind the period; 0: not reached
    std::uint64_t begin_ = 0;  // the number of the first line
    std::uint64_t next_ = 1;   // the number that the next line should have
    std::uint64_t pruned_through_ = 0;
    std::string before_;
    struct Range {
        std::uint64_t first;
        std::uint64_t end;  // behind its last
    };
    std::vector<Range> bad_;
    bool ends_badly_ = false;  // the last line that was seen is not good
};

// Up to where retention removed records, when the line is the record that says so; else 0.
std::uint64_t pruned_through(std::string_view line);

}  // namespace server
