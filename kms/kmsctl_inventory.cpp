// inventory: every key with what the token says of it, as a table, JSON or a CycloneDX CBOM.
#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/table.h"
#include "kms/cbom.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

using base::JsonValue;

constexpr std::size_t shown_check_value = 16;  // of a public key's PEM nothing: it has its command

struct InventoryOptions {
    std::string format;
    std::string out = standard_stream;
};

// Each by a request of its own: lists don't ask the token.
JsonValue::Array describe_all(Client& client) {
    JsonValue::Array described;
    for (const JsonValue& key : fetch_pages(client, "/v1/keys", "keys")) {
        described.push_back(client.call("GET", key_path(cell(key, "id")), {}));
    }
    return described;
}

std::string as_table(const JsonValue::Array& keys) {
    base::Table table({"KEY", "ALIASES", "KIND", "STATE", "VERSION", "VERSION STATE", "MECHANISM",
                       "CHECK", "METHOD", "IN THE TOKEN"});
    for (const JsonValue& key : keys) {
        const JsonValue* versions = key.find("versions");
        if (versions == nullptr || versions->array() == nullptr) continue;
        for (const JsonValue& version : *versions->array()) {
            static const JsonValue nothing;
            const JsonValue* found = version.find("attributes");
            const JsonValue& attributes = found == nullptr ? nothing : *found;
            const JsonValue* check = attributes.find("check_value");
            table.add({cell(key, "id"), cell(key, "aliases"), cell(key, "kind"), cell(key, "state"),
                       cell(version, "version"), cell(version, "state"),
                       cell(attributes, "mechanism"),
                       check == nullptr ? "" : cell(*check, "value").substr(0, shown_check_value),
                       check == nullptr ? "" : cell(*check, "method"), in_token(version)});
        }
    }
    return table.to_string();
}

base::WipedString as_json(JsonValue::Array keys, base::Time at) {
    base::JsonWriter out;
    out.begin_object().field("at", base::to_rfc3339(at));
    out.name("keys").value(JsonValue(std::move(keys))).end_object();
    return out.take();
}

int write_inventory(const Tool& tool, const ToolSettings& settings,
                    const InventoryOptions& options) {
    require_new_file(options.out);
    const std::string format =
        options.format.empty() ? (tool.json ? "json" : "table") : options.format;
    JsonValue::Array keys = describe_all(tool.client());
    const base::Time now = base::SystemClock().now();
    if (format == "json") {
        write_output(options.out, as_json(std::move(keys), now), public_mode);
    } else if (format == "cyclonedx") {
        const CbomSubject subject{settings.connection.url, STRONGROOM_VERSION, now,
                                  base::Uuid::random()};
        write_output(options.out, write_cbom(subject, keys), public_mode);
    } else {
        write_output(options.out, as_table(keys), public_mode);
    }
    return 0;
}

}  // namespace

void add_inventory_command(CLI::App& app, Tool& tool, const ToolSettings& settings) {
    auto options = std::make_shared<InventoryOptions>();
    CLI::App* command =
        app.add_subcommand("inventory", "Every key and version, with what the token says of it");
    command
        ->add_option("--format", options->format,
                     "table (default), json, or cyclonedx: a CycloneDX 1.6 CBOM")
        ->check(CLI::IsMember({"table", "json", "cyclonedx"}))
        ->type_name("FORMAT");
    command->add_option("--out", options->out, "A new file, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    command->callback([&tool, &settings, options] {
        tool.command = [&tool, &settings, options] {
            return write_inventory(tool, settings, *options);
        };
    });
}

}  // namespace kms
