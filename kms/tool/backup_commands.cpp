// backup, restore.
#include <CLI/CLI.hpp>

#include "kms/tool/program.h"
#include "server/backup.h"

namespace kms {
namespace {

int back_up(const Tool& tool, const BackupWords& words) {
    const base::JsonValue answer =
        tool.client().call("POST", "/v1/backups", {}, ordered_once(tool));
    if (tool.json) {
        print(base::to_json(answer));
        return 0;
    }
    print("Wrote " + cell(answer, "file") + " to " + words.daemon + "'s backup folder: " +
          cell(answer, "bytes") + " bytes, SHA-256 " + cell(answer, "sha256"));
    return 0;
}

struct RestoreOptions {
    std::string backup, to;
};

int restore(const Tool& tool, const BackupWords& words, const RestoreOptions& options) {
    const server::RestoredBackup restored = server::restore_backup(options.backup, options.to);
    base::JsonWriter shown;
    shown.begin_object().field("file", options.to).field("bytes", restored.bytes);
    shown.field("sha256", restored.sha256).end_object();
    if (tool.json) {
        print(shown.text());
        return 0;
    }
    print("Restored " + options.to + " from a sound backup, SHA-256 " + restored.sha256 +
          ". Its file must belong to " + words.daemon + "'s user" + words.restored_end + ".");
    return 0;
}

}  // namespace

void add_backup_commands(CLI::App& app, Tool& tool, const BackupWords& words) {
    const std::string daemon = words.daemon;
    CLI::App* backup = app.add_subcommand(
        "backup", "Have " + daemon + " write a copy of its SQLite database into its backup folder");
    backup->callback(
        [&tool, words] { tool.command = [&tool, words] { return back_up(tool, words); }; });
    auto options = std::make_shared<RestoreOptions>();
    CLI::App* command = app.add_subcommand(
        "restore",
        "Check a backup and make a database file of it, on this machine, for a stopped " + daemon);
    command->add_option("BACKUP", options->backup, "The file that backup wrote")->required();
    command
        ->add_option("TO", options->to,
                     "The database file of " + daemon + "'s configuration; must not be there")
        ->required();
    command->callback([&tool, words, options] {
        tool.command = [&tool, words, options] { return restore(tool, words, *options); };
    });
}

}  // namespace kms
