// get, list, reveal.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/table.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::JsonValue;
using base::Table;

constexpr unsigned private_mode = 0600;

struct Named {
    std::string owner, name;
};

struct RevealOptions {
    Named what;
    std::string out = standard_stream;
    std::optional<std::uint64_t> version;
};

void add_names(CLI::App& command, Named& named) {
    command.add_option("OWNER", named.owner, "Whose it is")->required();
    command.add_option("NAME", named.name, "The credential")->required();
}

int get(const Tool& tool, const Named& what) {
    show_credential(tool, tool.client().call("GET", credential_path(what.owner, what.name), {}));
    return 0;
}

// All pages as one list.
JsonValue::Array fetch_all(kms::Client& client, const std::string& owner) {
    JsonValue::Array credentials;
    std::string cursor;
    for (;;) {
        const std::string query = "?limit=100" + (cursor.empty() ? "" : "&cursor=" + cursor);
        const JsonValue page = client.call("GET", credential_path(owner) + query, {});
        base::JsonReader reader(page);
        for (const auto& item : reader.required_array("credentials", 100, 0)) {
            credentials.push_back(item);
        }
        const auto next = reader.optional_string("next_cursor", 1024);
        if (!next) return credentials;
        cursor = kms::path_segment(*next);
    }
}

int list(const Tool& tool, const std::string& owner) {
    JsonValue::Array credentials = fetch_all(tool.client(), owner);
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("credentials").value(JsonValue(std::move(credentials)));
        print(out.end_object().text());
        return 0;
    }
    if (credentials.empty()) {
        print("There is no credential of " + base::printable(owner) + " yet.");
        return 0;
    }
    Table table({"NAME", "VERSION", "UPDATED", "EXPIRES", "EXPIRED", "METADATA"});
    for (const JsonValue& item : credentials) {
        table.add({cell(item, "name"), cell(item, "version"), cell(item, "updated_at"),
                   cell(item, "expires_at"), cell(item, "expired"), cell(item, "metadata")});
    }
    print(table.to_string());
    return 0;
}

int reveal(const Tool& tool, const RevealOptions& options) {
    const bool to_file = options.out != standard_stream;
    std::error_code ignored;
    if (to_file && std::filesystem::exists(options.out, ignored)) {
        throw UsageError(options.out + " exists already; name a new file");
    }
    base::JsonWriter body;
    body.begin_object();
    if (options.version) body.field("version", *options.version);
    body.end_object();
    const JsonValue answer = tool.client().call(
        "POST", credential_path(options.what.owner, options.what.name) + "/reveal", body.text());
    base::JsonReader reader(answer);
    const JsonValue& shown = tool.json ? answer : reader.required_value("secret");
    if (reader.optional_boolean("expired").value_or(false)) {
        explain("this credential expired at " + cell(answer, "expires_at"));
    }
    const base::WipedString text = base::to_json(shown);
    if (to_file) {
        base::write_file_durably(options.out, text, private_mode);
    } else {
        print(text);
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

void add_reveal(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<RevealOptions>();
    CLI::App* command = app.add_subcommand("reveal", "A credential's secret");
    add_names(*command, options->what);
    command->add_option("--out", options->out, "A new file of mode 0600, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    command->add_option("--version", options->version, "An older version")->type_name("N");
    command->footer("Example:\n  vaultctl reveal acme instagram --out instagram.json");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return reveal(tool, *options); }; });
}

}  // namespace

void show_credential(const Tool& tool, const JsonValue& credential) {
    if (tool.json) return print(base::to_json(credential));
    Table table;
    for (const char* name : {"owner", "name", "version", "created_at", "updated_at", "expires_at",
                             "expired", "metadata", "key_id", "key_version"}) {
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
    add_reveal(app, tool);
}

}  // namespace vault
