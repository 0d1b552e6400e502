// key create, list, show, change.
#include <CLI/CLI.hpp>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/table.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

using base::JsonValue;
using base::Table;

constexpr std::size_t max_rule_file_bytes = 64UL * 1024;
constexpr const char* nothing_word = "none";

struct KeyCreateOptions {
    std::string alias;
    std::string description;
    std::vector<std::string> tags;
    std::string profile;
    std::string kind;
    std::optional<int> rotation_days;
    std::string rule_file;
};

struct KeyChangeOptions {
    std::string key;
    std::optional<std::uint64_t> if_revision;
    std::optional<std::string> description;
    std::vector<std::string> tags;
    bool without_tags = false;
    std::string rotation_days;  // a number, or "none"
    std::string rule_file;      // or "none"
};

void show_versions(const JsonValue& key, std::string& out) {
    const JsonValue* versions = key.find("versions");
    if (versions == nullptr || versions->array() == nullptr) return;
    Table table({"VERSION", "STATE", "CREATED", "LAST USED", "WRAPS", "REMAINING", "CHECK",
                 "IN THE TOKEN"});
    for (const JsonValue& version : *versions->array()) {
        const JsonValue* attributes = version.find("attributes");
        const JsonValue* check = attributes == nullptr ? nullptr : attributes->find("check_value");
        table.add({cell(version, "version"), cell(version, "state"), cell(version, "created_at"),
                   cell(version, "last_used_at"), cell(version, "wraps_used"),
                   cell(version, "wraps_remaining"), check == nullptr ? "" : cell(*check, "value"),
                   in_token(version)});
    }
    out += '\n' + table.to_string();
}

void show_tombstone(const JsonValue& key, std::string& out) {
    const JsonValue* tombstone = key.find("tombstone");
    if (tombstone == nullptr) return;
    Table facts;
    for (const char* name : {"given_up_in_making", "destroyed_at", "deletion_at",
                             "deletion_ordered_by", "compromised_at", "aliases"}) {
        if (tombstone->find(name) != nullptr) facts.add({name, cell(*tombstone, name)});
    }
    out += "\nTombstone\n" + facts.to_string();
    const JsonValue* versions = tombstone->find("versions");
    if (versions == nullptr || versions->array() == nullptr) return;
    Table table({"VERSION", "CREATED", "WRAPS RESERVED", "TOKEN KEY", "PROVEN ABSENT"});
    for (const JsonValue& version : *versions->array()) {
        table.add({cell(version, "version"), cell(version, "created_at"),
                   cell(version, "wraps_reserved"), cell(version, "token_key_id"),
                   cell(version, "proven_absent")});
    }
    out += '\n' + table.to_string();
}

void show_given_up(const JsonValue& key, std::string& out) {
    Table table({"GIVEN UP", "DESTROYED", "WHY", "TOKEN KEY", "PROVEN ABSENT"});
    bool is_any = false;
    const JsonValue* versions = key.find("versions");
    if (versions == nullptr || versions->array() == nullptr) return;
    for (const JsonValue& version : *versions->array()) {
        const JsonValue* tombstone = version.find("tombstone");
        if (tombstone == nullptr) continue;
        is_any = true;
        table.add({cell(*tombstone, "version"), cell(*tombstone, "destroyed_at"),
                   cell(*tombstone, "given_up_in_making"), cell(*tombstone, "token_key_id"),
                   cell(*tombstone, "proven_absent")});
    }
    if (is_any) out += '\n' + table.to_string();
}

void write_rule(base::JsonWriter& body, const std::string& file) {
    const auto text = read_input(file, max_rule_file_bytes);
    try {
        body.name("context_rule").value(base::parse_json(text));
    } catch (const base::Error& error) {
        throw UsageError(file + ": " + error.message());
    }
}

