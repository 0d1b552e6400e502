// key create, list, show.
#include <CLI/CLI.hpp>

#include "base/table.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

using base::JsonValue;
using base::Table;

struct KeyCreateOptions {
    std::string alias;
    std::string description;
    std::vector<std::string> tags;
    std::string profile;
};

// What the token says of a version's key: the proof that it never was outside.
std::string in_token(const JsonValue& attributes) {
    constexpr std::array<std::string_view, 5> names = {"local", "sensitive", "always_sensitive",
                                                       "extractable", "never_extractable"};
    std::string words;
    for (const std::string_view name : names) {
        const JsonValue* value = attributes.find(name);
        if (value == nullptr || value->boolean() == nullptr) continue;
        if (!words.empty()) words += ", ";
        words += (*value->boolean() ? "" : "not ") + std::string(name);
    }
    return words;
}

void show_versions(const JsonValue& key, std::string& out) {
    const JsonValue* versions = key.find("versions");
    if (versions == nullptr || versions->array() == nullptr) return;
    Table table({"VERSION", "STATE", "CREATED", "WRAPS", "CHECK", "IN THE TOKEN"});
    for (const JsonValue& version : *versions->array()) {
        const JsonValue nothing;
        const JsonValue* found = version.find("attributes");
        const JsonValue& attributes = found == nullptr ? nothing : *found;
        const JsonValue* check = attributes.find("check_value");
        table.add({cell(version, "version"), cell(version, "state"), cell(version, "created_at"),
                   cell(version, "wraps_reserved"), check == nullptr ? "" : cell(*check, "value"),
                   in_token(attributes)});
    }
    out += '\n' + table.to_string();
}

void show_key(const Tool& tool, const JsonValue& key) {
    if (tool.json) return print(base::to_json(key));
    Table table;
    for (const char* name : {"id", "aliases", "state", "profile", "description", "tags",
                             "primary_version", "created_at"}) {
        table.add({name, cell(key, name)});
    }
    std::string out = table.to_string();
    show_versions(key, out);
    print(out);
}

int create_key(const Tool& tool, const KeyCreateOptions& options) {
    base::JsonWriter body;
    body.begin_object();
    if (!options.alias.empty()) body.field("alias", options.alias);
    if (!options.description.empty()) body.field("description", options.description);
    if (!options.tags.empty()) body.field("tags", parse_pairs(options.tags, "--tag"));
    if (!options.profile.empty()) body.field("profile", options.profile);
    body.end_object();
    show_key(tool, tool.client().call("POST", "/v1/keys", body.text()));
    return 0;
}

int show_named_key(const Tool& tool, const std::string& key) {
    require_key_name(key);
    show_key(tool, tool.client().call("GET", key_path(key), {}));
    return 0;
}

// All pages as one list.
JsonValue::Array fetch_keys(Client& client) {
    JsonValue::Array keys;
    std::string path = "/v1/keys?limit=100";
    for (;;) {
        JsonValue page = client.call("GET", path, {});
        base::JsonReader reader(page);
        const auto cursor = reader.optional_string("next_cursor", 1024);
        for (const auto& key : reader.required_array("keys", 100, 0)) keys.push_back(key);
        if (!cursor) return keys;
        path = "/v1/keys?limit=100&cursor=" + path_segment(*cursor);
    }
}

int list_keys(const Tool& tool) {
    JsonValue::Array keys = fetch_keys(tool.client());
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("keys").value(JsonValue(std::move(keys))).end_object();
        print(out.text());
        return 0;
    }
    if (keys.empty()) {
        print(
            "There is no key yet, or none that you may see. Make one: kmsctl key create --alias "
            "NAME");
        return 0;
    }
    Table table({"ID", "ALIASES", "STATE", "PROFILE", "VERSION", "CREATED", "DESCRIPTION"});
    for (const JsonValue& key : keys) {
        table.add({cell(key, "id"), cell(key, "aliases"), cell(key, "state"), cell(key, "profile"),
                   cell(key, "primary_version"), cell(key, "created_at"),
                   cell(key, "description")});
    }
    print(table.to_string());
    return 0;
}

void add_key_create(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<KeyCreateOptions>();
    CLI::App* create = family.add_subcommand("create", "Make a master key in the token");
    create->add_option("--alias", options->alias, "A name for it, used as alias/NAME")
        ->type_name("NAME");
    create->add_option("--description", options->description, "What it is for, at most 256 bytes")
        ->type_name("TEXT");
    create->add_option("--tag", options->tags, "May be given more than once")
        ->type_name("NAME=VALUE")
        ->take_all()
        ->allow_extra_args(false);
    create
        ->add_option("--profile", options->profile,
                     "sealed: can't leave the token (default); restorable: may be backed up under "
                     "a trusted key")
        ->check(CLI::IsMember({"sealed", "restorable"}))
        ->type_name("PROFILE");
    create->footer(
        "Example:\n  kmsctl key create --alias credentials --description 'for the vault'");
    create->callback([&tool, options] {
        tool.command = [&tool, options] { return create_key(tool, *options); };
    });
}

}  // namespace

void add_key_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("key", "Master keys: create, list, show");
    family->require_subcommand(1);
    add_key_create(*family, tool);

    CLI::App* list = family->add_subcommand("list", "All keys that you may see");
    list->callback([&tool] { tool.command = [&tool] { return list_keys(tool); }; });

    auto key = std::make_shared<std::string>();
    CLI::App* show = family->add_subcommand("show", "One key, with what the token says of it");
    show->add_option("KEY", *key, "Key id, or alias/NAME")->required();
    show->callback(
        [&tool, key] { tool.command = [&tool, key] { return show_named_key(tool, *key); }; });
}

}  // namespace kms
