// verify-migration file, verify-migration postgres.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>

#include "vault/import/verify.h"
#include "vault/vaultctl_import.h"

namespace vault {
namespace {

struct SampleOptions {
    std::optional<std::uint64_t> sample;
    PaceOptions pace;
};

struct VerifyFileOptions {
    SourceFileOptions source;
    OldSecretOptions secret;
    PlaceOptions place;
    SampleOptions how;
    std::string reason;
    std::string sealed_file;
};

struct VerifyTableOptions {
    TableOptions table;
    SourceFileOptions source;
    OldSecretOptions secret;  // of the source
    PlaceOptions place;       // its plain columns
    std::string source_column;
    std::string source_id;
    SampleOptions how;
};

void add_sample_options(CLI::App& command, SampleOptions& options) {
    command
        .add_option("--sample", options.sample, "Open this many, chosen by chance, instead of all")
        ->type_name("N");
    add_pace_options(command, options.pace);
}

VerifyOptions to_options(const SampleOptions& how, const std::string& source_file,
                         const std::string& reason = {}) {
    std::error_code ignored;
    const std::uintmax_t bytes = std::filesystem::file_size(source_file, ignored);
    return {how.sample, how.pace.workers, how.pace.patience(), ignored ? 0 : bytes, reason};
}

int show_verdict(const Tool& tool, const MigrationReport& report) {
    if (tool.json) {
        print(to_json(report));
    } else {
        print(to_text(report));
    }
    return report.is_good() ? 0 : kms::exit_failed;
}

int verify_file(const Tool& tool, const VerifyFileOptions& options) {
    const bool is_values = !options.sealed_file.empty();
    require_reason(options.reason, is_values);
    const ImportDecoder decoder =
        make_decoder(to_columns(is_values ? ImportKind::values : ImportKind::credentials,
                                options.secret, options.place),
                     read_old_format(options.secret));
    const auto source = [&] { return open_source(options.source); };
    require_columns(*source(), decoder.columns());
    const VerifyOptions how = to_options(options.how, options.source.file, options.reason);
    if (is_values) {
        return show_verdict(tool,
                            verify_values(source, decoder, options.sealed_file,
                                          options.secret.columns.front(), tool.client(), how));
    }
    return show_verdict(tool, verify_credentials(source, decoder, tool.client(), how));
}

int verify_postgres(const Tool& tool, VerifyTableOptions options) {
    if (options.secret.columns.size() != 1) throw UsageError("name one --column");
    options.table.column = options.secret.columns.front();
    PlaceOptions place;
    place.context = options.table.context;
    // Whatever is not sealed is a text to it.
    OldSecretOptions as_it_is;
    as_it_is.columns = options.secret.columns;
    ImportColumns row_columns = to_columns(ImportKind::values, as_it_is, place);
    const auto named = table_columns(options.table, row_columns);
    const auto table = open_table(options.table, named);
    row_columns.is_text = !table->is_json();
    const ImportDecoder rows = make_decoder(std::move(row_columns), nullptr);
    TableVerification what{*table, named, rows};
    std::optional<ImportDecoder> source_decoder;
    if (!options.source.file.empty()) {
        OldSecretOptions old = options.secret;
        // What is no object stands beside the plain columns under the table's name for it.
        const bool has_plain = !options.place.plain.empty() || !options.place.plain_times.empty();
        if (has_plain && old.wrap.empty()) old.wrap = options.table.column;
        if (!options.source_column.empty()) old.columns = {options.source_column};
        options.place.context = "source";  // nothing is sealed
        source_decoder.emplace(make_decoder(to_columns(ImportKind::values, old, options.place),
                                            read_old_format(options.secret)));
        what.source = [&] { return open_source(options.source); };
        what.source_decoder = &*source_decoder;
        what.source_key = ColumnText(options.source_id.empty() ? "{" + options.table.id + "}"
                                                               : options.source_id);
        require_columns(*what.source(), source_decoder->columns(), what.source_key);
    }
    return show_verdict(
        tool, verify_table(what, tool.client(), to_options(options.how, options.source.file)));
}

void add_verify_file(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<VerifyFileOptions>();
    CLI::App* command = app.add_subcommand(
        "file", "Compare an export with the vault's credentials, or with a file of sealed values");
    command->add_option("FILE", options->source.file, "The export")->required();
    add_source_file_options(*command, options->source);
    add_old_secret_options(*command, options->secret);
    add_place_options(*command, options->place);
    command
        ->add_option("--sealed-file", options->sealed_file,
                     "Sealed values, as import file --out wrote them, in the export's order")
        ->type_name("FILE");
    add_reason_option(*command, options->reason);
    add_sample_options(*command, options->how);
    command->footer(
        "The options are those of the import; see vaultctl import file --help. Counts are compared "
        "for\nevery record; secrets are opened, all or a sample. Rights: reveal_credential and\n"
        "list_credentials, or open. Exit code 1: something is missing, different or unreadable.\n\n"
        "Example:\n"
        "  vaultctl verify-migration file users.jsonl --format envelope --old-keys-file ring.json "
        "\\\n"
        "      --column credentials --owner '{user_id}' --name instagram --sample 1000");
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return verify_file(tool, *options); };
    });
}

void add_verify_postgres(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<VerifyTableOptions>();
    CLI::App* command = app.add_subcommand(
        "postgres", "Is every row of a table sealed, does it open, is it what the source has");
    add_table_options(*command, options->table);
    add_old_secret_options(*command, options->secret);
    add_plain_options(*command, options->place);
    command->add_option("--source", options->source.file, "An export from before: compare with it")
        ->type_name("FILE");
    add_source_file_options(*command, options->source);
    command
        ->add_option("--source-id", options->source_id,
                     "A row's id in the source, e.g. '{_id}'; else the table's")
        ->type_name("TEXT");
    command
        ->add_option("--source-column", options->source_column,
                     "The column in the source; else the table's")
        ->type_name("COLUMN");
    add_sample_options(*command, options->how);
    command->footer(
        "Without --source every row is looked at, and opened. With it, every record of the source "
        "has to\nbe a row; --format and what belongs to it say how the source keeps its secrets, "
        "--plain-column\nand --plain-time name the source's columns that went into them.\n\n"
        "Example:\n"
        "  vaultctl verify-migration postgres --service app --table accounts --id id --column "
        "credentials \\\n"
        "      --context 'accounts:{id}' --source before.csv --format cbc --old-keys-file old.key");
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return verify_postgres(tool, *options); };
    });
}

}  // namespace

void add_verify_commands(CLI::App& app, Tool& tool) {
    CLI::App* command = app.add_subcommand(
        "verify-migration", "Is what was moved in there, and the same as in the source");
    command->require_subcommand(1);
    add_verify_file(*command, tool);
    add_verify_postgres(*command, tool);
}

}  // namespace vault
