// Rows of an application's own table, sealed where they are: read in pages by key, sealed and
// opened again, written back in one transaction each, and only where nobody changed them meanwhile,
// in any column that was read.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "kms/client/client.h"
#include "server/application_table.h"
#include "vault/import/decoder.h"
#include "vault/import/import_state.h"

namespace vault {

struct TableImport {
    server::ApplicationTable& table;
    server::ApplicationColumns columns;  // those that `table` was opened with
    const ImportDecoder& decoder;
    kms::Client* client = nullptr;  // null: a dry run, nothing is sealed or written
    std::chrono::seconds patience{60};
    std::uint64_t failure_limit = 0;     // of this run; 0: none
    std::filesystem::path state_file{};  // empty: none is kept
};

// Goes on behind state.last_key to the end or the limit of failures; state.is_complete tells which
// of both it was. A row that is sealed already is left alone, so it can be run again at any time.
// Throws unavailable (vault or database) and what makes going on senseless; what was done is in the
// state file, and in the table.
void import_table(const TableImport& import, ImportState& state);

// `row` as a record, its columns by name, through `decoder`. The column's JSON is a value when it
// is json or jsonb; what the vault does not take as JSON makes the row unreadable. So it is with
// the decoder's plain columns, numbers and truth values among them; all others are texts. `columns`
// are those that `table` was opened with.
DecodedRecord decode_row(const server::ApplicationRow& row, const server::ApplicationTable& table,
                         const server::ApplicationColumns& columns, const ImportDecoder& decoder);

}  // namespace vault
