// How much a caller may do: the step between "may" and "do it". A limit counts items (a batch of
// 100 counts 100) and is charged once for each operation, when the Authorizer allows the first
// action that it covers, so that no authorised operation gets past it.
//
// Quotas are reserved in the database in blocks before they are used: a crash loses what is left of
// a block and never grants more, and several nodes on one database share one quota. What can't be
// checked is refused.
//
// Rate and concurrency are counted by each node in memory. The overruns that suspend a caller are
// counted in the database, by all nodes together; each writes its own down in blocks of a sixteenth
// of what suspends. So a caller who overruns costs 16 writes of each node at most until he is
// suspended, and one who does not costs none. What nodes have not written down yet delays the
// suspension, by less than a sixteenth for each of the others; below 32 overruns it is exact. What
// is used up is asked for again once a second.
//
// A suspension, and its lifting, holds on every node within a second. Its one record stands in the
// audit log of the node that made it before the caller is told of it; until then the caller is
// refused with quota_check_failed. Where the log fails, whichever node reads of the suspension next
// tries its own, one at a time. A second record is possible only when a node is killed, or without
// the store for half a minute, between the record and the note in the store that it stands, or when
// a log that called the first one late writes it after all, as withheld.
//
// A record budget counts different records: what the operation names (a wrapped data key, a
// ciphertext, a sealed value), else resource and encryption context; as the first 64 bits of a
// SHA-256. It is exact on one node. What a crash keeps from being written down, and what two nodes
// open within one block, may count twice: refused early, never late.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/budget_store.h"
#include "server/budget_tiers.h"
#include "server/metrics.h"
#include "server/operation.h"
#include "server/throttle.h"

namespace server {

// References and pointers must outlive the budgets; pointers may be null.
struct BudgetParts {
    Database& database;
    const base::Clock& clock;
    // Takes down that a caller was suspended, durably: AuditLog::event.
    std::function<void(std::string_view, const std::map<std::string, std::string>&)> record;
    Metrics* metrics = nullptr;
    base::Log* log = nullptr;
};

struct QuotaUsage {
    std::string limit;
    std::string counted;  // "items/day", "records/month"
    Period period;
    std::uint64_t used = 0;  // by all nodes; what other nodes hold in reserve counts as used
};

// Thread-safe.
class Budgets {
public:
    Budgets(BudgetTiers tiers, BudgetParts parts);
    // Gives back what was reserved and not used, if the database still answers.
    ~Budgets();
    Budgets(const Budgets&) = delete;
    Budgets& operator=(const Budgets&) = delete;

    // Charges the caller's limits that cover `action` with the operation's work, all or none, and
    // holds its places of concurrency until the operation's end. Where a server calls for a user,
    // the user's are charged first, so that one user's overrun costs the others nothing. Throws
    // resource_exhausted with an Overrun; caller_suspended; quota_check_failed when the database
    // does not answer.
    void charge(Operation& operation, Action action, const Resource& resource,
                const std::map<std::string, std::string>& context);

    // Puts other tiers in force. What is used up stays used up.
    void replace(BudgetTiers tiers);
    // SHA-256 of the file in force, hex.
    std::string hash() const;

    // These throw unavailable.
    std::vector<QuotaUsage> usage(const std::string& caller);
    std::vector<SuspendedCaller> suspended();
    // False when the caller was not suspended. What he overran before counts on no node any more.
    bool lift(const std::string& caller);
    void check();

private:
    struct CallerState;
    struct Refusal;
    class Charge;

    void charge_to(const Caller& who, Operation& operation, Action action, const Resource& resource,
                   const std::map<std::string, std::string>& context);
    std::shared_ptr<CallerState> state_of(const std::string& caller, base::Time now);
    void refuse_suspended(const std::string& caller, base::Time now);
    [[noreturn]] void refuse(const Caller& who, Operation& operation, CallerState& state,
                             const Refusal& refusal, base::Time now);
    // One more; suspends the caller when it is one too many. Throws quota_check_failed.
    void count_overrun(const std::string& caller, const std::string& limit, CallerState& state,
                       const Suspension& rule, base::Time now);
    // Counts it, and takes what is to be written down now.
    static std::optional<NewOverruns> take_due_overruns(const std::string& caller,
                                                        const std::string& limit,
                                                        CallerState& state, const Suspension& rule,
                                                        base::Time now);
    // Reads anew who is suspended, when it is time, and gives those whose record nobody is at.
    std::vector<SuspendedCaller> read_suspended(base::Time now);
    // One that is ours to record. Throws unavailable.
    void record_suspension(const SuspendedCaller& suspended);
    void mark_recorded(const SuspendedCaller& suspended);
    // Takes it from whoever did not record it; what fails is for another time.
    void try_to_record(const SuspendedCaller& as_read, base::Time now);
    void not_recorded(const SuspendedCaller& suspended, const base::Error& error);
    BudgetTiers tiers() const;
    void count(std::string_view metric);
    static std::uint64_t unused_of(const CallerState& state, const StoredUsage& stored,
                                   Window window, bool items);

    mutable std::mutex tiers_mutex_;  // held for the copy of a pointer only
    BudgetTiers tiers_;
    BudgetParts parts_;
    BudgetStore store_;

    std::mutex states_mutex_;
    std::unordered_map<std::string, std::shared_ptr<CallerState>> states_;

    std::mutex suspended_mutex_;
    std::optional<base::Time> suspended_read_;  // when `suspended_` was read
    std::map<std::string, SuspendedCaller, std::less<>> suspended_;
    // Recorders of ours whose record stands in the log, but not yet in the store.
    std::set<std::string> unmarked_;
    Throttle lines_;
};

// Null when there is no file: then nobody has a budget. Throws as load_budgets and as
// Database::migrate.
std::unique_ptr<Budgets> open_budgets(const std::filesystem::path& file, const PolicyWords& words,
                                      BudgetParts parts);

}  // namespace server
