#include "server/audit_period.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/json.h"
#include "server/audit_record.h"
#include "server/audit_retention.h"
#include "server/audit_segments.h"

namespace server {
namespace {

constexpr std::string_view prune_mark = "\"action\":\"audit_prune\"";

// The "time" of a line that begins as ours do; empty otherwise. Cheap: no JSON is parsed.
std::optional<base::Time> leading_time(std::string_view line) {
    constexpr std::string_view mark = ",\"time\":\"";
    constexpr std::size_t longest_number = 40;
    const std::size_t begin = line.substr(0, longest_number).find(mark);
    if (begin == std::string_view::npos) return std::nullopt;
    line.remove_prefix(begin + mark.size());
    return base::parse_rfc3339(line.substr(0, line.find('"')));
}

}  // namespace

std::uint64_t pruned_through(std::string_view line) {
    if (line.find(prune_mark) == std::string_view::npos) return 0;
    try {
        base::JsonLimits limits;
        limits.bytes = line.size();
        const base::JsonValue record = base::parse_json(line, limits);
        const base::JsonValue* action = record.find("action");
        const base::JsonValue* facts = record.find("facts");
        const base::JsonValue* through = facts == nullptr ? nullptr : facts->find("through");
        if (action == nullptr || action->string() == nullptr || *action->string() != prune_action ||
            through == nullptr || through->string() == nullptr) {
            return 0;
        }
        return std::stoull(std::string(*through->string()));
    } catch (const std::exception&) {
        return 0;
    }
}

PeriodWatch::PeriodWatch(const AuditPeriod& period, TileReader& tiles, std::uint64_t covered)
    : period_(period),
      tiles_(tiles),
      covered_(covered),
      first_(std::max<std::uint64_t>(1, period.first)) {}

void PeriodWatch::line(std::string_view text) {
    const std::uint64_t number = leading_sequence(text).value_or(0);
    if (begin_ == 0) begin_ = next_ = std::max<std::uint64_t>(1, number);
    if (!is_good(number, text)) return note_bad(next_ + 1);
    if (number != next_) note_bad(number);
    ends_badly_ = false;
    next_ = number + 1;
    pruned_through_ = std::max(pruned_through_, pruned_through(text));
    place(number, text);
}

void PeriodWatch::end() {
    // Nothing behind the last checkpoint follows from a record that is not proven.
    if (ends_badly_ && next_ > covered_) bad_.back().end = UINT64_MAX;
    if (first_ >= begin_) return;
    // What is missing at the front was removed by retention, or by somebody else.
    if (pruned_through_ + 1 < begin_) {
        bad_.insert(bad_.begin(), {first_, begin_});
    } else {
        first_ = begin_;
    }
}

bool PeriodWatch::is_good(std::uint64_t number, std::string_view text) {
    if (number < next_) return false;
    const MerkleHash leaf = hasher_.leaf(text);
    // Behind the last checkpoint there is the chain alone.
    const bool good =
        number <= covered_
            ? tiles_.leaf(number - 1) == leaf
            : number == next_ && (before_.empty() ? number == 1 : follows(text, before_));
    if (good && number >= covered_) before_ = base::to_hex(leaf);
    return good;
}

void PeriodWatch::note_bad(std::uint64_t end) {
    ends_badly_ = true;
    if (bad_.empty() || bad_.back().first != next_) bad_.push_back({next_, end});
    bad_.back().end = std::max(bad_.back().end, end);
}

// The period is as wide as the good records in it are, also when the clock was set back meanwhile.
void PeriodWatch::place(std::uint64_t number, std::string_view text) {
    if (period_.last != 0 && number == period_.last + 1) end_ = number;
    if (!period_.from && !period_.before) return;
    const auto time = leading_time(text);
    if (!time) return;
    begun_ = begun_ || !period_.from || *time >= *period_.from;
    if (!begun_) first_ = std::max(first_, number + 1);
    if (!period_.before) return;
    if (*time < *period_.before) {
        end_ = 0;
    } else if (end_ == 0) {
        end_ = number;
    }
}

std::uint64_t PeriodWatch::last() const {
    std::uint64_t end = end_ == 0 ? next_ : end_;
    if (period_.last != 0) end = std::min(end, period_.last + 1);
    return std::max(end, first_) - 1;
}

std::uint64_t PeriodWatch::first_bad() const {
    for (const Range& bad : bad_) {
        const std::uint64_t first = std::max(bad.first, first_);
        if (first < bad.end && (end_ == 0 || first < end_) &&
            (period_.last == 0 || first <= period_.last)) {
            return first;
        }
    }
    return 0;
}

bool PeriodWatch::cut_off() const {
    if (end_ != 0) return false;
    const bool covers_more = next_ <= covered_ && (period_.last == 0 || next_ <= period_.last);
    return covers_more || period_.first >= next_;
}

}  // namespace server
