// How far an import came, in a small file beside it: what a killed import goes on from. It is
// written when what it tells of is durable, so it may lag behind and never runs ahead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "vault/import/import_report.h"
#include "vault/import/record_reader.h"

namespace vault {

struct ImportState {
    // What must be the same for going on: the source, and what is done with it.
    std::string source;   // e.g. a file with its size and time
    std::string options;  // a canonical text
    ReaderPosition position{};
    std::string last_key{};          // of a table's rows: the last one done; empty: none yet
    std::uint64_t output_bytes = 0;  // of the output file: what is behind is to be cut off
    bool is_complete = false;        // the end was reached
    ImportReport report{};
};

// Empty when there is no such file. Throws invalid_argument naming the file when it is none of
// ours.
std::optional<ImportState> read_import_state(const std::filesystem::path& file);

// On disk when it returns, with mode 0600. Throws unavailable.
void write_import_state(const std::filesystem::path& file, const ImportState& state);

// The file's name, size and time of change, for ImportState::source. Throws invalid_argument.
std::string describe_source(const std::filesystem::path& file);

}  // namespace vault
