// status, metrics, openapi.
#include <CLI/CLI.hpp>

#include "kms/kmsctl.h"

namespace kms {
namespace {

void add_text_command(CLI::App& app, Tool& tool, const char* name, const char* path,
                      const char* what) {
    CLI::App* command = app.add_subcommand(name, what);
    command->callback([&tool, path] {
        tool.command = [&tool, path] {
            print(tool.client().get_text(path));
            return 0;
        };
    });
}

}  // namespace

void add_service_commands(CLI::App& app, Tool& tool) {
    CLI::App* status = app.add_subcommand(
        "status", "Is the service up and ready: token, store, audit (exit code 3 when not)");
    status->callback([&tool] { tool.command = [&tool] { return show_status(tool); }; });
    add_text_command(app, tool, "metrics", "/metrics", "The service's metrics, Prometheus text");
    add_text_command(app, tool, "openapi", "/openapi.json",
                     "The description of the API, OpenAPI 3");
}

}  // namespace kms
