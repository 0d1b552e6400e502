// The way of an import: records out of a file, in batches to their target, the state written behind
// each. What is killed in between goes on from the state and makes nothing twice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "vault/import/decoder.h"
#include "vault/import/import_state.h"
#include "vault/import/import_target.h"
#include "vault/import/progress_bar.h"
#include "vault/import/record_reader.h"

namespace vault {

// Counts and settles what goes through an import, whatever it comes from. Not thread-safe.
class ImportRun {
public:
    // `target` is null for a dry run: then nothing is written, neither is the state. An import ends
    // early when more than `failure_limit` records of this run failed; 0: never.
    ImportRun(ImportState& state, std::filesystem::path state_file, ImportTarget* target,
              std::uint64_t failure_limit);

    // Takes from the report's columns_not_found those that `record` has.
    void note_columns(const base::JsonValue& record);
    // One record, at `place`; an import goes on from `position`, behind it.
    void add(std::string place, DecodedRecord decoded, const ReaderPosition& position);
    // Sends what waits and writes the state.
    void settle();
    bool is_over_limit() const;

private:
    struct Waiting {
        std::vector<ImportItem> items;
        std::vector<std::string> places;
        std::size_t bytes = 0;
    };
    void wait(std::string place, ImportItem item);
    void count(const std::string& place, const ImportOutcome& outcome);

    ImportState& state_;
    const std::filesystem::path state_file_;
    ImportTarget* target_;
    const std::uint64_t failure_limit_;
    const std::uint64_t failures_before_;
    Waiting waiting_;
    std::uint64_t since_settled_ = 0;
};

// Reads to the end or the limit of failures. `state` begins where the import stands, and has the
// report at the end; is_complete tells which of both it was. `total_bytes` is for the bar. Throws
// as the target: then the state file holds what was done.
void import_records(RecordReader& reader, const ImportDecoder& decoder, ImportRun& run,
                    ImportState& state, std::uint64_t total_bytes);

}  // namespace vault
