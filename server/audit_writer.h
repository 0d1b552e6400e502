// The one thread that writes the audit log: many waiting records, one write, one sync. It gives
// records their place in the chain and promises an answer within a bound, whatever the disk does.
//
// Until the disk answers, a record is queued; when it does not in time, the caller is told false
// and withholds its answer, but the operation took place: the record stays queued and is written
// when the disk is back, followed by a record "withheld" that names it.
//
// What waits is bounded. Records of what was not begun (refusals) have a quarter of that room, and
// no request is begun while more than half of it is taken: what is under way then has the other
// half. How many records were not kept stands in a record "drop_records" as soon as there is room.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/secret_bytes.h"
#include "server/audit.h"
#include "server/audit_file.h"

namespace server {

// Where the chain stands.
struct AuditChain {
    std::uint64_t sequence = 0;  // of the last line
    std::string previous;        // its leaf hash, hex
};

// One record on its way.
struct AuditEntry {
    base::WipedString fields;  // of audit_fields()
    base::Uuid request_id;
    std::string action;
    AuditLog::Done done;    // may be empty: nobody waits
    bool was_begun = true;  // as AuditLog::append has it
    // Waits for the disk however long that takes: `done` is called with 0 at the end of the writer
    // only, and nothing of it is withheld.
    bool is_patient = false;
};

// Thread-safe.
class AuditWriter {
public:
    // `clock` and `log` must outlive it.
    AuditWriter(AuditConfig config, std::unique_ptr<AuditFile> file, AuditChain chain,
                const base::Clock& clock, base::Log& log);
    // Writes what is queued. When the disk hangs it waits no longer than the bound, tells who waits
    // false, says in the operational log how many records are lost, and leaves the thread behind.
    ~AuditWriter();
    AuditWriter(const AuditWriter&) = delete;
    AuditWriter& operator=(const AuditWriter&) = delete;

    // Takes them over, and wakes the writer once for all of them. Never blocks. Calls each `done`
    // once: see AuditLog::Done; on this thread when the queue is full or there is no memory: the
    // record is counted then, and not kept.
    void append_all(std::span<AuditEntry> entries) noexcept;
    void append(AuditEntry entry) noexcept { append_all({&entry, 1}); }

    // Throws unavailable while the disk fails or hangs, while more records wait than half of what
    // the queue takes, or when the follower says so.
    void check() const;
    // See AuditLog::follow.
    void follow(AuditFollower* follower);
    std::uint64_t records_written() const;

private:
    struct State;
    static void write_loop(const std::shared_ptr<State>& state);
    static void bound_loop(const std::shared_ptr<State>& state);

    std::shared_ptr<State> state_;  // shared with a thread that hangs in the disk
    std::thread writer_;
    std::thread bound_;
};

}  // namespace server
