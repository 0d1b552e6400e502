// Where rewrap jobs stand, and the rows that they move: what workers of several vaultd share. Each
// step is one transaction, so a job goes on where it was after any crash. One suite of contract
// tests for all databases (tests/vault/rewrap_*contract.h). No SQL may appear here.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "vault/rewrap_job.h"

namespace vault {

inline constexpr std::size_t max_piece_records = 500;
inline constexpr std::size_t max_piece_bytes = 2UL * 1024 * 1024;  // of sealed texts
// Longer than a piece can take with every deadline on its way.
inline constexpr std::chrono::seconds rewrap_lease{30};
// What failed is tried so often in all.
inline constexpr std::uint32_t rewrap_passes = 3;

struct NewRewrapJob {
    MasterKeyVersion target;
    std::uint64_t per_second = 0;
    std::string created_by;
    base::Time now;
};

// What there is to do for a worker.
struct NothingToRewrap {};  // no job is under way
struct RewrapLater {        // others are at it, or the rate asks for patience
    std::chrono::milliseconds wait{0};
};
using RewrapTask = std::variant<NothingToRewrap, RewrapLater, RewrapLease>;

struct RewrapJobPage {
    std::vector<RewrapJob> jobs;  // newest first
    bool more = false;
};

struct RewrapFailurePage {
    std::vector<RewrapFailure> failures;  // by place
    std::optional<RewrapPlace> next;      // where the next page begins; empty: there is none
};

// Every change is durable and whole when its function returns. Implementations are safe to share
// between threads and, where the database is, between processes. Every function may throw
// unavailable.
class RewrapStore {
public:
    virtual ~RewrapStore() = default;

    // Begins a job. Empty when another one is not over yet.
    virtual std::optional<RewrapJob> add(const NewRewrapJob& wanted) = 0;
    virtual std::optional<RewrapJob> find(const base::Uuid& id) = 0;
    // Jobs that were begun before the job `before`, or all of them.
    virtual RewrapJobPage list(const std::optional<base::Uuid>& before, std::size_t limit) = 0;
    // Ends a job that is running; what its workers have under way is thrown away. Empty when there
    // is none; a job that is over, or is being concluded, comes back as it is.
    virtual std::optional<RewrapJob> cancel(const base::Uuid& id, base::Time now) = 0;
    // What the job could not move, after that place. Records that were destroyed since are left
    // out.
    virtual RewrapFailurePage failures(const base::Uuid& id, const RewrapPlace& after,
                                       std::size_t limit) = 0;

    // The next thing to do. A lease lasts for rewrap_lease; then somebody else gets it.
    virtual RewrapTask take(base::Time now) = 0;
    // The rows of a piece, as they stand.
    virtual std::vector<RewrapRow> load(const RewrapPiece& piece) = 0;
    // Writes the results of a leased piece and gives the lease back, all in one: a row is changed
    // only if it still has the text that was read. Returns the failures that are new. Empty when
    // the lease is another's by now or the job was cancelled: nothing was changed then.
    virtual std::optional<std::vector<RewrapResult>> settle(const RewrapLease& lease,
                                                            std::vector<RewrapResult> results,
                                                            base::Time now) = 0;
    // Gives a lease back undone: nobody takes it for `pause`, and the job says why.
    virtual void give_back(const RewrapLease& lease, const std::string& trouble,
                           std::chrono::milliseconds pause, base::Time now) = 0;
    // Ends a job that is being concluded, once its statement stands in the audit log. False when
    // the lease is another's by now.
    virtual bool complete(const RewrapLease& lease, base::Time now) = 0;
};

}  // namespace vault
