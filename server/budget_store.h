// What budgets keep: how much of each quota is used, which records were opened, who is suspended.
// SQL on the daemon's database; several nodes may share one. What it all means is server/budget.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/budget_period.h"
#include "server/budget_tiers.h"

namespace server {

class Database;

// One counter of one caller.
struct CounterName {
    std::string caller;
    std::string limit;    // a Limit's id
    std::string counted;  // "items/day", "records/month"
};

struct BudgetReservation {
    std::uint64_t granted = 0;
    std::uint64_t used = 0;  // of the period, by all nodes, what was just granted included
    base::Time begin;        // of the period that it is from
};

struct SuspendedCaller {
    std::string caller;
    base::Time since;
    std::string limit;  // the one that was overrun
    std::uint64_t overruns = 0;
    bool recorded = false;  // stands in an audit log
    // Until then: who may record it, a name for each attempt, and since when; empty: nobody yet.
    std::string recorder;
    base::Time claimed{};
};

// What one node has counted of a caller's overruns since it last wrote any down.
struct NewOverruns {
    std::string caller;
    std::string limit;  // of the last one
    std::uint64_t count = 0;
    base::Time first;
    base::Time last;
    base::Time lift{};  // the caller's last one that the node knew of when the first was; or none
};

struct CountedOverruns {
    std::uint64_t overruns = 0;  // by all nodes; none when the caller is suspended
    base::Time since;            // when the first of them was
    enum class Suspended {
        no,
        now,     // by these overruns
        before,  // already
    } suspended = Suspended::no;
    base::Time lift{};  // the caller's last one; or none
};

struct StoredUsage {
    std::string limit;
    std::string counted;
    base::Time begin;
    std::uint64_t used = 0;
};

// Thread-safe. The database must outlive it. Every function throws unavailable.
class BudgetStore {
public:
    // Brings its tables up to date: see Database::migrate.
    explicit BudgetStore(Database& database);

    // Takes `wanted` or, when there are fewer, what is left of `limit` in the period. The stored
    // period only moves forward, so that a clock that is behind uses up the newest one; one that
    // lies more than a period ahead was a clock's mistake: it is taken back and what was used
    // stays. `opened` are records to write down in the same transaction.
    BudgetReservation reserve(const CounterName& name, const Period& period, std::uint64_t wanted,
                              std::uint64_t limit, std::span<const std::int64_t> opened = {});
    // Gives back what was reserved and not used, when the period is still the same.
    void give_back(const CounterName& name, base::Time begin, std::uint64_t unused,
                   std::span<const std::int64_t> opened = {});
    // The records of a period that were written down.
    std::vector<std::int64_t> records(const CounterName& name, base::Time begin);
    // Those of `wanted` among them.
    std::vector<std::int64_t> known_records(const CounterName& name, base::Time begin,
                                            std::span<const std::int64_t> wanted);
    // Whether other nodes may write records, too.
    bool is_shared() const;

    // Adds them to those of the caller that began within `rule.within`, and suspends him in the
    // same moment when they are `rule.overruns`; the suspension is then `recorder`'s to record. Of
    // those that began before the caller's last suspension was lifted only the last one counts.
    // They did not when the node knew of that lift; else the clock says whether, so that one which
    // was set back costs a node no more than its first block.
    CountedOverruns count_overruns(const NewOverruns& overruns, const Suspension& rule,
                                   const std::string& recorder);
    // Makes it another's to record, as an attempt of its own. False, changing nothing, when it is
    // no longer as it was read: somebody was faster.
    bool claim_recording(const SuspendedCaller& as_read, const std::string& recorder,
                         base::Time now);
    // By the recorder; nothing when it is not his any more.
    void mark_recorded(const std::string& caller, const std::string& recorder);
    void give_up_recording(const std::string& caller, const std::string& recorder);
    // Empty when the caller was not suspended. Overruns before `now` count no more, on any node.
    // Gives the time that this lift is known by, which is not that of the one before it.
    std::optional<base::Time> lift(const std::string& caller, base::Time now);
    std::vector<SuspendedCaller> suspended();
    std::vector<StoredUsage> usage(const std::string& caller);

private:
    Database& database_;
};

}  // namespace server
