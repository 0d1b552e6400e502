#include "kms/client/tool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/table.h"
#include "base/uuid.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

constexpr int status_ok = 200;
constexpr int status_unavailable = 503;
constexpr std::size_t max_page = 100;
constexpr std::size_t max_cursor_bytes = 1024;

// An open file, or standard input, which stays open.
class Input {
public:
    explicit Input(const std::string& path)
        : descriptor_(path == standard_stream ? STDIN_FILENO
                                              : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0) {
            // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe
            throw UsageError(path + ": can't be opened: " + std::strerror(errno));
        }
    }
    ~Input() {
        if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
    }
    Input(const Input&) = delete;
    Input& operator=(const Input&) = delete;
    int descriptor() const { return descriptor_; }

private:
    int descriptor_;
};

std::string name_of_input(const std::string& path) {
    return path == standard_stream ? "standard input" : path;
}

// The parsed report of /readyz, whose status says whether it is a good one.
JsonValue fetch_readiness(Client& client, bool& ready) {
    const Answer answer = client.send("GET", "/readyz");
    ready = answer.status == status_ok;
    // With any other status this is the refusal, thrown in the service's own words.
    if (!ready && answer.status != status_unavailable) return client.call("GET", "/readyz", {});
    return base::parse_json(answer.body);
}

std::string join_list(const JsonValue::Array& items) {
    std::string joined;
    for (const JsonValue& item : items) {
        const auto* text = item.string();
        if (!joined.empty()) joined += ", ";
        joined += text != nullptr ? std::string_view(*text) : "?";
    }
    return joined;
}

}  // namespace

std::function<Client&()> connect_lazily(const ToolSettings& settings, std::string_view tool,
                                        std::string_view service, MakeWatch watch) {
    return [&settings, tool = std::string(tool), service = std::string(service),
            watch = std::move(watch), client = std::shared_ptr<Client>()]() mutable -> Client& {
        if (client) return *client;
        try {
            // NOLINTNEXTLINE(concurrency-mt-unsafe): a tool has one thread
            const char* home = std::getenv("HOME");
            auto connection =
                read_connection(settings.connection, default_connection_file(home, tool));
            ClientConfig& config = connection.client;
            config.deadline = std::chrono::seconds(settings.timeout_seconds);
            config.service = service;
            if (!connection.witness.file.empty()) {
                if (!watch) throw Error(ErrorCode::invalid_argument, tool + " has no \"witness\"");
                config.watch = watch(connection);
            }
            client = std::make_shared<Client>(std::move(config));
        } catch (const Error& error) {
            throw UsageError(error.what());
        }
        return *client;
    };
}

int run_tool(std::string_view tool, const std::function<int()>& work) noexcept {
    try {
        return work();
    } catch (const UsageError& error) {
        explain(tool, error.what());
        return exit_usage;
    } catch (const Error& error) {
        explain(tool, error.what());
        return exit_code(error);
    } catch (const std::exception& error) {
        explain(tool, error.what());
        return exit_failed;
    }
}

void explain(std::string_view tool, std::string_view message) {
    const std::string line = std::string(tool) + ": " + base::printable(message) + "\n";
    // When standard error can't be written, the exit code still tells.
    static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

void print_bytes(std::string_view bytes) {
    const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size() &&
                         std::fflush(stdout) == 0;
    if (!written) throw Error(ErrorCode::unavailable, "standard output can't be written");
}

void print(std::string_view text) {
    print_bytes(text);
    if (!text.ends_with('\n')) print_bytes("\n");
}

std::string cell(const JsonValue& object, std::string_view member) {
    const JsonValue* value = object.find(member);
    if (value == nullptr || value->is_null()) return {};
    if (const auto* text = value->string()) return std::string(*text);
    if (const auto* yes = value->boolean()) return *yes ? "yes" : "no";
    if (const auto* items = value->array()) return join_list(*items);
    if (const auto* members = value->object()) {
        std::string joined;
        for (const auto& [name, item] : *members) {
            if (!joined.empty()) joined += ", ";
            joined.append(name).append("=").append(cell(*value, name));
        }
        return joined;
    }
    return std::string(base::to_json(*value));
}

std::map<std::string, std::string> parse_pairs(const std::vector<std::string>& pairs,
                                               std::string_view option) {
    std::map<std::string, std::string> out;
    for (const std::string& pair : pairs) {
        const auto equals = pair.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw UsageError(std::string(option) + " takes name=value, not \"" + pair + "\"");
        }
        if (!out.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second) {
            throw UsageError(std::string(option) + " names \"" + pair.substr(0, equals) +
                             "\" twice");
        }
    }
    return out;
}

