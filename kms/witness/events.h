// Who is told of what a witness finds. What becomes of it (a record, a metric, a line on standard
// error) is the program's.
#pragma once

#include <string>

#include "base/error.h"
#include "kms/witness/conflict.h"
#include "server/checkpoint.h"

namespace kms {

class KeptNotes;

// Called by one thread at a time. Where nothing else is said, what it throws is taken for a proof
// that could not be had.
class WitnessEvents {
public:
    virtual ~WitnessEvents() = default;
    // What was kept has been read, or read anew by a witness that found a conflict there.
    // `conflict` says that there was one which no operator has looked at yet; empty: none.
    virtual void opened(const std::string& conflict) = 0;
    // The first checkpoint of a log of which none was kept.
    virtual void log_begun(const server::Checkpoint& first) = 0;
    // Once for a witness, and at once; then what becomes of its file. Must not throw.
    virtual void contradicted(const LogConflict& conflict) = 0;
    // May throw base::Error, of which conflict_not_kept() is told then.
    virtual void conflict_kept(const LogConflict& conflict) = 0;
    virtual void conflict_not_kept(const std::string& reason) = 0;
    // Nobody watches: no proof could be had, for longer than the witness is patient. Must not
    // throw.
    virtual void unproven(const std::string& reason) = 0;
    // The witness itself is in trouble. Must not throw.
    virtual void failed(const std::string& reason) = 0;
};

// Tells of it and keeps it in the conflict file: at most max_told_bytes of what was kept and of
// what was seen, without control characters, whatever the service sent.
void report_conflict(const LogConflict& conflict, const KeptNotes& kept, WitnessEvents& events);
inline constexpr std::size_t max_told_bytes = 64UL * 1024;

// For unproven(): with what is to be done about it, where that is not said yet.
std::string why_unproven(const base::Error& error);

}  // namespace kms
