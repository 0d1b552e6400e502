// get, list, expiring, reveal.
#include <CLI/CLI.hpp>
#include <optional>

#include "base/clock.h"
#include "base/table.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::JsonValue;
using base::Table;

struct Named {
    std::string owner, name;
};

struct RevealOptions {
    Named what;
    std::string out = standard_stream;
    std::optional<std::uint64_t> version;
    std::string reason;
};

struct ExpiringOptions {
    std::string owner;
    int days = 30;
};

void add_names(CLI::App& command, Named& named) {
    command.add_option("OWNER", named.owner, "Whose it is")->required();
    command.add_option("NAME", named.name, "The credential")->required();
}

int get(const Tool& tool, const Named& what) {
    show_credential(tool, tool.client().call("GET", credential_path(what.owner, what.name), {}));
    return 0;
}

// What vaultd names as unsound among the credentials of a list.
void collect_unsound(const JsonValue& page, JsonValue::Array& unsound) {
    const JsonValue* named = page.find("unsound");
    if (named == nullptr || named->array() == nullptr) return;
    for (const JsonValue& one : *named->array()) unsound.push_back(one);
}

// Fails when the vault could not show all.
int print_list(const Tool& tool, const std::string& path,
               const std::map<std::string, std::string>& query, const std::string& none) {
    JsonValue::Array unsound;
    JsonValue::Array credentials =
        kms::fetch_pages(tool.client(), path, "credentials", query,
                         [&](const JsonValue& page) { collect_unsound(page, unsound); });
    const int result = unsound.empty() ? 0 : kms::exit_failed;
    for (const JsonValue& one : unsound) {
        explain("the rows of " + cell(one, "owner") + "/" + cell(one, "name") +
                " in the vault's database can't be believed");
    }
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("credentials").value(JsonValue(std::move(credentials)));
        if (!unsound.empty()) out.name("unsound").value(JsonValue(std::move(unsound)));
        print(out.end_object().text());
        return result;
    }
    if (credentials.empty()) {
        if (result == 0) print(none);
        return result;
    }
    Table table({"OWNER", "NAME", "VERSION", "UPDATED", "EXPIRES", "EXPIRED", "METADATA"});
    for (const JsonValue& item : credentials) {
        table.add({cell(item, "owner"), cell(item, "name"), cell(item, "version"),
                   cell(item, "updated_at"), cell(item, "expires_at"), cell(item, "expired"),
                   cell(item, "metadata")});
    }
    print(table.to_string());
    return result;
}

int list(const Tool& tool, const std::string& owner) {
    return print_list(tool, credential_path(owner), {},
                      "There is no credential of " + base::printable(owner) + " yet.");
}

int expiring(const Tool& tool, const ExpiringOptions& options) {
    const base::Time before = base::SystemClock().now() + std::chrono::days(options.days);
    const std::string path =
        options.owner.empty() ? "/v1/credentials" : credential_path(options.owner);
    return print_list(
        tool, path, {{"expires_before", base::to_rfc3339(before)}},
        "Nothing has expired or does so within " + std::to_string(options.days) + " day(s).");
}

int reveal(const Tool& tool, const RevealOptions& options) {
    kms::require_new_file(options.out);
    base::JsonWriter body;
    body.begin_object();
    if (options.version) body.field("version", *options.version);
    if (!options.reason.empty()) body.field("reason", options.reason);
    body.end_object();
    const JsonValue answer = tool.client().call(
        "POST", credential_path(options.what.owner, options.what.name) + "/reveal", body.text());
    base::JsonReader reader(answer);
    const JsonValue& shown = tool.json ? answer : reader.required_value("secret");
    if (reader.optional_boolean("expired").value_or(false)) {
        explain("this credential expired at " + cell(answer, "expires_at"));
    }
    const base::WipedString text = base::to_json(shown);
    if (options.out == standard_stream) {
        print(text);
    } else {
        kms::write_output(options.out, text, kms::private_mode);
    }
    return 0;
}

void add_get(CLI::App& app, Tool& tool) {
    auto named = std::make_shared<Named>();
    CLI::App* command =
        app.add_subcommand("get", "A credential's metadata, versions and expiry, no secret");
    add_names(*command, *named);
    command->callback(
        [&tool, named] { tool.command = [&tool, named] { return get(tool, *named); }; });
}

void add_list(CLI::App& app, Tool& tool) {
    auto owner = std::make_shared<std::string>();
    CLI::App* command = app.add_subcommand("list", "All credentials of an owner");
    command->add_option("OWNER", *owner, "Whose they are")->required();
    command->callback(
        [&tool, owner] { tool.command = [&tool, owner] { return list(tool, *owner); }; });
}

void add_expiring(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<ExpiringOptions>();
    CLI::App* command =
        app.add_subcommand("expiring", "What has expired or does so soon, the earliest first");
    command->add_option("OWNER", options->owner, "Whose; without it, those of all owners");
    command->add_option("--days", options->days, "How soon; 0: what has expired")
        ->check(CLI::Range(0, 36500))
        ->type_name("DAYS")
        ->capture_default_str();
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return expiring(tool, *options); }; });
}

void add_reveal(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<RevealOptions>();
    CLI::App* command = app.add_subcommand("reveal", "A credential's secret");
    add_names(*command, options->what);
    command->add_option("--out", options->out, "A new file of mode 0600, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    command->add_option("--version", options->version, "An older version")->type_name("N");
    command->add_option("--reason", options->reason, "Why; stands in the vault's audit record")
        ->type_name("TEXT");
    command->footer("Example:\n  vaultctl reveal acme instagram --out instagram.json");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return reveal(tool, *options); }; });
}

}  // namespace

void show_credential(const Tool& tool, const JsonValue& credential) {
    if (tool.json) return print(base::to_json(credential));
    Table table;
    for (const char* name : {"owner", "name", "version", "created_at", "updated_at", "expires_at",
                             "expired", "metadata", "tags", "key_id", "key_version"}) {
        table.add({name, cell(credential, name)});
    }
    std::string out = table.to_string();
    const JsonValue* versions = credential.find("versions");
    if (versions != nullptr && versions->array() != nullptr) {
        Table rows({"VERSION", "CREATED", "EXPIRES"});
        for (const JsonValue& version : *versions->array()) {
            rows.add({cell(version, "version"), cell(version, "created_at"),
                      cell(version, "expires_at")});
        }
        out += '\n' + rows.to_string();
    }
    print(out);
}

void add_read_commands(CLI::App& app, Tool& tool) {
    add_get(app, tool);
    add_list(app, tool);
    add_expiring(app, tool);
    add_reveal(app, tool);
}

}  // namespace vault
