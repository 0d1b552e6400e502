#include "kms/witness/events.h"

#include "base/error.h"
#include "kms/witness/kept_notes.h"

namespace kms {

void report_conflict(const LogConflict& conflict, const KeptNotes& kept, WitnessEvents& events) {
    events.contradicted(conflict);
    try {
        kept.write_conflict(conflict);
        events.conflict_kept(conflict);
    } catch (const base::Error& error) {
        events.conflict_not_kept(error.what());
    }
}

}  // namespace kms
