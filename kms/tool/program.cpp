#include "kms/tool/program.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "server/hardening.h"
#include "server/secret_source.h"

namespace kms {
namespace {

void add_settings(CLI::App& app, const ToolWords& words, ToolSettings& settings, Tool& tool) {
    auto& connection = settings.connection;
    app.add_option("--config", connection.config, "File with the connection (JSON)")
        ->type_name("FILE");
    app.add_option("--url", connection.url,
                   "Where " + std::string(words.service) + " is, e.g. " + words.example_url)
        ->type_name("URL");
    app.add_option("--socket", connection.socket,
                   "Connect to this UNIX socket; --url still names the server");
    app.add_option("--ca", connection.ca, "Who signed the server's certificate (PEM)")
        ->type_name("FILE");
    app.add_option("--certificate", connection.certificate, "Your certificate (PEM)")
        ->type_name("FILE");
    app.add_option("--key-file", connection.key_file, "Its private key (PEM, mode 0600)")
        ->type_name("FILE");
    app.add_option("--bearer-file", connection.bearer_file,
                   "An API token or another bearer (mode 0600), with or without a certificate")
        ->type_name("FILE");
    if (words.make_witness != nullptr) {
        app.add_option("--witness", connection.witness_file,
                       "Keep here the last checkpoint seen of the service's audit log")
            ->type_name("FILE");
        app.add_option("--audit-key-file", connection.audit_key_file,
                       "The service's audit.pem: the log's signatures are verified")
            ->type_name("FILE");
    }
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

// The exit code of who asked for help, or why nothing is run.
std::optional<int> parse_arguments(CLI::App& app, const ToolWords& words, int count,
                                   char** arguments) {
    try {
        app.parse(count, arguments);
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        // The library says that a command is missing, also when one was mistyped.
        const auto unknown = app.remaining(true);
        if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !unknown.empty()) {
            throw UsageError("\"" + unknown.front() + "\" is not known; see " + words.name +
                             " --help");
        }
        return app.exit(error) == 0 ? 0 : exit_usage;
    }
}

// A witness's word counts more than the command's, which may have failed for the same reason.
int run_command(const ToolWords& words, const Tool& tool,
                const std::unique_ptr<ToolWitness>& witness) {
    base::Log log(words.name, base::LogLevel::warning);
    server::harden_process(log);  // secrets pass through here
    int code = 0;
    std::exception_ptr failure;
    try {
        code = tool.command();
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    const bool contradicted = witness && witness->conclude();
    if (!contradicted && failure) std::rethrow_exception(failure);
    if (!contradicted) return code;
    if (failure) {
        run_tool(words.name, [&failure]() -> int { std::rethrow_exception(failure); });
    }
    return exit_contradicted;
}

int parse_and_run(const ToolWords& words, int count, char** arguments,
                  const AddCommands& add_commands) {
    CLI::App app(words.description, words.name);
    app.footer(words.footer);
    app.require_subcommand(1);
    app.fallthrough();  // so that --json and the like may stand behind the command, too
    ToolSettings settings{{}, words.timeout_seconds};
    std::unique_ptr<ToolWitness> witness;  // made with the client, which it outlives
    MakeWatch make_watch;
    if (words.make_witness != nullptr) {
        make_watch = [&words, &witness](const Connection& connection) {
            witness = words.make_witness(connection);
            return &witness->watch();
        };
    }
    Tool tool;
    tool.client = connect_lazily(settings, words.name, words.service, std::move(make_watch));
    add_settings(app, words, settings, tool);
    add_commands(app, tool, settings);
    const auto gives_verdict = [&tool] { return tool.gives_verdict && tool.gives_verdict(); };
    try {
        if (const auto ended = parse_arguments(app, words, count, arguments))
            return *ended != 0 && gives_verdict() ? exit_failed : *ended;
        return run_command(words, tool, witness);
    } catch (const UsageError& error) {
        if (!gives_verdict()) throw;
        explain(words.name, error.what());
    } catch (const base::Error& error) {
        if (!gives_verdict()) throw;
        explain(words.name, error.what());
    }
    return exit_failed;
}

}  // namespace

int run_tool_program(const ToolWords& words, int count, char** arguments,
                     const AddCommands& add_commands) noexcept {
    return run_tool(words.name, [&] {
        refuse_secrets(count, arguments);
        return parse_and_run(words, count, arguments, add_commands);
    });
}

}  // namespace kms
