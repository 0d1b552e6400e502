// backup, restore.
#include <CLI/CLI.hpp>

#include "server/backup.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

int back_up(const Tool& tool) {
    const base::JsonValue answer = tool.client().call("POST", "/v1/backups", {});
    if (tool.json) {
        print(base::to_json(answer));
        return 0;
    }
    print("Wrote " + cell(answer, "file") + " to vaultd's backup folder: " + cell(answer, "bytes") +
          " bytes, SHA-256 " + cell(answer, "sha256"));
    return 0;
}

struct RestoreOptions {
    std::string backup, to;
};

int restore(const Tool& tool, const RestoreOptions& options) {
    const server::RestoredBackup restored = server::restore_backup(options.backup, options.to);
    base::JsonWriter shown;
    shown.begin_object().field("file", options.to).field("bytes", restored.bytes);
    shown.field("sha256", restored.sha256).end_object();
    print(tool.json ? std::string(shown.text())
                    : "Restored " + options.to + " from a sound backup, SHA-256 " +
                          restored.sha256 + ". Its file must belong to vaultd's user.");
    return 0;
}

}  // namespace

void add_backup_commands(CLI::App& app, Tool& tool) {
    CLI::App* backup = app.add_subcommand(
        "backup", "Have vaultd write a copy of its SQLite database into its backup folder");
    backup->callback([&tool] { tool.command = [&tool] { return back_up(tool); }; });
    auto options = std::make_shared<RestoreOptions>();
    CLI::App* command = app.add_subcommand(
        "restore",
        "Check a backup and make a database file of it, on this machine, for a stopped vaultd");
    command->add_option("BACKUP", options->backup, "The file that backup wrote")->required();
    command
        ->add_option("TO", options->to,
                     "The database file of vaultd's configuration; must not be there")
        ->required();
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return restore(tool, *options); }; });
}

}  // namespace vault
