// The operator's tool, in parts: kmsctl.cpp is the program, each other file a family of commands.
// It knows the key service by its client alone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "kms/client/client.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's own name
class App;
}

namespace kms {

// A mistake in the arguments: exit code 2, not 1.
class UsageError : public std::exception {
public:
    explicit UsageError(std::string message) : message_(std::move(message)) {}
    const char* what() const noexcept override { return message_.c_str(); }

private:
    std::string message_;
};

// What the commands share. `command` is set by the one that was named and run by the program.
struct Tool {
    bool json = false;
    std::function<Client&()> client;  // connects with the first call
    std::function<int()> command;     // its result is the exit code
};

void add_key_commands(CLI::App& app, Tool& tool);       // key create | list | show
void add_data_key_commands(CLI::App& app, Tool& tool);  // data-key create | unwrap
void add_service_commands(CLI::App& app, Tool& tool);   // status, metrics, openapi
void add_audit_commands(CLI::App& app, Tool& tool);  // audit verify | prove | check | show | export
                                                     // | report

// "name=value" arguments as a map. Throws UsageError naming `option` for anything else or a name
// given twice.
std::map<std::string, std::string> parse_pairs(const std::vector<std::string>& pairs,
                                               std::string_view option);
// Throws UsageError unless `key` is a UUID or alias/<name>.
void require_key_name(const std::string& key);

// Standard output, and a line feed when `text` does not end with one. Throws unavailable when it
// can't be written.
void print(std::string_view text);

// Of an answer: the text of a member for a table cell; empty when it is absent or null. Lists are
// joined with commas.
std::string cell(const base::JsonValue& object, std::string_view member);

}  // namespace kms
