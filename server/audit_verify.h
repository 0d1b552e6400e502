// Judges an audit log from its files and a public key, and nothing else: no token, no network, no
// trust in the daemon that wrote it. What is proven: every record that a checkpoint covers is the
// one that was there when the checkpoint was signed, in its place, and none is missing. What is
// behind the last checkpoint is only chained (audit_record.h), and must be what audit.journal has
// as far as that goes.
//
// Where a bad record is: exactly, when the tiles still lead to the last checkpoint, for then they
// say what each record's hash must be; otherwise the chain and the checkpoints narrow it down.
// tests/audit_verifier.py comes to the same verdicts without any of this code.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/audit_period.h"
#include "server/checkpoint.h"

namespace server {

// Each is an exit code of `kmsctl audit verify`; what is no verdict ends with 1.
enum class AuditVerdict {
    clean = 0,
    tampered = 2,  // a record was changed, removed, inserted or moved
    inconsistent =
        3,        // no checkpoint, one that the key did not sign, or two that exclude each other
    cut_off = 4,  // records at the end are missing
};
std::string_view to_string(AuditVerdict verdict) noexcept;

struct AuditFinding {
    AuditVerdict verdict = AuditVerdict::clean;
    std::string reason;           // empty when clean
    std::uint64_t first_bad = 0;  // sequence of the first record that is not proven good; 0: none
    std::uint64_t records = 0;    // whole lines that are there, in audit.journal too
    // Of these, records that a crash of the machine left in audit.journal alone: as durable as the
    // others, and judged with them. The daemon's next start puts them back.
    std::uint64_t journal_only = 0;
    std::uint64_t pruned = 0;   // records before them that retention removed
    std::uint64_t covered = 0;  // by the last checkpoint, records of pruned segments included
    std::uint64_t checkpoints = 0;
    std::uint64_t torn_bytes = 0;  // behind the last line end, as a crash leaves them
    Checkpoint last;               // the largest checkpoint
    // Of the period that was asked for, as sequence numbers; 0: the whole log was judged.
    std::uint64_t period_first = 0;
    std::uint64_t period_last = 0;
};

struct AuditVerification {
    std::filesystem::path directory;
    const NoteKey& key;
    std::vector<std::string> trusted;  // signed notes of this log that were kept elsewhere
    // Called now and then with the bytes read and the bytes in all; may be empty.
    std::function<void(std::uint64_t done, std::uint64_t total)> progress;
    AuditPeriod period{};
};

// Throws unavailable when files can't be read.
AuditFinding verify_audit_log(const AuditVerification& what);

}  // namespace server