int create_key(const Tool& tool, const KeyCreateOptions& options) {
    base::JsonWriter body;
    body.begin_object();
    if (!options.alias.empty()) body.field("alias", options.alias);
    if (!options.description.empty()) body.field("description", options.description);
    if (!options.tags.empty()) body.field("tags", parse_pairs(options.tags, "--tag"));
    if (!options.profile.empty()) body.field("profile", options.profile);
    if (!options.kind.empty()) body.field("kind", options.kind);
    if (options.rotation_days)
        body.field("rotation_period_days", std::int64_t{*options.rotation_days});
    if (!options.rule_file.empty()) write_rule(body, options.rule_file);
    body.end_object();
    show_key(tool, tool.client().call("POST", "/v1/keys", body.text(), ordered_once()));
    return 0;
}

int show_named_key(const Tool& tool, const std::string& key) {
    require_key_name(key);
    show_key(tool, tool.client().call("GET", key_path(key), {}));
    return 0;
}

std::int64_t days_of(const std::string& text) {
    std::int64_t days = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), days);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
        throw UsageError("--rotation-days takes a number of days, or none");
    return days;
}

// The revision that a person has just seen is the one that the service has now; a script names it.
std::uint64_t revision_of(const Tool& tool, const KeyChangeOptions& options) {
    if (options.if_revision) return *options.if_revision;
    const JsonValue key = tool.client().call("GET", key_path(options.key), {});
    base::JsonReader reader(key);
    return static_cast<std::uint64_t>(
        reader.required_integer("revision", 1, std::numeric_limits<std::int64_t>::max()));
}

int change_key(const Tool& tool, const KeyChangeOptions& options) {
    require_key_name(options.key);
    if (options.without_tags && !options.tags.empty())
        throw UsageError("--tag and --without-tags exclude each other");
    base::JsonWriter body;
    body.begin_object();
    if (options.description) body.field("description", *options.description);
    if (!options.tags.empty() || options.without_tags)
        body.field("tags", parse_pairs(options.tags, "--tag"));
    if (options.rotation_days == nothing_word) {
        body.name("rotation_period_days").null();
    } else if (!options.rotation_days.empty()) {
        body.field("rotation_period_days", days_of(options.rotation_days));
    }
    if (options.rule_file == nothing_word) {
        body.name("context_rule").null();
    } else if (!options.rule_file.empty()) {
        write_rule(body, options.rule_file);
    }
    if (body.text() == "{") throw UsageError("there is nothing to change; see --help");
    body.field("if_revision", revision_of(tool, options)).end_object();
    show_key(tool, tool.client().call("PATCH", key_path(options.key), body.text(), ordered_once()));
    return 0;
}

int list_keys(const Tool& tool) {
    JsonValue::Array keys = fetch_pages(tool.client(), "/v1/keys", "keys");
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
    Table table({"ID", "ALIASES", "KIND", "STATE", "PROFILE", "VERSION", "CREATED", "NEXT ROTATION",
                 "DELETION", "DESCRIPTION"});
    for (const JsonValue& key : keys) {
        table.add({cell(key, "id"), cell(key, "aliases"), cell(key, "kind"), cell(key, "state"),
                   cell(key, "profile"), cell(key, "primary_version"), cell(key, "created_at"),
                   cell(key, "next_rotation_at"), cell(key, "deletion_at"),
                   cell(key, "description")});
    }
    print(table.to_string());
    return 0;
}

CLI::Option* add_tags(CLI::App& command, std::vector<std::string>& tags, const char* help) {
    return command.add_option("--tag", tags, help)
        ->type_name("NAME=VALUE")
        ->take_all()
        ->allow_extra_args(false);
}

