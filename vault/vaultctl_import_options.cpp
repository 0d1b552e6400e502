// The options of import and verify-migration.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/error.h"
#include "base/secret_document.h"
#include "server/secret_source.h"
#include "vault/import/import_state.h"
#include "vault/import/old_keys.h"
#include "vault/reasons.h"
#include "vault/vaultctl_import.h"

namespace vault {
namespace {

using base::Error;

constexpr std::size_t max_connection_bytes = 4096;
constexpr std::size_t usual_gcm_iv_bytes = 12;
constexpr std::size_t cbc_iv_bytes = 16;

// Runs `work`; a mistake that it finds is one in the arguments.
template <typename Work>
auto as_usage(Work&& work) -> decltype(work()) {
    try {
        return work();
    } catch (const Error& error) {
        if (error.code() == base::ErrorCode::invalid_argument) throw UsageError(error.message());
        throw;
    }
}

OldEncoding to_encoding(const std::string& word) {
    if (word == "hex") return OldEncoding::hex;
    return word == "base64url" ? OldEncoding::base64url : OldEncoding::base64;
}

PlainColumn to_plain_column(const std::string& text, bool is_time) {
    const auto equals = text.find('=');
    PlainColumn plain{text.substr(0, equals), text, is_time};
    if (equals != std::string::npos) plain.field = text.substr(equals + 1);
    if (plain.column.empty() || plain.field.empty())
        throw UsageError("a plain column is COLUMN or COLUMN=FIELD");
    return plain;
}

OldKeys read_old_keys(const OldSecretOptions& options, bool is_ring) {
    const OldKeyForm form{
        to_old_key_encoding(options.key_encoding).value_or(OldKeyEncoding::base64), options.salt};
    const base::SecretBytes text =
        options.keys_file.empty()
            ? server::prompt_for_secret(is_ring ? "The old key ring, in one line" : "The old key")
            : base::read_secret_document(options.keys_file, max_old_keys_bytes);
    return is_ring ? OldKeys::ring(text.expose_text(), form)
                   : OldKeys::one(text.expose_text(), form);
}

OldLayout make_layout(const OldSecretOptions& options, const char* usual,
                      const char* usual_encoding, std::size_t usual_iv_bytes) {
    return {options.layout.empty() ? usual : options.layout,
            to_encoding(options.encoding.empty() ? usual_encoding : options.encoding),
            options.iv_bytes == 0 ? usual_iv_bytes : options.iv_bytes};
}

// How a file of records is read.
struct SourceForm {
    RecordSyntax syntax;
    char delimiter;
};

SourceForm source_form(const SourceFileOptions& options) {
    SourceForm form{guess_syntax(options.file), options.file.ends_with(".tsv") ? '\t' : ','};
    if (options.syntax == "jsonl") form.syntax = RecordSyntax::json_lines;
    if (options.syntax == "json") form.syntax = RecordSyntax::json_array;
    if (options.syntax == "csv") form.syntax = RecordSyntax::csv;
    if (options.delimiter.size() > 1) throw UsageError("--delimiter is one character");
    if (!options.delimiter.empty()) form.delimiter = options.delimiter.front();
    if (form.delimiter == '"' || form.delimiter == '\n' || form.delimiter == '\r')
        throw UsageError("--delimiter can't be a quote or a line end");
    return form;
}

// libpq would take a password from there, and so would everybody who may look.
void refuse_password_environment() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
    const char* value = std::getenv("PGPASSWORD");
    if (value != nullptr && *value != '\0') {
        throw UsageError(
            "the environment variable PGPASSWORD holds a secret; unset it and use a password file "
            "(~/.pgpass) or the file of --database-file");
    }
}

}  // namespace

void add_old_secret_options(CLI::App& command, OldSecretOptions& options) {
    command
        .add_option("--column", options.columns,
                    "Where the secret is; several make one object of their names")
        ->required()
        ->take_all()
        ->allow_extra_args(false)
        ->type_name("COLUMN");
    command.add_option("--format", options.format, "How it is kept until now: see below")
        ->check(CLI::IsMember({"plain", "envelope", "gcm", "cbc"}))
        ->capture_default_str();
    command
        .add_option("--layout", options.layout,
                    "Where IV, tag and data are: iv:data+tag, iv+tag+data …")
        ->type_name("LAYOUT");
    command
        .add_option("--encoding", options.encoding, "Of the ciphertexts (gcm: base64, cbc: hex)")
        ->check(CLI::IsMember({"hex", "base64", "base64url"}));
    command.add_option("--iv-bytes", options.iv_bytes, "Length of the IV (gcm: 12, cbc: 16)")
        ->check(CLI::Range(1, 64));
    command
        .add_option("--old-keys-file", options.keys_file,
                    "The old key or key ring (mode 0600); asked for when missing")
        ->type_name("FILE");
    command.add_option("--old-encoding", options.key_encoding, "How a key is written or made")
        ->check(CLI::IsMember({"base64", "hex", "text", "sha256", "sha256-base64", "scrypt"}))
        ->capture_default_str();
    command.add_option("--old-salt", options.salt, "The salt of scrypt")->type_name("TEXT");
    command
        .add_option("--bound", options.bound,
                    "What the old ciphertexts are bound to (AAD), e.g. 'user:{id}'")
        ->type_name("TEXT");
    command.add_option("--as", options.as, "What the secret is once opened")
        ->check(CLI::IsMember({"json", "text"}))
        ->capture_default_str();
    command
        .add_option("--wrap", options.wrap,
                    "Put what is no JSON object into one, as this member; else it stays what it is")
        ->type_name("NAME");
    command.add_flag("--allow-missing", options.allow_missing,
                     "A record without a column of the secret has none, and one without a plain "
                     "column goes without that; else it fails");
}

