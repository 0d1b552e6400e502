// What a line of the audit log says. Only building lines is in here: no file, no thread.
//
// A line is one JSON object. `sequence` counts from 1 without gaps. The raw bytes of a line without
// its line end are a leaf of the log's Merkle tree (RFC 6962), and `previous` is the leaf hash
// (hex) of the line before it, 64 zeros in the first. So a log without signed checkpoints is a
// chain, too: whoever cuts, inserts or changes a line breaks it behind that place. The chain costs
// no hash of its own, and lets the sealer compare the file with what the writer remembers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/secret_bytes.h"
#include "server/audit.h"
#include "server/merkle.h"

namespace server {

// All of a record but its place in the log: the inside of a JSON object, from "time" to
// "duration_us".
base::WipedString audit_fields(const AuditConfig& config, const Operation& operation,
                               const Outcome& outcome, base::Time now);

// Appends `{"sequence":…,<fields>,"previous":…}` without a line end.
void append_audit_line(std::string& out, std::uint64_t sequence, std::string_view fields,
                       std::string_view previous_hex);

// The leaf hash of a line, in hex, as the next one has it in `previous`.
std::string line_hash(std::string_view line, MerkleHasher& hasher);

// Whether the line ends with that `previous`.
bool follows(std::string_view line, std::string_view previous_hex);

// Reads the sequence number of a line back. Throws invalid_argument when it is no record.
std::uint64_t sequence_of(std::string_view line);

// `previous` of the first record.
std::string first_previous();

}  // namespace server
