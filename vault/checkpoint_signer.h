// Signs the checkpoints of vaultd's audit log by calls to the key service, which holds the key.
// Which key that is stands beside the log, so that the log goes on without the key service:
//
//     <audit directory>/audit-key.json   {"version":1,"key_id":"<uuid>","key_version":1}
//     <audit directory>/audit.pem        its public half; what an auditor trusts he asks the key
//                                        service for
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "kms/client/client.h"
#include "server/checkpoint.h"

namespace vault {

// A signer with the key `key` of the key service (a key id or "alias/<name>"; Ed25519 or P-256).
// Nothing is asked before it is needed: who is away then makes the call throw unavailable, and
// later will do. The key and its version are kept once they are known: a log has one key for all
// its life, and when the key service signs with another the call throws unavailable saying so. The
// signer has connections of its own, since a call that hangs may outlive the daemon's other parts.
// Throws invalid_argument when `client` or the files beside the log make no sense.
std::unique_ptr<server::CheckpointSigner> make_checkpoint_signer(
    const kms::ClientConfig& client, std::string key, std::filesystem::path audit_directory);

}  // namespace vault
