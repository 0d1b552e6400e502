// What the command line tools (kmsctl, vaultctl) have in common: how they print, read and write,
// ask back and end. No command line library in here: that belongs to the programs.
#pragma once

#include <exception>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/secret_bytes.h"
#include "kms/client/client.h"
#include "kms/client/connection.h"

namespace kms {

// A mistake in the arguments: exit code 2, not 1, unless the command gives verdicts.
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
    std::function<Client&()> client;  // connects with the first call
    std::function<int()> command;     // its result is the exit code
    bool remembers_orders = false;    // the service takes an Idempotency-Key with all changes
    // Says whether the command that was named has verdicts as exit codes: then each of its failures
    // ends with exit_failed, wrong usage too. May be empty.
    std::function<bool()> gives_verdict{};
};

struct ToolSettings {
    ConnectionOptions connection;
    int timeout_seconds = 0;  // longest wait for one answer
};

// Gives who watches the answers of a connection that has files for it; must outlive the client.
using MakeWatch = std::function<AnswerWatch*(const Connection& connection)>;

// For Tool::client: reads the configuration when first called, not before, since not every command
// needs a service. It throws UsageError for a configuration that is wrong. `settings` must outlive
// it; `tool` is the program's name, `service` what messages call the other side. `watch` is empty
// where the tool has no witness: a configuration with one is wrong then.
std::function<Client&()> connect_lazily(const ToolSettings& settings, std::string_view tool,
                                        std::string_view service, MakeWatch watch = {});

// Runs `work` and says on standard error, behind the program's name, why it failed. The exit code.
int run_tool(std::string_view tool, const std::function<int()>& work) noexcept;

// One line on standard error, behind the program's name.
void explain(std::string_view tool, std::string_view message);

// Standard output, and a line feed when `text` does not end with one. Throws unavailable when it
// can't be written.
void print(std::string_view text);
// The same without the line feed, for bytes.
void print_bytes(std::string_view bytes);

// Of an answer: the text of a member for a table cell; empty when it is absent or null. Lists are
// joined with commas, the members of an object as name=value.
std::string cell(const base::JsonValue& object, std::string_view member);

// "name=value" arguments as a map. Throws UsageError naming `option` for anything else or a name
// given twice.
std::map<std::string, std::string> parse_pairs(const std::vector<std::string>& pairs,
                                               std::string_view option);

// The whole file, or standard input, at most `max_bytes`, straight into wiped memory: it may be a
// secret. Throws UsageError saying what is wrong.
base::WipedString read_input(const std::string& path, std::size_t max_bytes);

// Before the service is asked for what could not be kept otherwise. Throws UsageError when the file
// is there already.
void require_new_file(const std::string& path);
// The same, and that a secret is not shown on a terminal. `what` is it, in the plural.
void require_secret_place(const std::string& path, std::string_view what);
// To a new file of that mode, or to standard output, where a last line feed is added; `bytes` stay
// as they are.
void write_output(const std::string& path, std::string_view text, unsigned mode);
void write_output_bytes(const std::string& path, std::string_view bytes, unsigned mode);
inline constexpr unsigned private_mode = 0600;
inline constexpr unsigned public_mode = 0644;

// Before what can't be taken back. Says `what` and has `expected` typed, unless `yes`. Throws
// UsageError when something else is typed, or when nobody sits at standard input and `yes` is
// missing.
void require_confirmation(bool yes, std::string_view what, const std::string& expected);

// All items of a list that comes in pages of {"<member>": […], "next_cursor"?}. `path` without a
// query; `query` are further parameters of it. `visit` is shown each page.
base::JsonValue::Array fetch_pages(
    Client& client, const std::string& path, std::string_view member,
    const std::map<std::string, std::string>& query = {},
    const std::function<void(const base::JsonValue&)>& visit = nullptr);

// The command "status": is the service up and ready? 0, or exit_unavailable.
int show_status(const Tool& tool);

// For a mutation: a fresh Idempotency-Key, so that an answer that got lost is fetched, not ordered
// again.
CallOptions ordered_once();
// The same for what both services have: nothing for a service that would order it again.
CallOptions ordered_once(const Tool& tool);

}  // namespace kms