void add_source_file_options(CLI::App& command, SourceFileOptions& options) {
    command.add_option("--input", options.syntax, "The file's syntax; else by its ending")
        ->check(CLI::IsMember({"jsonl", "json", "csv"}));
    command.add_option("--delimiter", options.delimiter, "Between a CSV's fields (a comma)")
        ->type_name("CHARACTER");
}

void add_place_options(CLI::App& command, PlaceOptions& options) {
    command.add_option("--owner", options.owner, "Whose a credential is: acme, or '{user_id}'")
        ->type_name("TEXT");
    command.add_option("--name", options.name, "Its name: instagram, or '{platform}'")
        ->type_name("TEXT");
    command.add_flag("--owner-uuid", options.owner_is_uuid,
                     "The owner is a UUID, kept in lower case, as the shape of "
                     "compat.shared_secret asks for it");
    add_plain_options(command, options);
    command
        .add_option("--metadata", options.metadata,
                    "Readable without the secret; one that holds an object, or several")
        ->take_all()
        ->allow_extra_args(false)
        ->type_name("COLUMN");
    command.add_option("--expires-at", options.expires_at, "When the secret expires")
        ->type_name("COLUMN");
    command
        .add_option("--context", options.context,
                    "Of a sealed value: where it belongs, e.g. 'accounts:{id}'")
        ->type_name("TEXT");
}

void add_plain_options(CLI::App& command, PlaceOptions& options) {
    command
        .add_option(
            "--plain-column", options.plain,
            "Kept in clear beside the secret until now: goes into it as it is, as its member "
            "FIELD (COLUMN's name unless it is said). A secret that is no object becomes "
            "one, its old value as --wrap or --column names it")
        ->allow_extra_args(false)
        ->type_name("COLUMN[=FIELD]");
    command
        .add_option("--plain-time", options.plain_times,
                    "A time kept in clear: as --plain-column, in the form of RFC 3339")
        ->allow_extra_args(false)
        ->type_name("COLUMN[=FIELD]");
    command.add_flag("--utc", options.assume_utc, "Take times without an offset as UTC");
}

void add_table_options(CLI::App& command, TableOptions& options) {
    auto* file = command.add_option("--database-file", options.database_file,
                                    "Holds a connection URI or keywords of libpq (mode 0600)");
    file->type_name("FILE");
    command.add_option("--service", options.service, "A service of libpq's service file")
        ->type_name("NAME")
        ->excludes(file);
    command.add_option("--table", options.table, "TABLE or SCHEMA.TABLE")->required();
    command.add_option("--id", options.id, "Its unique column; rows are taken in its order")
        ->type_name("COLUMN")
        ->required();
    command
        .add_option("--context", options.context,
                    "Where a value belongs, e.g. accounts.credentials or 'accounts:{id}'")
        ->type_name("TEXT")
        ->required();
}

void add_pace_options(CLI::App& command, PaceOptions& options) {
    command.add_option("--workers", options.workers, "Requests at the same time")
        ->check(CLI::Range(1, 32))
        ->capture_default_str();
    command
        .add_option("--patience", options.patience_seconds,
                    "How long to ask again when the vault is away or busy, in seconds")
        ->check(CLI::Range(0, 86400))
        ->capture_default_str();
}

void add_reason_option(CLI::App& command, std::string& reason) {
    command
        .add_option("--reason", reason,
                    "Why credentials are revealed; stands in the vault's audit records")
        ->type_name("TEXT");
}

