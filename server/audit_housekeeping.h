// Removes and compresses old segments of an audit log on a thread of its own, so that neither a
// record nor a checkpoint waits for it. What is done to a segment is audit_retention's.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "base/log.h"
#include "server/audit.h"

namespace server {

// Thread-safe. To be taken down before the log.
class AuditHousekeeping {
public:
    // Does nothing where the configuration keeps and leaves everything. References must outlive it.
    AuditHousekeeping(AuditLog& log, const SealConfig& config, const base::Clock& clock,
                      base::Log& messages);
    // As stop().
    ~AuditHousekeeping();
    AuditHousekeeping(const AuditHousekeeping&) = delete;
    AuditHousekeeping& operator=(const AuditHousekeeping&) = delete;

    // A checkpoint covers the first `records`: only what it covers is touched. Never blocks. At
    // most once an hour this starts a round.
    void covered(std::uint64_t records);

    // Ends what is under way, between two blocks of a file; waits no longer than `stop_bound` of
    // the configuration for a disk that hangs. From then on the references are not touched.
    void stop();

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with a thread that hangs in the disk
};

}  // namespace server
