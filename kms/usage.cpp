#include "kms/usage.h"

#include <algorithm>

#include "base/error.h"

namespace kms {

void UsageCounter::take(const base::Uuid& key_id, std::uint32_t version, std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[{key_id, version}];
    if (entry.left < count) {
        const Reservation more = store_.reserve_wraps(key_id, version, wrap_block);
        entry.left += more.granted;
        entry.wraps_reserved = more.total;
    }
    if (entry.left < count) {
        throw base::Error(base::ErrorCode::failed_precondition,
                          "the key version has made as many encryptions as are safe; "
                          "new data keys need a new version",
                          "key " + key_id.to_string() + "/" + std::to_string(version));
    }
    entry.left -= count;
}

void UsageCounter::note(const base::Uuid& key_id, std::uint32_t version, const Use& use) {
    const base::Time now = clock_.now();
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[{key_id, version}];
    entry.noted.wraps += use.wraps;
    entry.noted.rewrapped_away += use.rewrapped_away;
    entry.last_used_at = std::max(entry.last_used_at.value_or(now), now);
    entry.unreported = true;
}

std::vector<UsageCounter::Reported> UsageCounter::noted() const {
    std::vector<Reported> out;
    const std::lock_guard lock(mutex_);
    for (const auto& [name, entry] : entries_) {
        if (!entry.unreported) continue;
        out.push_back({{name.first, name.second, entry.noted.wraps, entry.noted.rewrapped_away,
                        *entry.last_used_at},
                       std::nullopt});
    }
    return out;
}

void UsageCounter::report() {
    const std::lock_guard one_at_a_time(report_mutex_);
    std::vector<Reported> reported = noted();
    if (reported.empty()) return;
    std::vector<UsageReport> reports;
    reports.reserve(reported.size());
    for (const auto& each : reported) reports.push_back(each.report);
    store_.add_usage(reports);
    // What the store has now, other nodes' part included. It is only for showing: what can't be
    // read is shown a little too low until the next time.
    try {
        std::optional<Key> key;
        for (auto& each : reported) {
            if (!key || key->id != each.report.key_id) key = store_.find(each.report.key_id);
            const KeyVersion* version = key ? key->find_version(each.report.version) : nullptr;
            if (version != nullptr) each.stored = *version;
        }
    } catch (const base::Error&) {
    }
    settle(reported);
}

void UsageCounter::settle(const std::vector<Reported>& reported) {
    const std::lock_guard lock(mutex_);
    for (const auto& [report, stored] : reported) {
        Entry& entry = entries_[{report.key_id, report.version}];
        entry.noted.wraps -= report.wraps;
        entry.noted.rewrapped_away -= report.rewrapped_away;
        entry.unreported = entry.noted.wraps != 0 || entry.noted.rewrapped_away != 0 ||
                           entry.last_used_at != report.last_used_at;
        if (stored) {
            entry.stored_wraps = stored->wraps_used;
            entry.stored_rewrapped_away = stored->rewrapped_away;
        }
    }
}

UsageFigures UsageCounter::figures(const base::Uuid& key_id, const KeyVersion& version) const {
    UsageFigures figures{version.wraps_reserved, version.wraps_used, version.rewrapped_away,
                         version.last_used_at};
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find({key_id, version.version});
    if (found == entries_.end()) return figures;
    const Entry& entry = found->second;
    // The store's figures only grow, so of two copies the greater is the newer.
    figures.wraps_reserved = std::max(figures.wraps_reserved, entry.wraps_reserved);
    figures.wraps_used = std::max(figures.wraps_used, entry.stored_wraps) + entry.noted.wraps;
    figures.rewrapped_away =
        std::max(figures.rewrapped_away, entry.stored_rewrapped_away) + entry.noted.rewrapped_away;
    figures.last_used_at = std::max(figures.last_used_at, entry.last_used_at);
    return figures;
}

}  // namespace kms
