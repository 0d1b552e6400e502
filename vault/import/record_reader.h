// Records out of a file, one after the other, never all in memory: JSON Lines, an array in JSON, or
// CSV with a line of headings (RFC 4180). Each record is an object; what is in a CSV is text. A
// record that can't be read is one that says why, and the next one follows; so is what stands
// behind the end of an array. Knows no vault.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "vault/import/old_format.h"

namespace vault {

inline constexpr std::size_t max_record_bytes = 1024UL * 1024;

enum class RecordSyntax { json_lines, json_array, csv };

// Where reading stands: behind a whole record. All zero: at the beginning.
struct ReaderPosition {
    std::uint64_t offset = 0;   // in bytes
    std::uint64_t records = 0;  // read so far
    std::uint64_t line = 1;     // at the offset, from 1
    bool is_over = false;       // the last one was a failure that ended the reading
    bool operator==(const ReaderPosition&) const = default;
};

struct SourceRecord {
    std::uint64_t number = 0;  // from 1
    std::uint64_t line = 0;    // where it begins
    std::variant<base::JsonValue, Unreadable> content;
};

// Not thread-safe.
class RecordReader {
public:
    virtual ~RecordReader() = default;
    // Empty at the end. Throws unavailable when the file can't be read on.
    virtual std::optional<SourceRecord> next() = 0;
    // Behind the last record that next() gave.
    virtual ReaderPosition position() const = 0;
    // The columns of all records where the file tells them: a CSV's headings. Empty: each record
    // has its own.
    virtual std::optional<std::vector<std::string>> columns() const { return std::nullopt; }
};

// By the name's ending: .csv and .tsv, .json (an array when it begins with '[', else lines),
// everything else lines. Throws invalid_argument when the file can't be read.
RecordSyntax guess_syntax(const std::filesystem::path& file);

// Begins at `from`. `delimiter` is CSV's. Throws invalid_argument naming the file when it can't be
// read, or is a CSV whose headings are missing, empty or stand twice.
std::unique_ptr<RecordReader> open_records(const std::filesystem::path& file, RecordSyntax syntax,
                                           char delimiter = ',', const ReaderPosition& from = {});

}  // namespace vault
