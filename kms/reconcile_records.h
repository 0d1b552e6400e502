// What a start says in the audit log of work on keys that a crash cut short.
#pragma once

#include "kms/reconcile.h"
#include "server/audit.h"

namespace kms {

// Both write events `settle_key`. Where one of the log's intents without a result was about the
// same key and version, the event names its request and number (`of_request`, `intent_sequence`).
// Both throw unavailable when the log can't be written.

// Before a version is given up: `settled` is "abandoned", and `why`.
void record_giving_up(server::AuditLog& audit, const GivenUp& given_up);

// For each version that was finished ("finished"), and for each key that an intent was about and
// that was not settled: "found", and `state` is where the version stands, or the key where no
// version is named ("absent": it was never begun).
void record_settled(server::AuditLog& audit, const Reconciled& reconciled);

}  // namespace kms
