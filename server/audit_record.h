// What a line of the audit log says. Only building lines is in here: no file, no thread.
//
// A line is one JSON object. `sequence` counts from 1 without gaps; `previous` is the SHA-256 (hex)
// of the line before it without its line end, 64 zeros in the first: whoever cuts, inserts or
// changes a line breaks the chain behind it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "server/audit.h"

namespace server {

// All of a record but its place in the log: the inside of a JSON object, from "time" to
// "duration_us".
std::string audit_fields(const AuditConfig& config, const Operation& operation,
                         const Outcome& outcome, base::Time now);

// Appends `{"sequence":…,<fields>,"previous":…}` without a line end.
void append_audit_line(std::string& out, std::uint64_t sequence, std::string_view fields,
                       std::string_view previous_hex);

// Reads the sequence number of a line back. Throws invalid_argument when it is no record.
std::uint64_t sequence_of(std::string_view line);

// `previous` of the first record.
std::string first_previous();

}  // namespace server