void add_key_create(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<KeyCreateOptions>();
    CLI::App* create = family.add_subcommand("create", "Make a master key in the token");
    create->add_option("--alias", options->alias, "A name for it, used as alias/NAME")
        ->type_name("NAME");
    create
        ->add_option("--kind", options->kind,
                     "aes_256: for data keys and encryption (default); hmac_sha_256: for MACs; the "
                     "others sign")
        ->check(CLI::IsMember({"aes_256", "hmac_sha_256", "ecdsa_p256", "ecdsa_p384", "ed25519",
                               "rsa_pss_3072", "rsa_pss_4096"}))
        ->type_name("KIND");
    create->add_option("--description", options->description, "What it is for, at most 256 bytes")
        ->type_name("TEXT");
    add_tags(*create, options->tags, "May be given more than once");
    create
        ->add_option("--profile", options->profile,
                     "sealed: can't leave the token (default); restorable: may be backed up under "
                     "a trusted key")
        ->check(CLI::IsMember({"sealed", "restorable"}))
        ->type_name("PROFILE");
    create
        ->add_option("--rotation-days", options->rotation_days,
                     "A new version by itself every so many days, 1 to 3653; aes_256 only")
        ->check(CLI::Range(1, 3653))
        ->type_name("N");
    create
        ->add_option("--context-rule", options->rule_file,
                     "What encryption contexts must look like: a JSON object with required, "
                     "patterns, max_bytes; other keys are refused unless allow_others is true")
        ->type_name("FILE");
    create->footer(
        "Examples:\n"
        "  kmsctl key create --alias credentials --rotation-days 90\n"
        "  kmsctl key create --alias releases --kind ecdsa_p256");
    create->callback([&tool, options] {
        tool.command = [&tool, options] { return create_key(tool, *options); };
    });
}

void add_key_change(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<KeyChangeOptions>();
    CLI::App* change = family.add_subcommand(
        "change", "Change description, tags, rotation period or context rule");
    change->add_option("KEY", options->key, "Key id, or alias/NAME")->required();
    change->add_option("--description", options->description, "At most 256 bytes")
        ->type_name("TEXT");
    add_tags(*change, options->tags, "All tags it shall have; may be given more than once");
    change->add_flag("--without-tags", options->without_tags, "It shall have no tags");
    change->add_option("--rotation-days", options->rotation_days, "1 to 3653, or none")
        ->type_name("N");
    change->add_option("--context-rule", options->rule_file, "A JSON file, or none")
        ->type_name("FILE");
    change
        ->add_option("--if-revision", options->if_revision,
                     "Only if this is its revision still; else the one it has now")
        ->check(CLI::PositiveNumber)
        ->type_name("N");
    change->callback([&tool, options] {
        tool.command = [&tool, options] { return change_key(tool, *options); };
    });
}

}  // namespace

std::string in_token(const JsonValue& version) {
    constexpr std::array<std::string_view, 5> names = {"local", "sensitive", "always_sensitive",
                                                       "extractable", "never_extractable"};
    const JsonValue* attributes = version.find("attributes");
    if (attributes == nullptr) return {};
    std::string words;
    for (const std::string_view name : names) {
        const JsonValue* value = attributes->find(name);
        if (value == nullptr || value->boolean() == nullptr) continue;
        if (!words.empty()) words += ", ";
        words += (*value->boolean() ? "" : "not ") + std::string(name);
    }
    return words;
}

void show_key(const Tool& tool, const JsonValue& key) {
    if (tool.json) return print(base::to_json(key));
    Table table;
    for (const char* name : {"id", "aliases", "kind", "state", "profile", "description", "tags",
                             "revision", "primary_version", "created_at"}) {
        table.add({name, cell(key, name)});
    }
    for (const char* name : {"rotation_period_days", "next_rotation_at", "deletion_at",
                             "compromised_at", "destroyed_at", "context_rule"}) {
        if (key.find(name) != nullptr) table.add({name, cell(key, name)});
    }
    std::string out = table.to_string();
    show_versions(key, out);
    show_given_up(key, out);
    show_tombstone(key, out);
    print(out);
}

void add_key_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand(
        "key", "Master keys: create, list, show, change, rotate, enable, disable, delete");
    family->require_subcommand(1);
    add_key_create(*family, tool);

    CLI::App* list = family->add_subcommand("list", "All keys that you may see");
    list->callback([&tool] { tool.command = [&tool] { return list_keys(tool); }; });

    auto key = std::make_shared<std::string>();
    CLI::App* show = family->add_subcommand("show", "One key, with what the token says of it");
    show->add_option("KEY", *key, "Key id, or alias/NAME")->required();
    show->callback(
        [&tool, key] { tool.command = [&tool, key] { return show_named_key(tool, *key); }; });

    add_key_change(*family, tool);
    add_lifecycle_commands(*family, tool);
}

}  // namespace kms
