#include "server/audit_verify.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "server/audit_journal_lines.h"
#include "server/audit_period.h"
#include "server/audit_record.h"
#include "server/audit_retention.h"
#include "server/audit_segments.h"
#include "server/checkpoint_file.h"
#include "server/tiles.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using Roots = std::map<std::uint64_t, MerkleHash>;  // by the size of the tree

constexpr std::uint64_t progress_every = 8192;

std::string whole_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!in) throw Error(ErrorCode::unavailable, "the file " + path.string() + " can't be read");
    return text;
}

// A tree that notes which of the expected roots it had on its way.
class WitnessedTree {
public:
    explicit WitnessedTree(const Roots& expected) : next_(expected.begin()), end_(expected.end()) {
        note();
    }
    void append(const MerkleHash& leaf) {
        tree_.append(leaf);
        note();
    }
    std::uint64_t size() const { return tree_.size(); }
    bool had(std::uint64_t size) const { return matched_.count(size) == 1; }
    // The largest size whose root was the expected one; 0 when there is none.
    std::uint64_t good() const { return matched_.empty() ? 0 : *matched_.rbegin(); }
    // The first size up to `until` whose root was another one.
    std::optional<std::uint64_t> first_mismatch(const Roots& expected, std::uint64_t until) const {
        for (const auto& [size, root] : expected) {
            if (size <= until && !had(size)) return size;
        }
        return std::nullopt;
    }
    MerkleHasher& hasher() { return tree_.hasher(); }

private:
    void note() {
        if (next_ == end_ || next_->first != tree_.size()) return;
        if (tree_.root() == next_->second) matched_.insert(next_->first);
        ++next_;
    }
    MerkleTree tree_;
    Roots::const_iterator next_;
    Roots::const_iterator end_;
    std::set<std::uint64_t> matched_;
};

// Watches whether each line has its number and follows from the one before it. When a line does not
// follow, it or the one before was changed: the next one, which names this one's hash, tells which.
class ChainWatch {
public:
    // Faults before the leaf `from` are not looked for.
    explicit ChainWatch(std::uint64_t from) : from_(from) {}

    void line(std::uint64_t index, std::string_view text, const std::string& before) {
        if (first_bad_ != 0 && !undecided_) return;
        const bool in_line = follows(text, before);
        if (undecided_) {
            undecided_ = false;
            if (!in_line) ++first_bad_;  // it was the line that did not follow
            return;
        }
        if (index < from_) return;
        if (leading_sequence(text) != index + 1) {
            first_bad_ = index + 1;
        } else if (!in_line) {
            first_bad_ = std::max<std::uint64_t>(index, 1);
            undecided_ = index > 0;
        }
    }
    std::uint64_t first_bad() const { return first_bad_; }

private:
    std::uint64_t from_;
    std::uint64_t first_bad_ = 0;  // a sequence number; 0: none
    bool undecided_ = false;
};

// The lines of all segments, in order, and behind them those that only the journal has.
class WholeLog {
public:
    WholeLog(const std::filesystem::path& directory,
             std::function<void(std::uint64_t, std::uint64_t)> progress)
        : journal_(directory),
          segments_(audit_segments(directory)),
          progress_(std::move(progress)) {
        for (const AuditSegment& segment : segments_) {
            std::error_code ignored;  // for the progress only
            total_ += std::filesystem::file_size(segment.path, ignored);
        }
    }

    // Gives every line to `take` until that says false. What stands behind the last line end is
    // torn in the file that grows and a line in any other.
    void each(const std::function<bool(std::string_view)>& take) {
        std::uint64_t before = 0;
        std::uint64_t lines = 0;
        torn_ = journal_only_ = 0;
        journal_.watch_anew();
        for (const AuditSegment& segment : segments_) {
            SegmentLines file(segment);
            std::string_view line;
            while (file.next(line)) {
                if (!journal_.watch(line, segment.first == 0)) break;  // the journal goes on
                if (!take(line)) return;
                if (progress_ && ++lines % progress_every == 0) {
                    progress_(before + file.offset(), total_);
                }
            }
            if (file.torn_bytes() > 0 && segment.first != 0) {
                journal_.watch(file.torn(), false);
                if (!take(file.torn())) return;
            } else {
                torn_ = file.torn_bytes();
            }
            before += file.offset();
        }
        const auto end = journal_.all().end();
        for (auto rest = journal_.begin_of_rest(); rest != end; ++rest) {
            if (!take(rest->second)) return;
            ++journal_only_;
        }
        if (progress_) progress_(total_, total_);
    }
    std::uint64_t torn_bytes() const { return torn_; }
    std::uint64_t journal_only() const { return journal_only_; }
    const JournalLines& journal() const { return journal_; }

private:
    JournalLines journal_;  // read before the segments
    std::vector<AuditSegment> segments_;
    std::function<void(std::uint64_t, std::uint64_t)> progress_;
    std::uint64_t total_ = 0;
    std::uint64_t torn_ = 0;
    std::uint64_t journal_only_ = 0;
};

