// delete, erase-owner, destructions.
#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/encoding.h"
#include "base/error.h"
#include "base/table.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::JsonValue;

struct DeleteOptions {
    std::string owner, name;
    bool yes = false;
};

struct EraseOptions {
    std::string owner;
    bool yes = false;
};

struct DestructionOptions {
    std::string owner, name, out;
};

std::string owner_path(const std::string& owner) {
    return "/v1/owners/" + kms::path_segment(owner);
}

int destroy(const Tool& tool, const DeleteOptions& options) {
    kms::require_confirmation(
        options.yes,
        "This destroys all versions of " + options.owner + "/" + options.name + " for good.",
        options.name);
    const JsonValue answer =
        tool.client().call("DELETE", credential_path(options.owner, options.name), {});
    if (tool.json) {
        print(base::to_json(answer));
        return 0;
    }
    base::JsonReader reader(answer);
    const JsonValue& destroyed = reader.required_value("destroyed");
    const JsonValue& record = reader.required_value("record");
    print("Destroyed " + base::printable(options.owner + "/" + options.name) + ": " +
          cell(destroyed, "versions") + " version(s), at " + cell(destroyed, "at") + ". Record " +
          cell(record, "id") + ".");
    return 0;
}

// Part after part. What is interrupted goes on where it stopped when it is called again.
int erase(const Tool& tool, const EraseOptions& options) {
    kms::require_confirmation(options.yes,
                              "This destroys every credential of " + options.owner + " for good.",
                              options.owner);
    for (;;) {
        const JsonValue answer =
            tool.client().call("POST", owner_path(options.owner) + "/erase", {});
        base::JsonReader reader(answer);
        const JsonValue& erasure = reader.required_value("erasure");
        base::JsonReader state(erasure);
        const bool complete = state.optional_boolean("complete").value_or(false);
        if (tool.json) {
            print(base::to_json(answer));
        } else {
            print("Part " + cell(erasure, "part") + ": " + cell(erasure, "credentials") +
                  " credential(s) destroyed so far, " + cell(erasure, "versions") +
                  " version(s). Record " + cell(reader.required_value("record"), "id") + ".");
        }
        if (complete) break;
    }
    if (!tool.json) print(base::printable(options.owner) + " has no credentials any more.");
    return 0;
}

void write_files(const std::string& folder, const JsonValue& record) {
    const std::filesystem::path base = std::filesystem::path(folder) / cell(record, "id");
    base::JsonReader reader(record);
    kms::write_output_bytes(base.string() + ".json", reader.required_string("text", 1UL << 20U),
                            kms::public_mode);
    if (!reader.has("signature")) return;
    const base::Bytes signature = reader.required_base64("signature", 1024);
    kms::write_output_bytes(base.string() + ".sig", base::as_text(signature), kms::public_mode);
}

void add_record_row(base::Table& table, const JsonValue& record) {
    base::JsonReader reader(record);
    const JsonValue text = base::parse_json(reader.required_string("text", 1UL << 20U));
    base::JsonReader said(text);
    std::string names;
    std::int64_t versions = 0;
    const auto& credentials = said.required_array("credentials", 1000, 0);
    for (const JsonValue& one : credentials) {
        if (!names.empty()) names += ", ";
        names += cell(one, "name");
        base::JsonReader item(one);
        versions += item.required_integer("versions", 0, INT64_MAX);
    }
    constexpr std::size_t most_names = 60;
    if (names.size() > most_names) {
        names = std::to_string(credentials.size()) + " credentials";
    }
    const bool is_signed = reader.has("signature");
    table.add({cell(text, "at"), cell(record, "id"), names, std::to_string(versions),
               cell(text, "ordered_by"),
               is_signed ? cell(record, "key_id") + "/" + cell(record, "key_version") : "nobody"});
}

int show_destructions(const Tool& tool, const DestructionOptions& options) {
    std::map<std::string, std::string> query;
    if (!options.name.empty()) query["name"] = options.name;
    JsonValue::Array records = kms::fetch_pages(
        tool.client(), owner_path(options.owner) + "/destructions", "destructions", query);
    if (!options.out.empty()) {
        for (const JsonValue& record : records) write_files(options.out, record);
    }
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("destructions").value(JsonValue(std::move(records)));
        print(out.end_object().text());
        return 0;
    }
    if (records.empty()) {
        print("Nothing of " + base::printable(options.owner) + " was destroyed.");
        return 0;
    }
    base::Table table({"AT", "RECORD", "CREDENTIALS", "VERSIONS", "ORDERED BY", "SIGNED BY"});
    for (const JsonValue& record : records) add_record_row(table, record);
    print(table.to_string());
    return 0;
}

void add_delete(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<DeleteOptions>();
    CLI::App* command =
        app.add_subcommand("delete", "Destroy all versions of a credential, for good");
    command->add_option("OWNER", options->owner, "Whose it is")->required();
    command->add_option("NAME", options->name, "The credential")->required();
    command->add_flag("--yes", options->yes, "Don't ask");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return destroy(tool, *options); }; });
}

void add_erase(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<EraseOptions>();
    CLI::App* command = app.add_subcommand(
        "erase-owner", "Destroy every credential of an owner, for good, part by part");
    command->add_option("OWNER", options->owner, "Whose they are")->required();
    command->add_flag("--yes", options->yes, "Don't ask");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return erase(tool, *options); }; });
}

void add_destructions(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<DestructionOptions>();
    CLI::App* command =
        app.add_subcommand("destructions", "The signed records of what was destroyed of an owner");
    command->add_option("OWNER", options->owner, "Whose it was")->required();
    command->add_option("--name", options->name, "Of this credential only")->type_name("NAME");
    command
        ->add_option("--out", options->out,
                     "A folder for each record's text (ID.json) and signature (ID.sig)")
        ->type_name("FOLDER");
    command->footer(
        "To verify a record with the key service's public key (kmsctl public-key KEY --out "
        "k.pem):\n"
        "  openssl pkeyutl -verify -rawin -pubin -inkey k.pem -in ID.json -sigfile ID.sig\n"
        "  (ed25519), or: openssl dgst -sha256 -verify k.pem -signature ID.sig ID.json");
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return show_destructions(tool, *options); };
    });
}

}  // namespace

void add_destroy_commands(CLI::App& app, Tool& tool) {
    add_delete(app, tool);
    add_erase(app, tool);
    add_destructions(app, tool);
}

}  // namespace vault