ImportColumns to_columns(ImportKind kind, const OldSecretOptions& secret,
                         const PlaceOptions& place) {
    return as_usage([&] {
        ImportColumns columns;
        columns.kind = kind;
        columns.owner = ColumnText(place.owner);
        columns.name = ColumnText(place.name);
        columns.context = ColumnText(place.context);
        columns.secret = secret.columns;
        columns.metadata = place.metadata;
        columns.expires_at = place.expires_at;
        columns.assume_utc = place.assume_utc;
        columns.owner_is_uuid = place.owner_is_uuid;
        for (const auto& text : place.plain) columns.plain.push_back(to_plain_column(text, false));
        for (const auto& text : place.plain_times)
            columns.plain.push_back(to_plain_column(text, true));
        columns.is_text = secret.as == "text";
        columns.wrap = secret.wrap;
        columns.may_lack_columns = secret.allow_missing;
        columns.bound = ColumnText(secret.bound);
        return columns;
    });
}

std::unique_ptr<OldFormat> read_old_format(const OldSecretOptions& options) {
    const bool has_layout = options.format == "gcm" || options.format == "cbc";
    if (!has_layout &&
        (!options.layout.empty() || !options.encoding.empty() || options.iv_bytes != 0))
        throw UsageError("--layout, --encoding and --iv-bytes are for the formats gcm and cbc");
    if (options.format == "plain") {
        if (!options.keys_file.empty()) throw UsageError("plaintext needs no --old-keys-file");
        return nullptr;
    }
    return as_usage([&]() -> std::unique_ptr<OldFormat> {
        if (options.format == "envelope") return envelope_format(read_old_keys(options, true));
        if (options.format == "gcm") {
            auto layout = make_layout(options, "iv:data+tag", "base64", usual_gcm_iv_bytes);
            return gcm_format(read_old_keys(options, false), std::move(layout));
        }
        auto layout = make_layout(options, "iv:data", "hex", cbc_iv_bytes);
        return cbc_format(read_old_keys(options, false), std::move(layout));
    });
}

ImportDecoder make_decoder(ImportColumns columns, std::unique_ptr<OldFormat> format) {
    return as_usage([&] { return ImportDecoder(std::move(columns), std::move(format)); });
}

std::unique_ptr<RecordReader> open_source(const SourceFileOptions& options,
                                          const ReaderPosition& from) {
    return as_usage([&] {
        const SourceForm form = source_form(options);
        return open_records(options.file, form.syntax, form.delimiter, from);
    });
}

std::string describe_source(const SourceFileOptions& options) {
    return as_usage([&] { return describe_source(std::filesystem::path(options.file)); });
}

std::string describe_form(const SourceFileOptions& options) {
    const SourceForm form = as_usage([&] { return source_form(options); });
    if (form.syntax == RecordSyntax::csv) return std::string("csv ") + form.delimiter;
    return form.syntax == RecordSyntax::json_array ? "json" : "jsonl";
}

void require_columns(const RecordReader& source, const ImportColumns& columns,
                     const ColumnText& more) {
    const auto there = source.columns();
    if (!there) return;
    std::vector<std::string> wanted = named_columns(columns);
    for (std::string& name : more.columns()) wanted.push_back(std::move(name));
    for (const std::string& name : wanted) {
        if (std::find(there->begin(), there->end(), name) == there->end())
            throw UsageError("the source has no column " + name);
    }
}

void require_reason(const std::string& reason, bool is_values) {
    if (reason.empty()) return;
    if (is_values) throw UsageError("--reason is for credentials");
    if (!is_reason(reason)) {
        throw UsageError("--reason is one line of at most " + std::to_string(max_reason_bytes) +
                         " bytes");
    }
}

server::ApplicationColumns table_columns(const TableOptions& options, const ImportColumns& named) {
    server::ApplicationColumns columns{options.table, options.id, options.column};
    std::set<std::string> taken = {options.id, options.column};
    for (std::string& name : named_columns(named)) {
        if (taken.insert(name).second) columns.more.push_back(std::move(name));
    }
    return columns;
}

std::unique_ptr<server::ApplicationTable> open_table(const TableOptions& options,
                                                     const server::ApplicationColumns& columns) {
    refuse_password_environment();
    base::SecretBytes connection;
    if (!options.database_file.empty()) {
        connection = as_usage([&] {
            return base::read_secret_document(options.database_file, max_connection_bytes);
        });
        // A URI is taken to its end, line feed included.
        std::size_t size = connection.size();
        while (size > 0 && connection.expose()[size - 1] <= ' ') --size;
        connection.shrink(size);
    } else if (!options.service.empty()) {
        if (!server::is_plain_file_name(options.service) ||
            options.service.find_first_of("'\\ ") != std::string::npos) {
            throw UsageError("--service takes the name of a service");
        }
        connection = base::SecretBytes(base::as_bytes("service=" + options.service));
    } else {
        throw UsageError("--database-file or --service says where the database is");
    }
    return as_usage(
        [&] { return std::make_unique<server::ApplicationTable>(connection, columns); });
}

}  // namespace vault