class Verifier {
public:
    explicit Verifier(const AuditVerification& what)
        : what_(what), log_(what.directory, what.progress) {}

    AuditFinding run() {
        if (!read_checkpoints()) return finding_;
        if (!what_.period.all() && judge_period()) return finding_;
        seed_pruned();
        WitnessedTree tree(roots_);
        ChainWatch all(0);
        ChainWatch uncovered(finding_.last.size);
        read_log(tree, all, uncovered);
        if (tree.had(finding_.last.size)) {
            judge_good_log(tree, uncovered);
        } else {
            judge_bad_log(tree, all);
        }
        const std::uint64_t there = finding_.pruned + finding_.records;
        if (finding_.verdict == AuditVerdict::clean && what_.period.first > there) {
            conclude_cut(there + 1);
        }
        return finding_;
    }

private:
    bool conclude(AuditVerdict verdict, std::uint64_t first_bad, std::string reason) {
        finding_.verdict = verdict;
        finding_.first_bad = first_bad;
        finding_.reason = std::move(reason);
        return false;
    }

    // False when they already decide.
    bool read_checkpoints() {
        std::vector<std::string> notes;
        const auto history = what_.directory / checkpoint_history;
        const auto latest = what_.directory / latest_checkpoint;
        if (std::filesystem::exists(history)) {
            notes = split_notes(whole_file(history)).notes;
        }
        if (std::filesystem::exists(latest)) {
            const std::string note = whole_file(latest);
            if (notes.empty() || notes.back() != note) notes.push_back(note);
        }
        notes.insert(notes.end(), what_.trusted.begin(), what_.trusted.end());
        if (notes.empty()) {
            return conclude(AuditVerdict::inconsistent, 0, "there is no checkpoint");
        }
        return std::all_of(notes.begin(), notes.end(),
                           [this](const std::string& note) { return add(note); });
    }

    bool add(const std::string& note) {
        Checkpoint checkpoint;
        try {
            checkpoint = open_checkpoint(note, what_.key);
        } catch (const Error& error) {
            return conclude(
                AuditVerdict::inconsistent, 0,
                "checkpoint " + std::to_string(finding_.checkpoints + 1) + ": " + error.message());
        }
        if (finding_.checkpoints > 0 && checkpoint.origin != finding_.last.origin) {
            return conclude(AuditVerdict::inconsistent, 0,
                            "there are checkpoints of two logs: " + finding_.last.origin + " and " +
                                checkpoint.origin);
        }
        const auto [place, fresh] = roots_.emplace(checkpoint.size, checkpoint.root);
        if (!fresh && place->second != checkpoint.root) {
            return conclude(AuditVerdict::inconsistent, 0,
                            "there are two different checkpoints of " +
                                std::to_string(checkpoint.size) + " records");
        }
        ++finding_.checkpoints;
        if (checkpoint.size >= finding_.last.size) finding_.last = checkpoint;
        finding_.covered = finding_.last.size;
        return true;
    }

    // When the first line is not the first record: the hashes of those before it, if there are
    // tiles.
    void seed_pruned() {
        std::uint64_t first = 1;
        log_.each([&first](std::string_view line) {
            first = leading_sequence(line).value_or(1);
            return false;
        });
        if (first == 1 || first - 1 > finding_.last.size) return;
        try {
            TileReader tiles(what_.directory, finding_.last.size);
            for (std::uint64_t i = 0; i + 1 < first; ++i) seed_.push_back(tiles.leaf(i));
        } catch (const Error&) {
            seed_.clear();
        }
    }

