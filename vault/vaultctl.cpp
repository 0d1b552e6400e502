// vaultctl: stores, shows, reveals and destroys credentials, asks how the vault is.
#include "vault/vaultctl.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "base/table.h"
#include "kms/client/connection.h"
#include "server/hardening.h"

namespace vault {

using base::Error;
using base::ErrorCode;

std::string credential_path(const std::string& owner, const std::string& name) {
    std::string path = "/v1/owners/" + kms::path_segment(owner) + "/credentials";
    if (!name.empty()) path += "/" + kms::path_segment(name);
    return path;
}

void print(std::string_view text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
                         (text.ends_with('\n') || std::fputc('\n', stdout) != EOF) &&
                         std::fflush(stdout) == 0;
    if (!written) throw Error(ErrorCode::unavailable, "standard output can't be written");
}

void explain(std::string_view message) {
    static_cast<void>(std::fprintf(stderr, "vaultctl: %s\n", base::printable(message).c_str()));
}

std::string cell(const base::JsonValue& object, std::string_view member) {
    const base::JsonValue* value = object.find(member);
    if (value == nullptr || value->is_null()) return {};
    if (const auto* text = value->string()) return std::string(*text);
    if (const auto* yes = value->boolean()) return *yes ? "yes" : "no";
    if (const auto* members = value->object()) {
        std::string joined;
        for (const auto& [name, item] : *members) {
            if (!joined.empty()) joined += ", ";
            joined.append(name).append("=").append(cell(*value, name));
        }
        return joined;
    }
    return std::string(base::to_json(*value));
}

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
    "  vaultctl delete acme instagram\n\n"
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the vault can't be reached or is "
    "not ready.";

constexpr int default_timeout_seconds = 10;

struct Settings {
    kms::ConnectionOptions connection;
    int timeout_seconds = default_timeout_seconds;
};

void add_settings(CLI::App& app, Settings& settings, Tool& tool) {
    auto& connection = settings.connection;
    app.add_option("--config", connection.config, "File with the connection (JSON)")
        ->type_name("FILE");
    app.add_option("--url", connection.url, "The vault, e.g. https://127.0.0.1:7444")
        ->type_name("URL");
    app.add_option("--ca", connection.ca, "Who signed the vault's certificate (PEM)")
        ->type_name("FILE");
    app.add_option("--certificate", connection.certificate, "Your certificate (PEM)")
        ->type_name("FILE");
    app.add_option("--key-file", connection.key_file, "Its private key (PEM, mode 0600)")
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
    Settings settings;
    Tool tool;
    add_settings(app, settings, tool);
    add_put_command(app, tool);
    add_read_commands(app, tool);
    add_delete_command(app, tool);
    add_status_command(app, tool);
    try {
        app.parse(count, arguments);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kms::exit_usage;
    }

    std::unique_ptr<kms::Client> client;
    tool.client = [&]() -> kms::Client& {
        if (client) return *client;
        try {
            auto config = kms::read_connection(
                settings.connection, kms::default_connection_file(std::getenv("HOME"), "vaultctl"));
            config.deadline = std::chrono::seconds(settings.timeout_seconds);
            config.service = "the vault";
            client = std::make_unique<kms::Client>(std::move(config));
        } catch (const Error& error) {
            throw UsageError(error.what());
        }
        return *client;
    };
    return tool.command();
}

// Arguments and environment are readable by others: a secret in either is refused, not used.
void refuse_secrets(int count, char** arguments) {
    server::refuse_secret_arguments({arguments + 1, arguments + count});
    server::refuse_secret_environment(kms::own_environment(environ).data());
}

int run(int count, char** arguments) noexcept {
    try {
        refuse_secrets(count, arguments);
        base::Log log("vaultctl", base::LogLevel::warning);
        server::harden_process(log);  // secrets pass through here
        return parse_and_run(count, arguments);
    } catch (const UsageError& error) {
        explain(error.what());
        return kms::exit_usage;
    } catch (const Error& error) {
        explain(error.what());
        return kms::exit_code(error);
    } catch (const std::exception& error) {
        explain(error.what());
        return kms::exit_failed;
    }
}

}  // namespace
}  // namespace vault

int main(int count, char** arguments) { return vault::run(count, arguments); }
