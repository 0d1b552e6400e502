// Reads audit records back, for people: what a line says, which lines are wanted, and the lines as
// a table in CSV. Whether the lines are genuine is server/audit_verify.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace server {

// What a line says, as text; what is not there is empty.
struct AuditRow {
    std::uint64_t sequence = 0;
    std::string time;
    std::string daemon;
    std::string node;
    std::string request_id;
    std::string traceparent;  // of the call, and of items that have others: with spaces between
    std::string caller;
    std::string method;
    std::string address;
    std::string action;
    std::vector<std::string> resources;  // "key:<id>", "credential:<owner>/<name>", items' as named
    std::vector<std::string> rules;      // that decided, in the order of the decisions
    bool refused = false;                // a decision said no
    std::string facts;                   // "name=value, …"
    std::string outcome;
    std::string error;
    std::int64_t status = 0;
    std::int64_t duration_us = 0;
};

// Empty when the line is no record.
std::optional<AuditRow> read_audit_row(std::string_view line);

// Which records are wanted; an empty field wants all. Texts may hold '*' for any number of any
// characters.
struct AuditFilter {
    std::string caller;
    std::string
        key;  // the id of what was acted on, with or without its kind: "<uuid>", "key:<uuid>"
    std::string action;
    std::string outcome;               // the outcome's word or the error's
    std::optional<base::Time> from;    // including
    std::optional<base::Time> before;  // excluding
};
bool wanted(const AuditRow& row, const AuditFilter& filter);

// Gives every record that is wanted, oldest first, until `take` says false; at last those that a
// crash of the machine left in audit.journal alone. Lines that are no records are counted in
// `unreadable`. Throws unavailable when files can't be read.
void read_audit_log(const std::filesystem::path& directory, const AuditFilter& filter,
                    const std::function<bool(const AuditRow&, std::string_view line)>& take,
                    std::uint64_t& unreadable);

// RFC 4180, with a heading. A cell that a spreadsheet would take for a formula gets a ' in front.
std::string audit_csv_heading();
std::string audit_csv_line(const AuditRow& row);

}  // namespace server
