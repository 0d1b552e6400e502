// history, restore-version.
#include <CLI/CLI.hpp>
#include <optional>

#include "base/table.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::JsonValue;

struct HistoryOptions {
    std::string owner, name;
};

struct OldVersionOptions {
    std::string owner, name;
    std::uint64_t version = 0;
    std::optional<std::uint64_t> if_version;
    std::string expires_at;
};

int show_history(const Tool& tool, const HistoryOptions& options) {
    JsonValue::Array versions = kms::fetch_pages(
        tool.client(), credential_path(options.owner, options.name) + "/versions", "versions");
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("versions").value(JsonValue(std::move(versions)));
        print(out.end_object().text());
        return 0;
    }
    base::Table table({"VERSION", "CURRENT", "CREATED", "EXPIRES", "EXPIRED", "RESTORED FROM",
                       "ERASED", "KEY", "KEY VERSION"});
    for (const JsonValue& item : versions) {
        table.add({cell(item, "version"), cell(item, "current"), cell(item, "created_at"),
                   cell(item, "expires_at"), cell(item, "expired"), cell(item, "restored_from"),
                   cell(item, "erased_at"), cell(item, "key_id"), cell(item, "key_version")});
    }
    print(table.to_string());
    return 0;
}

int restore_version(const Tool& tool, const OldVersionOptions& options) {
    base::JsonWriter body;
    body.begin_object().field("version", options.version);
    if (options.if_version) body.field("if_version", *options.if_version);
    if (!options.expires_at.empty()) body.field("expires_at", options.expires_at);
    body.end_object();
    show_credential(
        tool, tool.client().call("POST", credential_path(options.owner, options.name) + "/restore",
                                 body.text()));
    return 0;
}

void add_history(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<HistoryOptions>();
    CLI::App* command = app.add_subcommand(
        "history", "Every version of a credential that there was, also of a destroyed one");
    command->add_option("OWNER", options->owner, "Whose it is")->required();
    command->add_option("NAME", options->name, "The credential")->required();
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return show_history(tool, *options); };
    });
}

void add_restore_version(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<OldVersionOptions>();
    CLI::App* command = app.add_subcommand("restore-version",
                                           "Make a new version of a credential from an older one");
    command->add_option("OWNER", options->owner, "Whose it is")->required();
    command->add_option("NAME", options->name, "The credential")->required();
    command->add_option("--version", options->version, "The older version")
        ->type_name("N")
        ->required();
    command->add_option("--if-version", options->if_version, "Only if this is the current version")
        ->type_name("N");
    command->add_option("--expires-at", options->expires_at, "Else the older version's own expiry")
        ->type_name("TIME");
    command->footer(
        "Example:\n  vaultctl restore-version acme instagram --version 3 --if-version 5");
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return restore_version(tool, *options); };
    });
}

}  // namespace

void add_history_commands(CLI::App& app, Tool& tool) {
    add_history(app, tool);
    add_restore_version(app, tool);
}

}  // namespace vault
