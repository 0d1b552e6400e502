// Counts the encryptions of each key version, so that none makes more than is safe with random IVs
// (NIST SP 800-38D 8.3), and keeps the figures of use that people see. Numbers are reserved in the
// store in blocks before they are used: a crash loses what is left of a block and never counts too
// few. The figures are written now and then: a crash loses the newest.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "kms/store.h"

namespace kms {

inline constexpr std::uint64_t wrap_block = 65'536;

// What was just done under a key version.
struct Use {
    std::uint64_t wraps = 0;  // data keys and ciphertexts that left
    // Of those, moved to another key or version by a rewrap. The caller may keep the old one, or
    // ask twice for the same: a figure for people, no proof that nothing is left.
    std::uint64_t rewrapped_away = 0;
};

// A version's figures, the newest that this node knows.
struct UsageFigures {
    std::uint64_t wraps_reserved = 0;
    std::uint64_t wraps_used = 0;
    std::uint64_t rewrapped_away = 0;
    std::optional<base::Time> last_used_at;
};

// Thread-safe. `store` and `clock` must outlive it.
class UsageCounter {
public:
    UsageCounter(Store& store, const base::Clock& clock) : store_(store), clock_(clock) {}

    // Counts `count` encryptions (at most wrap_block) that are about to happen. Throws
    // failed_precondition when the version has no more, and what Store::reserve_wraps throws.
    void take(const base::Uuid& key_id, std::uint32_t version, std::uint64_t count);

    // The version was used, and when: now. Never throws for the store.
    void note(const base::Uuid& key_id, std::uint32_t version, const Use& use = {});

    // Writes what was noted since the last time. Throws what the store throws; nothing is lost
    // then, and nothing is counted twice.
    void report();

    // `version` as it was loaded gives what the store knew then.
    UsageFigures figures(const base::Uuid& key_id, const KeyVersion& version) const;

private:
    struct Entry {
        std::uint64_t left = 0;            // of the block that is in use
        std::uint64_t wraps_reserved = 0;  // 0: not reserved by this node yet
        Use noted;                         // and not reported yet
        std::optional<base::Time> last_used_at;
        bool unreported = false;
        // What the store said after the last report.
        std::uint64_t stored_wraps = 0;
        std::uint64_t stored_rewrapped_away = 0;
    };
    struct Reported {
        UsageReport report;
        std::optional<KeyVersion> stored;  // afterwards; empty when it could not be read
    };

    std::vector<Reported> noted() const;
    void settle(const std::vector<Reported>& reported);

    Store& store_;
    const base::Clock& clock_;
    std::mutex report_mutex_;  // one report at a time
    mutable std::mutex mutex_;
    std::map<std::pair<base::Uuid, std::uint32_t>, Entry> entries_;
};

}  // namespace kms
