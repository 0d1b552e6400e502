// alias set, remove, list.
#include <CLI/CLI.hpp>

#include "base/table.h"
#include "base/uuid.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

using base::JsonValue;

struct AliasOptions {
    std::string name;
    std::string key;
};

// Both "credentials" and "alias/credentials" name one.
std::string bare_alias(const std::string& name) {
    constexpr std::string_view prefix = "alias/";
    return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

std::string alias_path(const std::string& name) {
    return "/v1/aliases/" + path_segment(bare_alias(name));
}

int set_alias(const Tool& tool, const AliasOptions& options) {
    require_key_name(options.key);
    std::string id = options.key;
    if (!base::Uuid::parse(id)) id = cell(tool.client().call("GET", key_path(id), {}), "id");
    base::JsonWriter body;
    body.begin_object().field("key", id).end_object();
    const JsonValue answer =
        tool.client().call("PUT", alias_path(options.name), body.text(), ordered_once());
    print(tool.json ? std::string(base::to_json(answer))
                    : "alias/" + bare_alias(options.name) + " is key " + id + " now.");
    return 0;
}

int remove_alias(const Tool& tool, const AliasOptions& options) {
    const JsonValue answer =
        tool.client().call("DELETE", alias_path(options.name), {}, ordered_once());
    print(tool.json ? std::string(base::to_json(answer))
                    : "alias/" + bare_alias(options.name) + " is nobody's now.");
    return 0;
}

int list_aliases(const Tool& tool) {
    JsonValue::Array aliases = fetch_pages(tool.client(), "/v1/aliases", "aliases");
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("aliases").value(JsonValue(std::move(aliases))).end_object();
        print(out.text());
        return 0;
    }
    if (aliases.empty()) {
        print("There is no alias yet. Make one: kmsctl alias set NAME KEY");
        return 0;
    }
    base::Table table({"ALIAS", "KEY"});
    for (const JsonValue& alias : aliases) {
        table.add({"alias/" + cell(alias, "alias"), cell(alias, "key_id")});
    }
    print(table.to_string());
    return 0;
}

}  // namespace

void add_alias_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("alias", "Names of master keys: set, remove, list");
    family->require_subcommand(1);

    auto to_set = std::make_shared<AliasOptions>();
    CLI::App* set = family->add_subcommand("set", "Give an alias to a key, or move it there");
    set->add_option("NAME", to_set->name, "The alias")->required();
    set->add_option("KEY", to_set->key, "Key id, or alias/NAME")->required();
    set->callback(
        [&tool, to_set] { tool.command = [&tool, to_set] { return set_alias(tool, *to_set); }; });

    auto to_remove = std::make_shared<AliasOptions>();
    CLI::App* remove = family->add_subcommand("remove", "Take an alias away; the key stays");
    remove->add_option("NAME", to_remove->name, "The alias")->required();
    remove->callback([&tool, to_remove] {
        tool.command = [&tool, to_remove] { return remove_alias(tool, *to_remove); };
    });

    CLI::App* list = family->add_subcommand("list", "All aliases");
    list->callback([&tool] { tool.command = [&tool] { return list_aliases(tool); }; });
}

}  // namespace kms
