// The moving of a rewrap job: workers take pieces of it from the store, have the key service wrap
// the data keys anew, prove what came back, and put it in the place of what was there. Nothing of a
// credential but its wrapped data key changes. Any number of workers, in any number of vaultd on
// one store, share a job.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/audit.h"
#include "server/metrics.h"
#include "vault/data_keys.h"
#include "vault/rewrap_store.h"

namespace vault {

inline constexpr std::size_t max_rewrap_workers = 16;
inline constexpr std::chrono::milliseconds rewrap_idle{1000};  // between looks for a job
// How long a piece is left alone that the key service had no answer for.
inline constexpr std::chrono::milliseconds rewrap_trouble_pause{3000};

// References must outlive the work.
struct RewrapParts {
    RewrapStore& store;
    DataKeys& keys;
    server::AuditLog& audit;
    server::Metrics& metrics;
    const base::Clock& clock;
    base::Log& log;
    // Reveals open copies kept elsewhere, which a job neither moves nor counts: then no version of
    // a master key is safe to retire.
    bool has_uncounted_copies = false;
};

// Thread-safe. Keeps no key between two pieces.
class RewrapWork {
public:
    explicit RewrapWork(const RewrapParts& parts) : parts_(parts) {}

    // Takes the next thing that there is to do, and does it; how long to wait before the next step.
    // Trouble with the key service, or with the audit log meanwhile, stands in the job and is
    // logged. While the audit log can't be written it takes nothing. Throws unavailable when the
    // store does not answer.
    std::chrono::milliseconds step();

private:
    bool can_record() const;
    void move(const RewrapLease& lease);
    void conclude(const RewrapLease& lease);
    std::vector<RewrapResult> rewrap(const RewrapLease& lease, std::vector<RewrapRow> rows);
    void record(const RewrapLease& lease, const std::vector<RewrapResult>& failures,
                const std::vector<RewrapRow>& names);

    const RewrapParts parts_;
};

// Threads that do the work. The destructor ends them, each after the piece that it is at.
class RewrapWorkers {
public:
    RewrapWorkers(RewrapWork& work, std::size_t count, base::Log& log);
    ~RewrapWorkers();
    RewrapWorkers(const RewrapWorkers&) = delete;
    RewrapWorkers& operator=(const RewrapWorkers&) = delete;

    // They look for a job at once.
    void wake();

private:
    void run();

    RewrapWork& work_;
    base::Log& log_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t wakes_ = 0;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace vault
