// delete, status.
#include <CLI/CLI.hpp>

#include "base/table.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::JsonValue;

struct DeleteOptions {
    std::string owner, name;
    bool yes = false;
};

int destroy(const Tool& tool, const DeleteOptions& options) {
    kms::require_confirmation(
        options.yes,
        "This destroys all versions of " + options.owner + "/" + options.name + " for good.",
        options.name);
    const JsonValue answer =
        tool.client().call("DELETE", credential_path(options.owner, options.name), {});
    if (tool.json) {
        print(base::to_json(answer));
        return 0;
    }
    base::JsonReader reader(answer);
    const JsonValue& destroyed = reader.required_value("destroyed");
    print("Destroyed " + base::printable(options.owner + "/" + options.name) + ": " +
          cell(destroyed, "versions") + " version(s), at " + cell(destroyed, "at") + ".");
    return 0;
}

}  // namespace

void add_delete_command(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<DeleteOptions>();
    CLI::App* command =
        app.add_subcommand("delete", "Destroy all versions of a credential, for good");
    command->add_option("OWNER", options->owner, "Whose it is")->required();
    command->add_option("NAME", options->name, "The credential")->required();
    command->add_flag("--yes", options->yes, "Don't ask");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return destroy(tool, *options); }; });
}

void add_status_command(CLI::App& app, Tool& tool) {
    CLI::App* command = app.add_subcommand(
        "status", "Is the vault up and ready: store, audit, kms (exit code 3 when not)");
    command->callback([&tool] { tool.command = [&tool] { return kms::show_status(tool); }; });
}

}  // namespace vault
