#include "server/config.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "server/audit_context.h"
#include "server/secret_source.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;

constexpr std::size_t max_config_bytes = 64UL * 1024;
constexpr std::size_t max_path_bytes = 4096;

constexpr std::string_view unix_address_prefix = "unix:";
constexpr std::size_t max_listen_addresses = 16;
constexpr std::size_t max_revocation_lists = 64;

void require_numeric_address(const JsonReader& listen, const std::string& address) {
    std::array<unsigned char, sizeof(in6_addr)> binary{};
    if (::inet_pton(AF_INET, address.c_str(), binary.data()) != 1 &&
        ::inet_pton(AF_INET6, address.c_str(), binary.data()) != 1) {
        listen.refuse("address", "must be a numeric IPv4 or IPv6 address, or unix:<path>");
    }
}

// "0660": who may connect, as chmod writes it. Nobody needs more than to read and write.
unsigned parse_mode(const JsonReader& listen, std::string_view text) {
    unsigned mode = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (error != std::errc() || end != text.data() + text.size() || (mode & ~0666U) != 0 ||
        (mode & 0600U) != 0600U) {
        listen.refuse("mode", "must be an octal mode like \"0660\"");
    }
    return mode;
}

// "address" with "port", or "unix:<path>" with "mode".
ListenAddress read_address(JsonReader& listen, const std::filesystem::path& folder) {
    ListenAddress result;
    const auto text = listen.required_string("address", max_path_bytes);
    if (text.starts_with(unix_address_prefix)) {
        const std::string_view path = text.substr(unix_address_prefix.size());
        if (path.empty() || path.find('\0') != std::string_view::npos) {
            listen.refuse("address", "must name a path after unix:");
        }
        result.address = std::string(unix_address_prefix) +
                         (std::filesystem::absolute(folder) / path).lexically_normal().string();
        if (const auto mode = listen.optional_string("mode", 4)) {
            result.mode = parse_mode(listen, *mode);
        }
        return result;
    }
    result.address = text;
    require_numeric_address(listen, result.address);
    result.port = static_cast<std::uint16_t>(listen.required_integer("port", 0, 65535));
    return result;
}

void read_listen(JsonReader listen, const std::filesystem::path& folder, EdgeConfig& config) {
    config.listen = {read_address(listen, folder)};
    if (const auto* also = listen.optional_array("also", max_listen_addresses)) {
        for (std::size_t i = 0; i < also->size(); ++i) {
            JsonReader item((*also)[i], listen.item_path("also", i));
            config.listen.push_back(read_address(item, folder));
            item.refuse_unknown();
        }
    }
    const auto size = [&listen](std::string_view name, std::size_t& value, std::int64_t max) {
        if (const auto given = listen.optional_integer(name, 1, max))
            value = static_cast<std::size_t>(*given);
    };
    size("max_connections", config.max_connections, 65536);
    size("max_connections_per_peer", config.max_connections_per_peer, 65536);
    size("threads", config.threads, 64);
    if (const auto seconds = listen.optional_integer("idle_seconds", 1, 3600)) {
        config.idle_deadline = std::chrono::seconds(*seconds);
    }
    listen.refuse_unknown();
}

void read_tls(JsonReader tls, const std::filesystem::path& folder, EdgeConfig& config) {
    config.certificate = required_path(tls, "certificate", folder);
    config.key = required_path(tls, "key", folder);
    config.client_ca = required_path(tls, "client_ca", folder);
    for (const auto& file :
         tls.optional_string_array("client_crl", max_revocation_lists, max_path_bytes)) {
        if (file.empty() || file.find('\0') != std::string::npos) {
            tls.refuse("client_crl", "must be a list of paths");
        }
        config.client_crl.push_back((std::filesystem::absolute(folder) / file).lexically_normal());
    }
    const auto version = tls.optional_string("minimum_version", 8).value_or("1.3");
    if (version != "1.2" && version != "1.3")
        tls.refuse("minimum_version", "must be \"1.2\" or \"1.3\"");
    config.minimum_version = version == "1.2" ? TlsVersion::tls_1_2 : TlsVersion::tls_1_3;
    const auto certificates = tls.optional_string("client_certificates", 16).value_or("optional");
    if (certificates != "optional" && certificates != "required") {
        tls.refuse("client_certificates", "must be \"optional\" or \"required\"");
    }
    config.require_client_certificate = certificates == "required";
    tls.refuse_unknown();
}

