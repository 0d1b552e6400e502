// import file, import postgres.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "vault/import/import_run.h"
#include "vault/import/import_state.h"
#include "vault/import/import_target.h"
#include "vault/import/table_import.h"
#include "vault/vaultctl_import.h"

namespace vault {
namespace {

using base::Error;

struct RunOptions {
    std::string state_file;
    bool dry_run = false;
    std::uint64_t max_failures = 0;
};

struct ImportFileOptions {
    SourceFileOptions source;
    OldSecretOptions secret;
    PlaceOptions place;
    PaceOptions pace;
    RunOptions run;
    std::string out;
    std::string reason;
    bool replace = false;
};

struct ImportTableOptions {
    TableOptions table;
    OldSecretOptions secret;
    PlaceOptions place;  // its plain columns
    PaceOptions pace;
    RunOptions run;
};

// What must stay the same from one run to the next; nothing secret. The output file is in it, since
// going on cuts it back to what the state knows. `form` is a file's; empty: it is none.
std::string describe(const OldSecretOptions& secret, const PlaceOptions& place,
                     const std::string& form, const std::string& out_file) {
    base::JsonWriter out;
    out.begin_object().name("columns").begin_array();
    for (const auto& column : secret.columns) out.string(column);
    out.end_array().field("format", secret.format).field("layout", secret.layout);
    out.field("encoding", secret.encoding).field("bound", secret.bound).field("as", secret.as);
    out.field("wrap", secret.wrap).field("owner", place.owner).field("name", place.name);
    out.field("context", place.context).field("expires_at", place.expires_at);
    out.name("metadata").begin_array();
    for (const auto& column : place.metadata) out.string(column);
    out.end_array().field("utc", place.assume_utc);
    // Only where they are used: states of before know nothing of them.
    if (place.owner_is_uuid) out.field("owner_uuid", true);
    for (const auto& [name, columns] :
         {std::pair("plain", &place.plain), std::pair("plain_times", &place.plain_times)}) {
        if (columns->empty()) continue;
        out.name(name).begin_array();
        for (const auto& column : *columns) out.string(column);
        out.end_array();
    }
    out.field("iv_bytes", static_cast<std::uint64_t>(secret.iv_bytes));
    out.field("allow_missing", secret.allow_missing);
    if (!form.empty()) out.field("input", form);
    if (!out_file.empty()) {
        out.field("out", std::filesystem::absolute(out_file).lexically_normal().string());
    }
    return std::string(out.end_object().text());
}

// The state to go on from; a fresh one for a dry run or when there is none.
ImportState begin_state(const RunOptions& run, std::string source, std::string options,
                        bool& is_resumed) {
    ImportState state;
    if (!run.dry_run) {
        if (auto found = read_import_state(run.state_file)) state = std::move(*found);
    }
    is_resumed = !state.source.empty();
    if (is_resumed && (state.source != source || state.options != options)) {
        throw UsageError(run.state_file + " is the state of another import" +
                         (state.source != source ? ", or its source was changed since"
                                                 : ", with other options") +
                         "; name another --state, or remove it to begin anew");
    }
    state.source = std::move(source);
    state.options = std::move(options);
    return state;
}

void show_report(const Tool& tool, const ImportState& state, const RunOptions& run, bool is_resumed,
                 const std::string& stopped_by) {
    if (!tool.json) {
        print(to_text(state.report, run.dry_run));
        return;
    }
    base::JsonWriter out;
    out.begin_object().field("dry_run", run.dry_run).field("resumed", is_resumed);
    out.field("complete", state.is_complete);
    if (!stopped_by.empty()) out.field("stopped_by", stopped_by);
    write_report(out, state.report);
    print(out.end_object().text());
}

// Runs `work`, which imports on from `state`, shows the report and gives the exit code.
int run_and_report(const Tool& tool, ImportState& state, const RunOptions& run, bool is_resumed,
                   const std::function<void()>& work) {
    if (state.is_complete) {
        show_report(tool, state, run, is_resumed, {});
        explain("this import is complete; remove " + run.state_file + " to begin anew");
        return state.report.failed == 0 ? 0 : kms::exit_failed;
    }
    try {
        work();
    } catch (const Error& error) {
        // What is on disk, since some records may have been counted that were not settled.
        if (!run.dry_run) state = read_import_state(run.state_file).value_or(state);
        show_report(tool, state, run, is_resumed, error.message());
        explain(error.what());
        if (!run.dry_run) explain("stopped; the same command goes on from " + run.state_file);
        return kms::exit_code(error);
    }
    show_report(tool, state, run, is_resumed, {});
    if (!state.is_complete) explain("stopped: more records failed than --max-failures allows");
    return state.is_complete && state.report.failed == 0 ? 0 : kms::exit_failed;
}

// Writes the state before the first record: an output file that is begun belongs to this import
// from then on.
std::unique_ptr<ImportTarget> open_target(const Tool& tool, const ImportFileOptions& options,
                                          bool is_values, bool is_resumed,
                                          const ImportState& state) {
    const std::string& state_file = options.run.state_file;
    const TargetOptions how{options.replace, options.pace.workers, options.pace.patience(),
                            options.reason};
    if (is_values && !is_resumed) kms::require_new_file(options.out);
    write_import_state(state_file, state);
    if (!is_values) return credential_target(tool.client(), how);
    std::optional<std::uint64_t> bytes;
    if (is_resumed) bytes = state.output_bytes;
    try {
        return value_target(tool.client(), how, options.out, bytes, options.secret.columns.front());
    } catch (const Error&) {
        // Else the next run would take a file for its own that is somebody else's.
        std::error_code ignored;
        if (!is_resumed) std::filesystem::remove(state_file, ignored);
        throw;
    }
}

int import_file(const Tool& tool, ImportFileOptions options) {
    const bool is_values = !options.out.empty() || !options.place.context.empty();
    if (is_values && options.out.empty() && !options.run.dry_run)
        throw UsageError("sealed values need a file to go to: --out");
    if (is_values && options.replace) throw UsageError("--replace is for credentials");
    require_reason(options.reason, is_values);
    if (options.run.state_file.empty())
        options.run.state_file = options.source.file + ".import-state";
    const ImportDecoder decoder =
        make_decoder(to_columns(is_values ? ImportKind::values : ImportKind::credentials,
                                options.secret, options.place),
                     read_old_format(options.secret));
    bool is_resumed = false;
    ImportState state = begin_state(
        options.run, describe_source(options.source),
        describe(options.secret, options.place, describe_form(options.source), options.out),
        is_resumed);
    const auto reader = open_source(options.source, state.position);
    require_columns(*reader, decoder.columns());
    if (!is_resumed && !reader->columns())
        state.report.columns_not_found = lenient_columns(decoder.columns());
    return run_and_report(tool, state, options.run, is_resumed, [&] {
        std::unique_ptr<ImportTarget> target;
        if (!options.run.dry_run) target = open_target(tool, options, is_values, is_resumed, state);
        ImportRun run(state, options.run.state_file, target.get(), options.run.max_failures);
        import_records(*reader, decoder, run, state,
                       std::filesystem::file_size(options.source.file));
    });
}

int import_postgres(const Tool& tool, ImportTableOptions options) {
    if (options.secret.columns.size() != 1) throw UsageError("name one --column");
    options.table.column = options.secret.columns.front();
    options.place.context = options.table.context;
    const ImportDecoder decoder =
        make_decoder(to_columns(ImportKind::values, options.secret, options.place),
                     read_old_format(options.secret));
    const auto named = table_columns(options.table, decoder.columns());
    const auto table = open_table(options.table, named);
    // Without a state file the sealed rows are the state: they are passed over.
    RunOptions run = options.run;
    const bool keeps_state = !run.state_file.empty() && !run.dry_run;
    bool is_resumed = false;
    const std::string source =
        table->place() + ", table " + options.table.table + ", by " + options.table.id;
    ImportState state;
    if (keeps_state)
        state =
            begin_state(run, source, describe(options.secret, options.place, {}, {}), is_resumed);
    const TableImport import{*table,
                             named,
                             decoder,
                             run.dry_run ? nullptr : &tool.client(),
                             options.pace.patience(),
                             run.max_failures,
                             std::filesystem::path(keeps_state ? run.state_file : "")};
    const auto work = [&] { import_table(import, state); };
    if (keeps_state) {
        write_import_state(run.state_file, state);
        return run_and_report(tool, state, run, is_resumed, work);
    }
    work();
    show_report(tool, state, run, is_resumed, {});
    return state.is_complete && state.report.failed == 0 ? 0 : kms::exit_failed;
}

constexpr const char* formats_help =
    "Formats:\n"
    "  plain      as it is: a JSON value, a text that holds JSON, or with --as text any text\n"
    "  envelope   {\"__enc\":1,\"kid\":\"v1\",\"iv\":\"…\",\"ct\":\"…\"}, an object or a text; "
    "the key file holds\n"
    "             {\"v1\":\"<base64 of 32 bytes>\",…} or lines v1:<key>\n"
    "  gcm        AES-256-GCM in one text. --layout names its parts: + between bytes encoded "
    "together,\n"
    "             one of : . , $ | between texts. iv:data+tag (unless given), iv+tag+data, "
    "iv:tag:data\n"
    "  cbc        AES-256-CBC in one text, iv:data in hex unless given\n\n"
    "Old keys (--old-encoding): base64 or hex of 32 bytes; text, 32 characters; sha256 of a "
    "text;\nsha256-base64, the first 32 characters of its base64; scrypt of a text with "
    "--old-salt.\nThey are read once, from a file of mode 0600 or typed in, and wiped.\n\n"
    "TEXT may have columns in it: 'accounts:{id}'. A dot leads into objects: {_id.$oid}.\n\n";

constexpr const char* file_help =
    "Each record is sealed, opened again and compared before it counts. What is bad is reported "
    "by\n"
    "its place and reason and does not stop the rest. After a kill the same command goes on from "
    "the\nstate file, and makes nothing twice: a credential is stored only where there is none.\n"
    "To try what failed once more, remove the state file: what is there is opened and counted as\n"
    "already there. A column that is named and missing in a CSV's headings is refused; one of\n"
    "--metadata or --expires-at that no JSON record has is named in the report. --out has every "
    "record\nthat did not fail, those without a secret as they are. Rights: store_credential and\n"
    "reveal_credential, or seal and open. The owner of sealed values is who calls, so call as the\n"
    "application.\n\n";

constexpr const char* file_examples =
    "Examples:\n"
    "  vaultctl import file users.jsonl --format envelope --old-keys-file ring.json --column "
    "credentials \\\n"
    "      --owner '{user_id}' --name instagram --expires-at token_expires_at --dry-run\n"
    "  vaultctl import file users.csv --format cbc --old-encoding text --old-keys-file old.key "
    "\\\n"
    "      --column token --as text --wrap access_token --owner acme --name '{id}'\n"
    "  vaultctl import file clients.csv --format gcm --old-keys-file old.key --column token \\\n"
    "      --as text --wrap access_token --plain-column client_id --plain-time token_expires_at "
    "\\\n"
    "      --owner broker --name '{client_id}'\n"
    "  vaultctl import file rows.jsonl --format gcm --layout iv+tag+data --old-keys-file old.key "
    "\\\n"
    "      --column credentials --context 'accounts:{id}' --out sealed.jsonl";

constexpr const char* table_help =
    "Rows are taken in pages by the id, sealed, opened again, and written back in one transaction "
    "for\na page, each only if it still holds what was read: a change of the application's is "
    "never\n"
    "overwritten, the row is read anew. A sealed row is left alone, so this can be run again at "
    "any\n"
    "time; --state keeps the place and the counts as well. Plain columns are copied into the "
    "value, as\nnumbers, truth values and JSON where they are that, and stay what they are: empty "
    "them when nothing\nreads them any more. The owner of the values is who calls, so call as the "
    "application. Rights: seal\nand open; SELECT and UPDATE on the table.\n\n";

constexpr const char* table_examples =
    "Examples:\n"
    "  vaultctl import postgres --database-file database.uri --table accounts --id id \\\n"
    "      --column credentials --context 'accounts:{id}' --format envelope --old-keys-file "
    "ring.json\n"
    "  vaultctl import postgres --service app --table clients --id id --context 'clients:{id}' "
    "\\\n"
    "      --column token --as text --wrap access_token --format gcm --old-keys-file old.key \\\n"
    "      --plain-column client_id --plain-time ends_at=token_expires_at";

void add_run_options(CLI::App& command, RunOptions& run, const char* state_help) {
    command.add_option("--state", run.state_file, state_help)->type_name("FILE");
    command.add_flag("--dry-run", run.dry_run, "Read, open and check everything; change nothing");
    command
        .add_option("--max-failures", run.max_failures,
                    "Stop when more records failed than this; 0: never")
        ->capture_default_str();
}

void add_import_file(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<ImportFileOptions>();
    CLI::App* command = app.add_subcommand(
        "file",
        "Import JSON Lines, a JSON array or CSV: as credentials, or as sealed values (--out)");
    command->add_option("FILE", options->source.file, "The export")->required();
    add_source_file_options(*command, options->source);
    add_old_secret_options(*command, options->secret);
    add_place_options(*command, options->place);
    command
        ->add_option(
            "--out", options->out,
            "Write the records with sealed values into this new file (JSON Lines, mode 0600)")
        ->type_name("FILE");
    command->add_flag("--replace", options->replace,
                      "Store a next version where another secret is there");
    add_reason_option(*command, options->reason);
    add_run_options(*command, options->run, "Where the import stands; else FILE.import-state");
    add_pace_options(*command, options->pace);
    command->footer(std::string(file_help) + formats_help + file_examples);
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return import_file(tool, *options); };
    });
}

void add_import_postgres(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<ImportTableOptions>();
    CLI::App* command =
        app.add_subcommand("postgres", "Seal a column of a PostgreSQL table where it is");
    add_table_options(*command, options->table);
    add_old_secret_options(*command, options->secret);
    add_plain_options(*command, options->place);
    add_run_options(*command, options->run, "Keep the place and the counts in this file");
    add_pace_options(*command, options->pace);
    command->footer(std::string(table_help) + formats_help + table_examples);
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return import_postgres(tool, *options); };
    });
}

}  // namespace

void add_import_commands(CLI::App& app, Tool& tool) {
    CLI::App* command = app.add_subcommand(
        "import", "Move in: take over secrets that an application encrypted by itself");
    command->require_subcommand(1);
    add_import_file(*command, tool);
    add_import_postgres(*command, tool);
}

}  // namespace vault
