// The frame of a command line tool (kmsctl, vaultctl): who is asked and by whom, what is refused
// before anything is read, how it ends. And the commands that are the same with both services. What
// only one of them has belongs to that one.
#pragma once

#include <functional>
#include <memory>

#include "kms/client/tool.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's own name
class App;
}

namespace kms {

// Watches what a command's answers say of the service's audit log, and has the last word
// (kms/witness). kmsctl has one.
class ToolWitness {
public:
    virtual ~ToolWitness() = default;
    virtual AnswerWatch& watch() = 0;
    // Behind the command, however it ended: whether the log contradicts what was seen of it. It has
    // said so, then.
    virtual bool conclude() noexcept = 0;
};
using MakeWitness = std::unique_ptr<ToolWitness> (*)(const Connection& connection);

// The texts outlive the program.
struct ToolWords {
    const char* name;         // "kmsctl"
    const char* service;      // as messages call the other side: "the key service"
    const char* example_url;  // "https://127.0.0.1:7443"
    const char* description;
    const char* footer;
    int timeout_seconds;                 // longest wait for one answer, unless told otherwise
    MakeWitness make_witness = nullptr;  // null: the tool has none
};

using AddCommands = std::function<void(CLI::App& app, Tool& tool, const ToolSettings& settings)>;

// The whole program: refuses secrets in arguments and environment, hardens the process, parses and
// runs the command. The exit code.
int run_tool_program(const ToolWords& words, int count, char** arguments,
                     const AddCommands& add_commands) noexcept;

void add_token_commands(CLI::App& app, Tool& tool);          // token create | list | revoke
void add_shared_secret_commands(CLI::App& app, Tool& tool);  // shared-secret make | hash

struct BackupWords {
    const char* daemon;        // "kmsd"
    const char* restored_end;  // what else is to be said after a restore; may be empty
};

// backup, restore.
void add_backup_commands(CLI::App& app, Tool& tool, const BackupWords& words);

}  // namespace kms
