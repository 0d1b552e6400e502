#include "kms/config.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "server/config.h"
#include "server/secret_source.h"

namespace kms {
namespace {

constexpr std::size_t max_path_bytes = 4096;
constexpr std::string_view readback_program = "strongroom-key-readback";
constexpr std::string_view worker_program = "strongroom-token-worker";
constexpr std::int64_t default_deadline_ms = 2000;
constexpr std::int64_t default_deadline_of_several_ms = 1000;  // one may be asked after another
constexpr std::size_t max_tokens = 8;
constexpr std::size_t max_name_bytes = 32;

std::filesystem::path optional_path(base::JsonReader& reader, std::string_view name,
                                    const std::filesystem::path& folder) {
    return reader.has(name) ? server::required_path(reader, name, folder) : std::filesystem::path();
}

hsm::TokenConfig read_token(base::JsonReader& token, const std::filesystem::path& folder,
                            const std::filesystem::path& program) {
    hsm::TokenConfig config;
    config.module = server::required_path(token, "module", folder);
    config.uri = token.required_string("uri", max_path_bytes);
    if (config.uri.find("pin-value") != std::string::npos ||
        config.uri.find("pin-source") != std::string::npos) {
        token.refuse("uri", "must not carry a PIN; say where to read it in \"pin\"");
    }
    config.init_string = token.optional_string("init_string", max_path_bytes, 0).value_or("");
    config.max_sessions =
        static_cast<std::size_t>(token.optional_integer("max_sessions", 1, 1024)
                                     .value_or(static_cast<std::int64_t>(config.max_sessions)));
    config.softhsm_config = optional_path(token, "softhsm_config", folder);
    config.readback_program = optional_path(token, "readback_program", folder);
    if (config.readback_program.empty()) {
        config.readback_program = program.parent_path() / readback_program;
    }
    return config;
}

TokenProcess read_process(base::JsonReader& token) {
    const auto word = token.optional_string("process", 16);
    if (!word || *word == "worker") return TokenProcess::worker;
    if (*word != "in_process") token.refuse("process", "must be worker or in_process");
    return TokenProcess::in_process;
}

TokenAccess read_access(base::JsonReader& token, const std::filesystem::path& folder,
                        const std::filesystem::path& program, std::int64_t default_deadline) {
    TokenAccess access;
    access.token = read_token(token, folder, program);
    access.worker_program = optional_path(token, "worker_program", folder);
    if (access.worker_program.empty()) {
        access.worker_program = program.parent_path() / worker_program;
    }
    access.deadline = std::chrono::milliseconds(
        token.optional_integer("deadline_ms", 100, 60'000).value_or(default_deadline));
    static_cast<void>(token.has("pin"));  // read when everything else is checked
    token.refuse_unknown();
    return access;
}

// As the key of a JSON field and the word of a log line.
std::string read_token_name(base::JsonReader& token) {
    const std::string_view name = token.required_string("name", max_name_bytes);
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    if (!std::all_of(name.begin(), name.end(), is_plain))
        token.refuse("name", "must be of a-z, 0-9, '-' and '_'");
    return std::string(name);
}

// A worker reads the file: here it is only looked at, so that a wrong mode is told at once.
void read_pin(base::JsonReader& token, const std::filesystem::path& folder, TokenProcess process,
              TokenAccess& access) {
    const server::SecretSource source = server::read_secret_source(token, "pin", folder);
    if (source.file.empty()) {
        access.pin = server::prompt_for_secret(source.prompt);
    } else if (process == TokenProcess::worker) {
        base::require_private_file(source.file);
        access.pin_file = source.file;
    } else {
        access.pin = base::read_secret_file(source.file);
    }
}

// "token", or "tokens": the readers of their PINs' places, once everything else is in order.
std::vector<base::JsonReader> read_tokens(base::JsonReader& top,
                                          const std::filesystem::path& folder,
                                          const std::filesystem::path& program, Config& config) {
    std::vector<base::JsonReader> readers;
    const auto* several = top.optional_array("tokens", max_tokens, 1);
    if (several == nullptr) {
        readers.push_back(top.required_object("token"));
        config.process = read_process(readers.front());
        config.tokens.push_back(read_access(readers.front(), folder, program, default_deadline_ms));
        return readers;
    }
    if (top.has("token")) top.refuse("tokens", "must not stand beside \"token\"");
    std::set<std::string> names;
    for (std::size_t i = 0; i < several->size(); ++i) {
        base::JsonReader& token = readers.emplace_back((*several)[i], top.item_path("tokens", i));
        std::string name = read_token_name(token);
        if (!names.insert(name).second) token.refuse("name", "stands twice");
        config.tokens.push_back(
            read_access(token, folder, program, default_deadline_of_several_ms));
        config.tokens.back().name = std::move(name);
    }
    return readers;
}

}  // namespace

Config read_config(const std::filesystem::path& file, const std::filesystem::path& program) {
    const base::JsonValue value = server::read_config_file(file);
    const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
    base::JsonReader top(value);
    Config config;
    config.edge = server::read_edge_config(top, folder);
    config.metrics = server::read_metrics_config(top, folder);
    config.gate = server::read_gate_config(top);
    config.identity = server::read_identity_config(top, folder);
    config.audit = server::read_audit_config(top, folder, "kmsd");
    config.policy = server::read_policy_files(top, folder);
    config.budgets = server::read_budgets_path(top, folder);
    config.log_level = server::read_log_level(top);

    config.store = server::read_database_config(top, folder, "kmsd");

    auto tokens = read_tokens(top, folder, program, config);
    // Everything else is checked before a secret is read.
    top.refuse_unknown();
    for (std::size_t i = 0; i < tokens.size(); ++i)
        read_pin(tokens[i], folder, config.process, config.tokens[i]);
    return config;
}

}  // namespace kms
