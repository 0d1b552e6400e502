// vaultctl: stores, shows, reveals, restores and destroys credentials, asks how the vault is.
#include "vault/vaultctl.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "server/hardening.h"

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

constexpr int default_timeout_seconds = 10;

void add_settings(CLI::App& app, kms::ToolSettings& settings, Tool& tool) {
    auto& connection = settings.connection;
    app.add_option("--config", connection.config, "File with the connection (JSON)")
        ->type_name("FILE");
    app.add_option("--url", connection.url, "The vault, e.g. https://127.0.0.1:7444")
        ->type_name("URL");
    app.add_option("--socket", connection.socket,
                   "Connect to this UNIX socket; --url still names the server");
    app.add_option("--ca", connection.ca, "Who signed the vault's certificate (PEM)")
        ->type_name("FILE");
    app.add_option("--certificate", connection.certificate, "Your certificate (PEM)")
        ->type_name("FILE");
    app.add_option("--key-file", connection.key_file, "Its private key (PEM, mode 0600)")
        ->type_name("FILE");
    app.add_option("--bearer-file", connection.bearer_file,
                   "An API token or another bearer (mode 0600), with or without a certificate")
        ->type_name("FILE");
    app.add_option("--timeout", settings.timeout_seconds, "Longest wait for one answer, in seconds")
        ->check(CLI::Range(1, 3600))
        ->type_name("SECONDS")
        ->capture_default_str();
    app.add_flag("--json", tool.json, "Print JSON for scripts instead of tables");
}

int parse_and_run(int count, char** arguments) {
    CLI::App app(description, "vaultctl");
    app.footer(footer);
    app.require_subcommand(1);
    app.fallthrough();  // so that --json and the like may stand behind the command, too
    kms::ToolSettings settings{{}, default_timeout_seconds};
    Tool tool;
    tool.client = kms::connect_lazily(settings, "vaultctl", "the vault");
    add_settings(app, settings, tool);
    add_put_command(app, tool);
    add_read_commands(app, tool);
    add_history_commands(app, tool);
    add_destroy_commands(app, tool);
    add_token_commands(app, tool);
    add_shared_secret_commands(app, tool);
    add_backup_commands(app, tool);
    add_import_commands(app, tool);
    add_verify_commands(app, tool);
    add_rewrap_commands(app, tool);
    add_status_command(app, tool);
    try {
        app.parse(count, arguments);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kms::exit_usage;
    }

    return tool.command();
}

// Arguments and environment are readable by others: a secret in either is refused, not used.
void refuse_secrets(int count, char** arguments) {
    server::refuse_secret_arguments({arguments + 1, arguments + count});
    server::refuse_secret_environment(kms::own_environment(environ).data());
}

int run(int count, char** arguments) noexcept {
    return kms::run_tool("vaultctl", [&] {
        refuse_secrets(count, arguments);
        base::Log log("vaultctl", base::LogLevel::warning);
        server::harden_process(log);  // secrets pass through here
        return parse_and_run(count, arguments);
    });
}

}  // namespace
}  // namespace vault

int main(int count, char** arguments) { return vault::run(count, arguments); }
