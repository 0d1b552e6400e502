// After an import: is what the source holds in the vault, and the same? Counts are compared, and
// secrets are opened, all or as many as wanted, chosen by chance.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kms/client/client.h"
#include "server/application_table.h"
#include "vault/import/decoder.h"
#include "vault/import/import_report.h"
#include "vault/import/record_reader.h"

namespace vault {

struct MigrationReport {
    std::uint64_t records = 0;         // of the source
    std::uint64_t without_secret = 0;  // of them: there is nothing to open
    std::uint64_t unreadable = 0;      // of them: can't be compared
    std::uint64_t present = 0;         // secrets that should be there and are
    std::uint64_t missing = 0;         // what should be there and is not
    std::uint64_t opened = 0;          // of those present: opened and found equal
    std::uint64_t different = 0;   // of those present: opened and not equal, or not to be opened
    std::uint64_t not_sealed = 0;  // rows that are as they were
    std::optional<std::uint64_t> surplus{};  // there and not in the source; empty: nobody counted
    std::vector<ImportFailure> findings{};   // the first max_listed_failures of them
    std::vector<std::string> columns_not_found{};  // as in ImportReport

    void find(std::string place, std::string reason);
    // What the source holds is there. What is there besides does not count.
    bool is_good() const {
        return unreadable == 0 && missing == 0 && different == 0 && not_sealed == 0;
    }
};

base::WipedString to_json(const MigrationReport& report);
std::string to_text(const MigrationReport& report);

struct VerifyOptions {
    std::optional<std::uint64_t> sample{};  // how many are opened; empty: all
    std::size_t workers = 4;
    std::chrono::seconds patience{60};
    std::uint64_t source_bytes = 0;  // for the bar on a terminal; 0: none
    std::string reason{};            // for revealing, where the vault asks for one; empty: none
};

// The source from its beginning, as often as asked: a sample takes two readings.
using SourceOpener = std::function<std::unique_ptr<RecordReader>()>;

// Against the vault's credentials. Needs the rights to reveal them and to list their owners'. All
// three throw as the client and as the reader.
MigrationReport verify_credentials(const SourceOpener& source, const ImportDecoder& decoder,
                                   kms::Client& client, const VerifyOptions& options);

// Against a file of sealed values, JSON Lines in the source's order: its records are the source's
// but for `column`, and those without a secret as they are. Those that are missing in it are found
// by that.
MigrationReport verify_values(const SourceOpener& source, const ImportDecoder& decoder,
                              const std::filesystem::path& sealed, const std::string& column,
                              kms::Client& client, const VerifyOptions& options);

// Every row of the table: is it sealed, and does it open? With `source`, which may be empty: and is
// it what the source has? Then `source_key` makes a row's key of a source's record.
struct TableVerification {
    server::ApplicationTable& table;
    server::ApplicationColumns columns;
    const ImportDecoder& row_decoder;  // for plaintext; makes the context of a row
    SourceOpener source{};
    const ImportDecoder* source_decoder = nullptr;  // its context is not used
    ColumnText source_key{};
};
MigrationReport verify_table(const TableVerification& what, kms::Client& client,
                             const VerifyOptions& options);

}  // namespace vault
