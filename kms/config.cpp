#include "kms/config.h"

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

void read_worker(base::JsonReader& token, const std::filesystem::path& folder,
                 const std::filesystem::path& program, Config& config) {
    config.process = read_process(token);
    config.worker_program = optional_path(token, "worker_program", folder);
    if (config.worker_program.empty()) {
        config.worker_program = program.parent_path() / worker_program;
    }
    config.token_deadline = std::chrono::milliseconds(
        token.optional_integer("deadline_ms", 100, 60'000).value_or(default_deadline_ms));
}

// A worker reads the file: here it is only looked at, so that a wrong mode is told at once.
void read_pin(base::JsonReader& token, const std::filesystem::path& folder, Config& config) {
    const server::SecretSource source = server::read_secret_source(token, "pin", folder);
    if (source.file.empty()) {
        config.pin = server::prompt_for_secret(source.prompt);
    } else if (config.process == TokenProcess::worker) {
        base::require_private_file(source.file);
        config.pin_file = source.file;
    } else {
        config.pin = base::read_secret_file(source.file);
    }
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

    base::JsonReader token = top.required_object("token");
    config.token = read_token(token, folder, program);
    read_worker(token, folder, program, config);
    // Everything else is checked before the secret is read.
    static_cast<void>(token.has("pin"));
    token.refuse_unknown();
    top.refuse_unknown();
    read_pin(token, folder, config);
    return config;
}

}  // namespace kms
