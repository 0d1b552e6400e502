// vaultctl: stores, shows, reveals, restores and destroys credentials, asks how the vault is.
#include "vault/vaultctl.h"

#include <CLI/CLI.hpp>

#include "kms/tool/program.h"

namespace vault {

std::string credential_path(const std::string& owner, const std::string& name) {
    std::string path = "/v1/owners/" + kms::path_segment(owner) + "/credentials";
    if (!name.empty()) path += "/" + kms::path_segment(name);
    return path;
}

void explain(std::string_view message) { kms::explain("vaultctl", message); }

namespace {

constexpr const char* description =
    "The tool of the credential vault (vaultd).\n\n"
    "Where the vault is and who asks comes from --url, --ca, --certificate and --key-file, or "
    "from\n~/.config/strongroom/vaultctl.json:\n"
    "  {\"url\": \"https://127.0.0.1:7444\", \"ca\": \"ca.crt\", \"certificate\": "
    "\"app.crt\", \"key\": \"app.key\"}";

constexpr const char* footer =
    "Examples:\n"
    "  vaultctl put acme instagram --secret-file token.json --expires-at 2030-01-31T12:00:00Z\n"
    "  vaultctl put acme database --meta engine=postgresql < connector.json\n"
    "  vaultctl list acme\n"
    "  vaultctl reveal acme instagram --out instagram.json\n"
    "  vaultctl delete acme instagram\n"
    "  vaultctl rewrap start\n\n"
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the vault can't be reached or is "
    "not ready.";

constexpr kms::ToolWords tool_words{"vaultctl",  "the vault", "https://127.0.0.1:7444",
                                    description, footer,      10};

void add_commands(CLI::App& app, Tool& tool, const kms::ToolSettings& /*settings*/) {
    add_put_command(app, tool);
    add_read_commands(app, tool);
    add_history_commands(app, tool);
    add_destroy_commands(app, tool);
    kms::add_token_commands(app, tool);
    kms::add_shared_secret_commands(app, tool);
    kms::add_backup_commands(app, tool, {"vaultd", ""});
    add_import_commands(app, tool);
    add_verify_commands(app, tool);
    add_rewrap_commands(app, tool);
    add_status_command(app, tool);
}

}  // namespace
}  // namespace vault

int main(int count, char** arguments) {
    return kms::run_tool_program(vault::tool_words, count, arguments, vault::add_commands);
}
