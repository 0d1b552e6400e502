// The key that signs kmsd's audit checkpoints: a pair of its own in the token, which no caller can
// name, because no record of the store does. Which one it is stands beside the log:
//
//     <audit directory>/audit-key.json   {"version":1,"id":"<uuid>","kind":"ed25519"}
//     <audit directory>/audit.pem        its public half, for auditors; written when the key is
//     proven
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "hsm/token.h"
#include "server/audit.h"
#include "server/checkpoint.h"

namespace kms {

// The signer of the log in `audit`'s folder. The first time, makes the key, Ed25519 where the token
// has it and ECDSA P-256 otherwise, and records that; what a crash left unfinished is finished.
// Throws failed_precondition saying what to do when the key is missing, another one or not as it
// must be, or the token can do neither; and what the token throws. `token` must outlive the signer.
std::unique_ptr<server::CheckpointSigner> open_audit_key(hsm::Token& token,
                                                         server::AuditLog& audit);

// The id of that key, once it was chosen; empty while there is none. Throws invalid_argument when
// the file that names it makes no sense.
std::optional<hsm::KeyId> named_audit_key(const server::AuditLog& audit);

}  // namespace kms
