// status.
#include <CLI/CLI.hpp>

#include "vault/vaultctl.h"

namespace vault {
void add_status_command(CLI::App& app, Tool& tool) {
    CLI::App* command = app.add_subcommand(
        "status", "Is the vault up and ready: store, audit, kms (exit code 3 when not)");
    command->callback([&tool] { tool.command = [&tool] { return kms::show_status(tool); }; });
}

}  // namespace vault