    void read_log(WitnessedTree& tree, ChainWatch& all, ChainWatch& uncovered) {
        std::string before = first_previous();
        for (const MerkleHash& leaf : seed_) {
            tree.append(leaf);
            before = base::to_hex(leaf);
        }
        try {
            log_.each([&](std::string_view line) {
                const std::uint64_t index = tree.size();
                all.line(index, line, before);
                uncovered.line(index, line, before);
                if (!seed_.empty()) prune_stated_ = std::max(prune_stated_, pruned_through(line));
                const MerkleHash leaf = tree.hasher().leaf(line);
                tree.append(leaf);
                before = base::to_hex(leaf);
                return true;
            });
        } catch (const Error& error) {
            if (error.code() != ErrorCode::integrity_failure) throw;
            unreadable_ = error.message();
        }
        finding_.records = tree.size() - seed_.size();
        note_tail();
    }

    void note_tail() {
        finding_.torn_bytes = log_.torn_bytes();
        finding_.journal_only = log_.journal_only();
    }

    // Behind the checkpoints, from record `first` on; 0: none.
    std::uint64_t other_than_journal(std::uint64_t first) const {
        return log_.journal().first_other_behind(std::max(finding_.last.size, first - 1));
    }

    void conclude_other(std::uint64_t other) {
        conclude(AuditVerdict::tampered, other,
                 "the record is not the one that audit.journal has in its place");
    }

    bool pruning_is_stated() const { return seed_.empty() || prune_stated_ >= seed_.size(); }

    // The records lead to the last checkpoint.
    void judge_good_log(const WitnessedTree& tree, const ChainWatch& uncovered) {
        if (const auto other = tree.first_mismatch(roots_, finding_.last.size)) {
            conclude_fork(*other);
        } else if (!pruning_is_stated()) {
            conclude(
                AuditVerdict::tampered, 1,
                "the first records are missing, and no record says that retention removed them");
        } else if (!unreadable_.empty()) {
            conclude(AuditVerdict::tampered, tree.size() + 1, unreadable_);
        } else if (uncovered.first_bad() != 0) {
            conclude(AuditVerdict::tampered,
                     std::max(uncovered.first_bad(), finding_.last.size + 1),
                     "a record behind the last checkpoint does not follow from the one before it");
        } else if (const std::uint64_t differing = other_than_journal(1)) {
            conclude_other(differing);
        } else {
            finding_.pruned = seed_.size();
        }
    }

    void conclude_fork(std::uint64_t size) {
        conclude(AuditVerdict::inconsistent, 0,
                 "the checkpoint of " + std::to_string(size) + " records and the last one, of " +
                     std::to_string(finding_.last.size) + ", are of two different logs");
    }

    // They don't. If the tiles do, they say what each record should be.
    void judge_bad_log(const WitnessedTree& tree, const ChainWatch& all) {
        if (judge_by_tiles()) return;
        const std::uint64_t there = tree.size();
        const std::uint64_t good = tree.good();
        const bool mismatch = tree.first_mismatch(roots_, there).has_value();
        if (!mismatch && all.first_bad() == 0 && unreadable_.empty() && pruning_is_stated()) {
            conclude_cut(there + 1);
        } else {
            const std::uint64_t chained = pruning_is_stated() ? all.first_bad() : 1;
            conclude(AuditVerdict::tampered, std::max(chained, good + 1),
                     "the records are not those that the checkpoints cover; up to record " +
                         std::to_string(good) + " they are");
        }
    }

    void conclude_cut(std::uint64_t first_missing) {
        conclude(AuditVerdict::cut_off, first_missing,
                 first_missing > finding_.last.size
                     ? "the log ends before record " + std::to_string(first_missing) +
                           ": the period that was asked for begins behind it"
                     : "records are missing at the end: the last checkpoint covers " +
                           std::to_string(finding_.last.size));
    }

    enum class Tiles { missing, forked, good };