std::string host_name() {
    std::array<char, HOST_NAME_MAX + 1> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0 || name.front() == '\0')
        return "localhost";
    return name.data();
}

}  // namespace

base::JsonValue read_config_file(const std::filesystem::path& file) {
    const std::string text = base::read_trusted_file(file, max_config_bytes);
    base::JsonLimits limits;
    limits.bytes = max_config_bytes;
    limits.comments = true;
    try {
        return base::parse_json(text, limits);
    } catch (const Error& error) {
        throw Error(ErrorCode::invalid_argument, file.string() + ": " + error.message());
    }
}

std::filesystem::path required_path(JsonReader& reader, std::string_view name,
                                    const std::filesystem::path& folder) {
    const auto text = reader.required_string(name, max_path_bytes);
    if (text.find('\0') != std::string_view::npos) reader.refuse(name, "must be a path");
    return (std::filesystem::absolute(folder) / std::filesystem::path(text)).lexically_normal();
}

EdgeConfig read_edge_config(JsonReader& top, const std::filesystem::path& folder) {
    EdgeConfig config;
    read_listen(top.required_object("listen"), folder, config);
    read_tls(top.required_object("tls"), folder, config);
    return config;
}

std::optional<EdgeConfig> read_metrics_config(JsonReader& top,
                                              const std::filesystem::path& folder) {
    auto metrics = top.optional_object("metrics");
    if (!metrics) return std::nullopt;
    EdgeConfig config;
    config.listen = {read_address(*metrics, folder)};
    metrics->refuse_unknown();
    return config;
}