base::WipedString read_input(const std::string& path, std::size_t max_bytes) {
    const Input input(path);
    base::WipedString text(max_bytes + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(input.descriptor(), text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe
            throw UsageError(name_of_input(path) + " can't be read: " + std::strerror(errno));
        }
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size > max_bytes) {
        throw UsageError(name_of_input(path) + " is larger than " + std::to_string(max_bytes) +
                         " bytes");
    }
    text.resize(size);
    return text;
}

void require_new_file(const std::string& path) {
    std::error_code ignored;
    if (path != standard_stream && std::filesystem::exists(path, ignored)) {
        throw UsageError(path + " exists already; name a new file");
    }
}

void require_secret_place(const std::string& path, std::string_view what) {
    if (path == standard_stream && ::isatty(STDOUT_FILENO) != 0) {
        throw UsageError(std::string(what) + " are not shown on a terminal; name a file");
    }
    require_new_file(path);
}

void write_output(const std::string& path, std::string_view text, unsigned mode) {
    if (path == standard_stream) return print(text);
    base::write_file_durably(path, text, mode);
}

void write_output_bytes(const std::string& path, std::string_view bytes, unsigned mode) {
    if (path == standard_stream) return print_bytes(bytes);
    base::write_file_durably(path, bytes, mode);
}

void require_confirmation(bool yes, std::string_view what, const std::string& expected) {
    if (yes) return;
    if (::isatty(STDIN_FILENO) == 0) {
        throw UsageError(
            "this asks at a terminal before it does what can't be taken back; give --yes to go "
            "without the question");
    }
    std::cerr << base::printable(what) << "\nType " << base::printable(expected) << " to go on: ";
    std::string typed;
    std::getline(std::cin, typed);
    if (typed != expected) throw UsageError("nothing was done");
}

JsonValue::Array fetch_pages(Client& client, const std::string& path, std::string_view member,
                             const std::map<std::string, std::string>& query,
                             const std::function<void(const JsonValue&)>& visit) {
    JsonValue::Array all;
    std::string first = path + "?limit=" + std::to_string(max_page);
    for (const auto& [name, value] : query) {
        first.append("&").append(name).append("=").append(path_segment(value));
    }
    std::string cursor_part;
    for (;;) {
        const std::string target = first + cursor_part;
        const JsonValue page = client.call("GET", target, {});
        if (visit) visit(page);
        base::JsonReader reader(page);
        for (const auto& item : reader.required_array(member, max_page, 0)) all.push_back(item);
        const auto cursor = reader.optional_string("next_cursor", max_cursor_bytes);
        if (!cursor) return all;
        cursor_part = "&cursor=" + path_segment(*cursor);
    }
}

int show_status(const Tool& tool) {
    Client& client = tool.client();
    const JsonValue health = client.call("GET", "/healthz", {});
    bool ready = false;
    const JsonValue report = fetch_readiness(client, ready);
    const int result = ready ? 0 : exit_unavailable;
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("health").value(health).name("ready").value(report).end_object();
        print(out.text());
        return result;
    }
    base::Table table({"CHECK", "RESULT"});
    table.add({"running", cell(health, "status")}).add({"ready", ready ? "yes" : "no"});
    const JsonValue* checks = report.find("checks");
    if (checks != nullptr && checks->object() != nullptr) {
        for (const auto& [name, state] : *checks->object()) {
            table.add({std::string(name), cell(*checks, name)});
        }
    }
    table.add({"policy", cell(report, "policy_hash")});
    print(table.to_string());
    return result;
}

CallOptions ordered_once() {
    CallOptions options;
    options.idempotency_key = base::Uuid::random().to_string();
    return options;
}

CallOptions ordered_once(const Tool& tool) {
    return tool.remembers_orders ? ordered_once() : CallOptions{};
}

}  // namespace kms
