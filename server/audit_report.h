// An audit log as one page for people: operations over time, by caller, by key, refusals, unusual
// volume, and what the verification said. The page is one HTML file that needs nothing else, no
// script, and prints well.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/audit_query.h"
#include "server/audit_verify.h"

namespace server {

// Collects rows, then makes the page. Keeps counts and the latest refusals, not the rows. Not
// thread-safe.
class AuditReport {
public:
    // An intent is not counted: its result is.
    void add(const AuditRow& row);

    struct Frame {
        std::string title;   // e.g. the folder of the log
        std::string period;  // as asked for; empty: all of it
        std::string made_at;
        std::optional<AuditFinding> finding;  // none: the log was not verified
        std::uint64_t unreadable = 0;         // lines that are no records
    };
    // Everything from the log is escaped: a caller's name can't become markup.
    std::string page(const Frame& frame) const;

private:
    struct Count {
        std::uint64_t all = 0;
        std::uint64_t refused = 0;  // denied, or over a budget
        std::uint64_t failed = 0;   // any other error
    };
    using Counts = std::map<std::string, Count>;

    Count total_;
    Counts hours_;  // "2026-11-22T10"
    Counts callers_;
    Counts actions_;
    Counts keys_;
    std::vector<AuditRow> refusals_;  // the latest
    std::string first_time_;
    std::string last_time_;
};

// Of the operations of the hours that have any; 0 when there is none.
std::uint64_t median_hour(const std::map<std::string, std::uint64_t>& per_hour);
// Hours whose number of operations stands out: more than three times that median, and at least 50
// more. The names of those hours.
std::vector<std::string> unusual_hours(const std::map<std::string, std::uint64_t>& per_hour);

}  // namespace server
