// Takes old segments of an audit log away, or makes them smaller. What goes stays provable: hashes
// and checkpoints are kept, and a record in the log itself says up to where records were removed on
// purpose, so that a verifier can tell retention from a theft. Files only.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/clock.h"
#include "server/audit.h"

namespace server {

// The action of the record that says it; its fact "through" is the last removed sequence number.
inline constexpr std::string_view prune_action = "audit_prune";

// Removes the closed segments that were last written more than `keep` before `now` and lie wholly
// within the first `covered` records, which a checkpoint covers; records that first. The newest
// closed segment stays. Also removes the entry bundles of what is gone. Throws unavailable.
void prune_audit_log(AuditLog& log, std::chrono::days keep, std::uint64_t covered, base::Time now);

// Compresses (gzip) the plain closed segments that were last written more than `after` before `now`
// and lie wholly within the first `covered` records. What is hashed are the lines, so that nothing
// changes for a verifier; each file is read back and compared before the plain one goes. Ends
// early, between blocks, once `stop` says so. Throws unavailable.
void compress_audit_log(const std::filesystem::path& directory, std::chrono::days after,
                        std::uint64_t covered, base::Time now, const std::function<bool()>& stop);

}  // namespace server
