// The vault's tool, in parts: vaultctl.cpp is the program, vaultctl_*.cpp are its commands. It
// knows the vault by its API alone. Secrets come from files and standard input, never from
// arguments.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "kms/client/client.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

namespace vault {

// A mistake in the arguments: exit code 2, not 1.
class UsageError : public std::exception {
public:
    explicit UsageError(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

private:
    std::string message_;
};

// What stands for standard input or output where a file is asked for.
inline constexpr const char* standard_stream = "-";

// What the commands share. `command` is set by the one that was named and run by the program.
struct Tool {
    bool json = false;
    std::function<kms::Client&()> client;  // of the vault; connects with the first call
    std::function<int()> command;          // its result is the exit code
};

void add_put_command(CLI::App& app, Tool& tool);
void add_read_commands(CLI::App& app, Tool& tool);  // get, list, reveal
void add_delete_command(CLI::App& app, Tool& tool);
void add_status_command(CLI::App& app, Tool& tool);

// The path of a credential, or of an owner's credentials when `name` is empty.
std::string credential_path(const std::string& owner, const std::string& name = {});

// Prints a credential's metadata object: as a table, or as JSON.
void show_credential(const Tool& tool, const base::JsonValue& credential);

// Standard output, and a line feed when `text` does not end with one. Throws unavailable when it
// can't be written.
void print(std::string_view text);
// One line on standard error, behind the program's name.
void explain(std::string_view message);

// Of an answer: the text of a member for a table cell; empty when it is absent or null.
std::string cell(const base::JsonValue& object, std::string_view member);

}  // namespace vault
