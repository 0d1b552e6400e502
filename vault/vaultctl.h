// The vault's tool, in parts: vaultctl.cpp is the program, vaultctl_*.cpp are its commands. It
// knows the vault by its API alone. Secrets come from files and standard input, never from
// arguments.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "kms/client/tool.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

namespace vault {

using kms::cell;
using kms::print;
using kms::standard_stream;
using kms::Tool;
using kms::UsageError;

void add_put_command(CLI::App& app, Tool& tool);
void add_read_commands(CLI::App& app, Tool& tool);     // get, list, expiring, reveal
void add_history_commands(CLI::App& app, Tool& tool);  // history, restore-version
void add_destroy_commands(CLI::App& app, Tool& tool);  // delete, erase-owner, destructions
void add_import_commands(CLI::App& app, Tool& tool);   // import file | postgres
void add_verify_commands(CLI::App& app, Tool& tool);   // verify-migration file | postgres
void add_rewrap_commands(CLI::App& app, Tool& tool);   // rewrap start | watch | show | list | …
void add_status_command(CLI::App& app, Tool& tool);

// The path of a credential, or of an owner's credentials when `name` is empty.
std::string credential_path(const std::string& owner, const std::string& name = {});

// Prints a credential's metadata object: as a table, or as JSON.
void show_credential(const Tool& tool, const base::JsonValue& credential);

// One line on standard error, behind the program's name.
void explain(std::string_view message);

}  // namespace vault
