// What became of an import, in numbers and places: for people, for scripts, and for the state file
// that an import goes on from. Nothing of a record's content may come in here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace vault {

inline constexpr std::size_t max_listed_failures = 1000;

struct ImportFailure {
    std::string place;   // "record 17, line 42", or a row's key
    std::string reason;  // what is wrong, never with what
};

struct ImportReport {
    std::uint64_t records = 0;        // that were read
    std::uint64_t imported = 0;       // sealed, opened again and found equal
    std::uint64_t already_there = 0;  // imported before, or sealed already; opened, too
    std::uint64_t sealed_before = 0;  // rows that are left as they are, and not opened
    std::uint64_t without_secret = 0;
    std::uint64_t failed = 0;
    std::vector<ImportFailure> failures{};  // the first max_listed_failures of them
    // Columns that records may lack and that none had: a mistyped name looks like that.
    std::vector<std::string> columns_not_found{};

    void add_failure(std::string place, std::string reason);
};

// As fields of an object that is open in `out`, and back. read_report() throws invalid_argument.
void write_report(base::JsonWriter& out, const ImportReport& report);
ImportReport read_report(base::JsonReader& reader);

// A line for people for each of `columns`, which no record had.
std::string not_found_text(const std::vector<std::string>& columns);

// Some lines for people. `would`: it was a dry run.
std::string to_text(const ImportReport& report, bool would);

}  // namespace vault
