// kmsctl: governs master keys, makes and opens data keys, signs, lists what there is, asks how the
// service is.
#include "kms/kmsctl.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/log.h"
#include "server/hardening.h"

namespace kms {

using base::Error;
using base::ErrorCode;

void require_key_name(const std::string& key) {
    constexpr std::string_view alias = "alias/";
    const bool is_alias = key.starts_with(alias) && key.size() > alias.size();
    if (is_alias || base::Uuid::parse(key)) return;
    throw UsageError("KEY is a key id (a UUID) or alias/<name>, not \"" + key + "\"");
}

namespace {

constexpr const char* description =
    "The operator's tool of the key service (kmsd).\n\n"
    "Where the service is and who asks comes from --url, --ca, --certificate and --key-file, or "
    "from\n~/.config/strongroom/kmsctl.json:\n"
    "  {\"url\": \"https://127.0.0.1:7443\", \"ca\": \"ca.crt\", \"certificate\": "
    "\"operator.crt\", \"key\": \"operator.key\"}";

constexpr const char* footer =
    "Examples:\n"
    "  kmsctl key create --alias credentials --tag team=payments\n"
    "  kmsctl key list\n"
    "  kmsctl key show alias/credentials\n"
    "  kmsctl key rotate alias/credentials\n"
    "  kmsctl data-key create alias/credentials --context owner=acme --without-plaintext\n"
    "  kmsctl sign alias/releases --in release.tar --out release.sig\n"
    "  kmsctl inventory --format cyclonedx --out cbom.json\n"
    "  kmsctl policy explain kms.json --caller spiffe://strongroom/app --action encrypt "
    "--resource key:k1\n"
    "  kmsctl status\n\n"
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the service can't be reached or is "
    "not ready.";

constexpr int default_timeout_seconds = 30;

void add_settings(CLI::App& app, ToolSettings& settings, Tool& tool) {
    auto& connection = settings.connection;
    app.add_option("--config", connection.config, "File with the connection (JSON)")
        ->type_name("FILE");
    app.add_option("--url", connection.url, "The key service, e.g. https://127.0.0.1:7443")
        ->type_name("URL");
    app.add_option("--socket", connection.socket,
                   "Connect to this UNIX socket; --url still names the server");
    app.add_option("--ca", connection.ca, "Who signed the service's certificate (PEM)")
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

// Arguments and environment are readable by others: a secret in either is refused, not used.
void refuse_secrets(int count, char** arguments) {
    std::vector<std::string_view> given(arguments + 1, arguments + count);
    // With the files of a log, --key names a public key or a key's id.
    if (!given.empty() && given.front() == "audit") std::erase(given, "--key");
    server::refuse_secret_arguments(given);
    server::refuse_secret_environment(own_environment(environ).data());
}

int parse_and_run(int count, char** arguments) {
    CLI::App app(description, "kmsctl");
    app.footer(footer);
    app.require_subcommand(1);
    app.fallthrough();  // so that --json and the like may stand behind the command, too
    ToolSettings settings{{}, default_timeout_seconds};
    Tool tool;
    tool.client = connect_lazily(settings, "kmsctl", "the key service");
    add_settings(app, settings, tool);
    add_key_commands(app, tool);
    add_alias_commands(app, tool);
    add_data_key_commands(app, tool);
    add_text_commands(app, tool);
    add_signing_commands(app, tool);
    add_inventory_command(app, tool, settings);
    add_backup_commands(app, tool);
    add_service_commands(app, tool);
    add_token_commands(app, tool);
    add_shared_secret_commands(app, tool);
    add_audit_commands(app, tool);
    add_budget_commands(app, tool);
    add_policy_commands(app, tool);
    try {
        app.parse(count, arguments);
    } catch (const CLI::ParseError& error) {
        // The library says that a command is missing, also when one was mistyped.
        const auto unknown = app.remaining(true);
        if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !unknown.empty()) {
            throw UsageError("\"" + unknown.front() + "\" is not known; see kmsctl --help");
        }
        return app.exit(error) == 0 ? 0 : exit_usage;
    }

    return tool.command();
}

int run(int count, char** arguments) noexcept {
    return run_tool("kmsctl", [&] {
        refuse_secrets(count, arguments);
        base::Log log("kmsctl", base::LogLevel::warning);
        server::harden_process(log);  // data keys pass through here
        return parse_and_run(count, arguments);
    });
}

}  // namespace
}  // namespace kms

int main(int count, char** arguments) { return kms::run(count, arguments); }
