// What the commands of moving in (import, verify-migration) have in common: how a source and its
// secrets are described on the command line. For vaultctl_import*.cpp and vaultctl_verify.cpp only.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/application_table.h"
#include "vault/import/decoder.h"
#include "vault/import/record_reader.h"
#include "vault/vaultctl.h"

namespace vault {

// How the old secrets are to be read.
struct OldSecretOptions {
    std::vector<std::string> columns;
    std::string format = "plain";
    std::string layout;        // empty: the format's usual one
    std::string encoding;      // of the ciphertexts; empty: the format's usual one
    std::size_t iv_bytes = 0;  // 0: the format's usual one
    std::string keys_file;     // empty: asked for
    std::string key_encoding = "base64";
    std::string salt;
    std::string bound;
    std::string as = "json";
    std::string wrap;
    bool allow_missing = false;  // a record without one of the columns has no secret
};

struct SourceFileOptions {
    std::string file;
    std::string syntax;  // empty: by the file's ending
    std::string delimiter;
};

// What becomes of a record.
struct PlaceOptions {
    std::string owner, name, context;
    std::vector<std::string> metadata;
    std::string expires_at;
    bool owner_is_uuid = false;
    std::vector<std::string> plain, plain_times;  // COLUMN or COLUMN=FIELD
    bool assume_utc = false;
};

struct TableOptions {
    std::string database_file;
    std::string service;
    std::string table, id, column, context;
};

struct PaceOptions {
    std::uint64_t workers = 4;
    std::uint64_t patience_seconds = 60;
    std::chrono::seconds patience() const {
        return std::chrono::seconds(static_cast<std::int64_t>(patience_seconds));
    }
};

void add_old_secret_options(CLI::App& command, OldSecretOptions& options);
void add_source_file_options(CLI::App& command, SourceFileOptions& options);
void add_place_options(CLI::App& command, PlaceOptions& options);
void add_plain_options(CLI::App& command, PlaceOptions& options);
void add_table_options(CLI::App& command, TableOptions& options);
void add_pace_options(CLI::App& command, PaceOptions& options);
void add_reason_option(CLI::App& command, std::string& reason);

// Each throws UsageError saying what is wrong.
ImportColumns to_columns(ImportKind kind, const OldSecretOptions& secret,
                         const PlaceOptions& place);
// Reads the old keys, or asks for them, when the format needs some. Null for plaintext.
std::unique_ptr<OldFormat> read_old_format(const OldSecretOptions& options);
ImportDecoder make_decoder(ImportColumns columns, std::unique_ptr<OldFormat> format);
std::unique_ptr<RecordReader> open_source(const SourceFileOptions& options,
                                          const ReaderPosition& from = {});
std::string describe_source(const SourceFileOptions& options);  // see vault/import/import_state.h
std::string describe_form(const SourceFileOptions& options);    // "csv ;"
// Names a column that the source does not have, where it has the same for every record.
void require_columns(const RecordReader& source, const ImportColumns& columns,
                     const ColumnText& more = {});
// Values are opened without a reason.
void require_reason(const std::string& reason, bool is_values);
// With all that `named` needs of a row.
server::ApplicationColumns table_columns(const TableOptions& options, const ImportColumns& named);
std::unique_ptr<server::ApplicationTable> open_table(const TableOptions& options,
                                                     const server::ApplicationColumns& columns);

}  // namespace vault