namespace {

constexpr std::uint64_t mebibyte = 1024UL * 1024;
constexpr std::int64_t default_segment_mebibytes = 256;
constexpr std::int64_t default_segment_days = 7;

SealConfig read_seal_config(JsonReader& checkpoints, const std::filesystem::path& folder,
                            const SigningKeyReader& read_signing_key) {
    SealConfig config;
    if (read_signing_key) config.signing_key = read_signing_key(checkpoints);
    if (const auto seconds = checkpoints.optional_integer("refuse_after_seconds", 1, 604'800)) {
        config.refuse_after = std::chrono::seconds(*seconds);
    }
    if (const auto records = checkpoints.optional_integer("records", 1, 1'000'000)) {
        config.every_records = static_cast<std::uint64_t>(*records);
    }
    if (const auto seconds = checkpoints.optional_integer("seconds", 1, 3600)) {
        config.every = std::chrono::seconds(*seconds);
    }
    if (checkpoints.has("copy_directory")) {
        config.copy = required_path(checkpoints, "copy_directory", folder);
    }
    if (const auto days = checkpoints.optional_integer("keep_days", 1, 36'500)) {
        config.keep = std::chrono::days(*days);
    }
    if (const auto days = checkpoints.optional_integer("compress_days", 0, 36'500)) {
        config.compress = std::chrono::days(*days);
    }
    checkpoints.refuse_unknown();
    return config;
}

}  // namespace

ContextMode context_mode(const JsonReader& reader, std::string_view name, std::string_view word) {
    if (word == "clear") return ContextMode::clear;
    if (word == "hash") return ContextMode::hash;
    if (word == "drop") return ContextMode::drop;
    reader.refuse(name, R"(must be "clear", "hash" or "drop")");
}

// The key's file is made when it is missing: a random text, 256 bits.
base::SecretBytes read_context_key(JsonReader& context, const std::filesystem::path& folder) {
    constexpr std::size_t random_key_bytes = 32;
    constexpr unsigned key_file_mode = 0600;
    JsonReader source = context.required_object("hash_key");
    if (source.has("file")) {
        const auto file = required_path(source, "file", folder);
        if (!std::filesystem::exists(file)) {
            const base::SecretBytes random = base::random_secret(random_key_bytes);
            base::WipedString text;
            base::append_base64(text, random.expose());
            base::write_file_durably(file, text, key_file_mode);
        }
    }
    return read_secret(context, "hash_key", folder);
}

std::shared_ptr<const AuditContext> read_context_rules(JsonReader& context,
                                                       const std::filesystem::path& folder) {
    ContextRules rules;
    rules.others =
        context_mode(context, "default", context.optional_string("default", 16).value_or("clear"));
    for (const auto& [name, word] : context.optional_string_map("fields", 64, 8192)) {
        rules.fields[name] = context_mode(context, "fields", word);
    }
    base::SecretBytes key;
    if (rules.need_key()) {
        key = read_context_key(context, folder);
    } else if (context.has("hash_key")) {
        context.refuse("hash_key", "is for fields that are hashed, and none is");
    }
    context.refuse_unknown();
    return std::make_shared<AuditContext>(std::move(rules), std::move(key));
}

AuditConfig read_audit_config(JsonReader& top, const std::filesystem::path& folder,
                              std::string daemon, const SigningKeyReader& read_signing_key) {
    JsonReader audit = top.required_object("audit");
    AuditConfig config;
    config.directory = required_path(audit, "directory", folder);
    config.daemon = std::move(daemon);
    const auto node = audit.optional_string("node", 255);
    config.node = node ? std::string(*node) : host_name();
    if (auto segments = audit.optional_object("segments")) {
        config.segment_bytes =
            mebibyte *
            static_cast<std::uint64_t>(segments->optional_integer("mebibytes", 1, 1024L * 1024)
                                           .value_or(default_segment_mebibytes));
        config.segment_age = std::chrono::days(
            segments->optional_integer("days", 1, 3650).value_or(default_segment_days));
        segments->refuse_unknown();
    }
    if (auto context = audit.optional_object("context")) {
        config.context = read_context_rules(*context, folder);
    }
    if (auto checkpoints = audit.optional_object("checkpoints")) {
        config.seal = read_seal_config(*checkpoints, folder, read_signing_key);
    }
    audit.refuse_unknown();
    return config;
}

GateConfig read_gate_config(JsonReader& top) {
    GateConfig config;
    auto workers = top.optional_object("workers");
    if (!workers) return config;
    if (const auto count = workers->optional_integer("count", 1, 1024))
        config.workers = static_cast<std::size_t>(*count);
    if (const auto queued = workers->optional_integer("max_queued", 1, 65536)) {
        config.max_queued = static_cast<std::size_t>(*queued);
    }
    workers->refuse_unknown();
    return config;
}

PolicyFiles read_policy_files(JsonReader& top, const std::filesystem::path& folder) {
    JsonReader policy = top.required_object("policy");
    PolicyFiles files;
    files.file = required_path(policy, "file", folder);
    if (policy.has("shadow")) files.shadow = required_path(policy, "shadow", folder);
    policy.refuse_unknown();
    return files;
}

std::filesystem::path read_budgets_path(JsonReader& top, const std::filesystem::path& folder) {
    auto budgets = top.optional_object("budgets");
    if (!budgets) return {};
    auto file = required_path(*budgets, "file", folder);
    budgets->refuse_unknown();
    return file;
}

base::LogLevel read_log_level(JsonReader& top) {
    auto log = top.optional_object("log");
    if (!log) return base::LogLevel::info;
    const auto word = log->optional_string("level", 16).value_or("info");
    log->refuse_unknown();
    if (word == "debug") return base::LogLevel::debug;
    if (word == "info") return base::LogLevel::info;
    if (word == "warning") return base::LogLevel::warning;
    if (word == "error") return base::LogLevel::error;
    log->refuse("level", "must be debug, info, warning or error");
}

SecretSource read_secret_source(JsonReader& top, std::string_view name,
                                const std::filesystem::path& folder) {
    JsonReader source = top.required_object(name);
    const bool file = source.has("file");
    const bool credential = source.has("credential");
    const bool prompt = source.has("prompt");
    source.refuse_unknown();
    if (static_cast<int>(file) + static_cast<int>(credential) + static_cast<int>(prompt) != 1) {
        top.refuse(name, R"(must be one of {"file": …}, {"credential": …} and {"prompt": true})");
    }
    if (file) return {required_path(source, "file", folder), {}};
    if (credential) {
        const auto plain_name = source.required_string("credential", 255);
        if (!is_plain_file_name(plain_name))
            source.refuse("credential", "must be a plain file name");
        return {credential_file(plain_name), {}};
    }
    if (!source.optional_boolean("prompt").value_or(false)) source.refuse("prompt", "must be true");
    return {{}, std::string(name)};
}

base::SecretBytes read_secret(JsonReader& top, std::string_view name,
                              const std::filesystem::path& folder) {
    const SecretSource source = read_secret_source(top, name, folder);
    if (source.file.empty()) return prompt_for_secret(source.prompt);
    return base::read_secret_file(source.file);
}

}  // namespace server
