// delete, status.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "base/table.h"
#include "kms/client/connection.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::JsonValue;

constexpr int ok = 200;
constexpr int service_unavailable = 503;

struct DeleteOptions {
    std::string owner, name;
    bool yes = false;
};

// What is destroyed can't be brought back: so the name is typed once more.
void require_confirmation(const DeleteOptions& options) {
    if (options.yes) return;
    if (::isatty(STDIN_FILENO) == 0) {
        throw UsageError("delete asks at a terminal; give --yes to go without the question");
    }
    std::cerr << "This destroys all versions of " << base::printable(options.owner) << "/"
              << base::printable(options.name) << " for good.\nType the name to go on: ";
    std::string typed;
    std::getline(std::cin, typed);
    if (typed != options.name) throw UsageError("nothing was destroyed");
}

int destroy(const Tool& tool, const DeleteOptions& options) {
    require_confirmation(options);
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

// The parsed report of /readyz, whose status says whether it is a good one.
JsonValue fetch_readiness(kms::Client& client, bool& ready) {
    const kms::Answer answer = client.send("GET", "/readyz");
    ready = answer.status == ok;
    // With any other status this is the refusal, thrown in the vault's own words.
    if (!ready && answer.status != service_unavailable) return client.call("GET", "/readyz", {});
    return base::parse_json(answer.body);
}

int show_status(const Tool& tool) {
    kms::Client& client = tool.client();
    const JsonValue health = client.call("GET", "/healthz", {});
    bool ready = false;
    const JsonValue report = fetch_readiness(client, ready);
    const int result = ready ? 0 : kms::exit_unavailable;
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
    command->callback([&tool] { tool.command = [&tool] { return show_status(tool); }; });
}

}  // namespace vault