    // Whether the tiles lead to the checkpoints; concludes when those are of two logs.
    Tiles judge_tiles(TileReader& tiles) {
        WitnessedTree told(roots_);
        try {
            for (std::uint64_t i = 0; i < finding_.last.size; ++i) told.append(tiles.leaf(i));
        } catch (const Error&) {
            return Tiles::missing;
        }
        if (!told.had(finding_.last.size)) return Tiles::missing;
        if (const auto other = told.first_mismatch(roots_, finding_.last.size)) {
            conclude_fork(*other);
            return Tiles::forked;
        }
        return Tiles::good;
    }

    // False when the tiles do not lead to the checkpoints: then only the whole log can be judged.
    bool judge_period() {
        TileReader tiles(what_.directory, finding_.last.size);
        const Tiles told = judge_tiles(tiles);
        if (told != Tiles::good) return told == Tiles::forked;
        PeriodWatch watch(what_.period, tiles, finding_.last.size);
        try {
            log_.each([&](std::string_view line) {
                watch.line(line);
                return true;
            });
        } catch (const Error& error) {
            if (error.code() != ErrorCode::integrity_failure) throw;
            watch.unreadable();
        }
        watch.end();
        note_tail();
        finding_.period_first = watch.first();
        finding_.period_last = watch.last();
        finding_.records = watch.last() + 1 - watch.first();
        if (const std::uint64_t bad = watch.first_bad()) {
            conclude(AuditVerdict::tampered, bad,
                     "the record is not the one that the checkpoints cover, or not in its place");
        } else if (const std::uint64_t other = other_than_journal(watch.first());
                   other != 0 && other <= watch.last()) {
            conclude_other(other);
        } else if (watch.cut_off()) {
            conclude_cut(watch.next());
        }
        return true;
    }

    // False when the tiles do not lead to the last checkpoint either.
    bool judge_by_tiles() {
        TileReader tiles(what_.directory, finding_.last.size);
        const Tiles told = judge_tiles(tiles);
        if (told != Tiles::good) return told == Tiles::forked;
        std::uint64_t index = pruning_is_stated() ? seed_.size() : 0;
        MerkleHasher hasher;
        const auto same = [&](std::string_view line) {
            if (index == finding_.last.size || hasher.leaf(line) != tiles.leaf(index)) return false;
            ++index;
            return true;
        };
        bool different = false;
        try {
            log_.each([&](std::string_view line) {
                different = !same(line);
                return !different;
            });
        } catch (const Error& error) {
            if (error.code() != ErrorCode::integrity_failure) throw;
            different = true;  // a file that is damaged is no end of the log
        }
        if (!different) {
            conclude_cut(index + 1);
        } else {
            conclude(AuditVerdict::tampered, index + 1,
                     unreadable_.empty() ? "the record is not the one that the checkpoints cover"
                                         : unreadable_);
        }
        return true;
    }

    const AuditVerification& what_;
    WholeLog log_;
    AuditFinding finding_;
    Roots roots_;
    std::vector<MerkleHash> seed_;  // leaves of records that are gone
    std::uint64_t prune_stated_ = 0;
    std::string unreadable_;  // why lines after the last one read can't be
};

std::vector<std::filesystem::path> segment_paths(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> paths;
    for (AuditSegment& segment : audit_segments(directory))
        paths.push_back(std::move(segment.path));
    return paths;
}

}  // namespace

std::string_view to_string(AuditVerdict verdict) noexcept {
    switch (verdict) {
        case AuditVerdict::clean:
            return "clean";
        case AuditVerdict::tampered:
            return "tampered";
        case AuditVerdict::inconsistent:
            return "inconsistent";
        case AuditVerdict::cut_off:
            return "cut_off";
    }
    return "unknown";
}

// A log that is written to may close, compress or remove a segment under the reader's hands: then
// it is read again.
AuditFinding verify_audit_log(const AuditVerification& what) {
    constexpr int most_tries = 3;
    AuditFinding finding;
    for (int i = 1;; ++i) {
        const auto before = segment_paths(what.directory);
        const auto settled = [&] { return segment_paths(what.directory) == before; };
        try {
            finding = Verifier(what).run();
            if (finding.verdict == AuditVerdict::clean || i == most_tries || settled()) break;
        } catch (const Error&) {  // a file that went while it was to be read
            if (i == most_tries || settled()) throw;
        }
    }
    return finding;
}

}  // namespace server
