// status, metrics, openapi.
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/table.h"
#include "kms/client/connection.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

using base::JsonValue;

constexpr int ok = 200;
constexpr int service_unavailable = 503;

// The parsed report of /readyz, whose status says whether it is a good one.
JsonValue fetch_readiness(Client& client, bool& ready) {
    const Answer answer = client.send("GET", "/readyz");
    ready = answer.status == ok;
    // With any other status this is the refusal, thrown in the service's own words.
    if (!ready && answer.status != service_unavailable) return client.call("GET", "/readyz", {});
    return base::parse_json(answer.body);
}

int show_status(const Tool& tool) {
    Client& client = tool.client();
    const JsonValue health = client.call("GET", "/healthz", {});
    bool ready = false;
    const JsonValue report = fetch_readiness(client, ready);
    const int result = ready ? 0 : exit_unavailable;
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("health").value(health).name("ready").value(report).end_object();
        print(out.text());
        return result;
    }
    base::Table table({"CHECK", "RESULT"});
    table.add({"running", cell(health, "status")}).add({"ready", ready ? "yes" : "no"});
    const JsonValue* checks = report.find("checks");
    if (checks != nullptr && checks->object() != nullptr) {
        for (const auto& [name, state] : *checks->object()) {
            table.add({std::string(name), cell(*checks, name)});
        }
    }
    table.add({"policy", cell(report, "policy_hash")});
    print(table.to_string());
    return result;
}

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
