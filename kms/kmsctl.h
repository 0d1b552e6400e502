// The operator's tool, in parts: kmsctl.cpp is the program, each other file a family of commands.
// It knows the key service by its client alone.
#pragma once

#include <string>

#include "base/json.h"
#include "kms/client/tool.h"
#include "kms/tool/program.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's own name
class App;
}

namespace kms {

// key create | list | show | change | rotate | enable | disable | schedule-deletion |
// cancel-deletion | mark-compromised
void add_key_commands(CLI::App& app, Tool& tool);
void add_lifecycle_commands(CLI::App& key_family, Tool& tool);  // those from rotate on
void add_alias_commands(CLI::App& app, Tool& tool);             // alias set | remove | list
void add_data_key_commands(CLI::App& app, Tool& tool);          // data-key create | unwrap | rewrap
void add_text_commands(CLI::App& app, Tool& tool);              // encrypt, decrypt
void add_signing_commands(CLI::App& app, Tool& tool);  // sign, verify, mac, verify-mac, public-key
void add_inventory_command(CLI::App& app, Tool& tool, const ToolSettings& settings);
void add_service_commands(CLI::App& app, Tool& tool);  // status, metrics, openapi
void add_audit_commands(CLI::App& app, Tool& tool);    // audit verify | prove | receipt | check |
                                                       // show | export | report | hash
void add_budget_commands(CLI::App& app, Tool& tool);   // budget show | lift
void add_policy_commands(CLI::App& app, Tool& tool);   // policy check | explain | test | diff

// The witness of the key service's audit log; says on standard error what it finds.
std::unique_ptr<ToolWitness> make_kmsctl_witness(const Connection& connection);

// Throws UsageError unless `key` is a UUID or alias/<name>.
void require_key_name(const std::string& key);

// Prints a key's description: as tables, or as JSON.
void show_key(const Tool& tool, const base::JsonValue& key);

// What the token says of a version's key, in words: the proof that it never was outside.
std::string in_token(const base::JsonValue& version);

}  // namespace kms
