#include "vault/config.h"

#include "base/json.h"
#include "kms/witness/kept_notes.h"
#include "server/config.h"
#include "vault/record.h"
#include "vault/rewrap_work.h"

namespace vault {
namespace {

constexpr std::size_t max_url_bytes = 512;
constexpr std::size_t max_master_key_bytes = 128;
constexpr std::size_t max_time_bytes = 64;
constexpr std::size_t max_owners = 1000;
constexpr std::size_t max_owners_bytes = 256UL * 1024;
constexpr std::string_view alias_prefix = "alias/";

std::chrono::milliseconds optional_milliseconds(base::JsonReader& reader, std::string_view name,
                                                std::chrono::milliseconds standard) {
    return std::chrono::milliseconds(
        reader.optional_integer(name, 50, 60'000).value_or(standard.count()));
}

kms::ClientConfig read_client(base::JsonReader& reader, const std::filesystem::path& folder) {
    kms::ClientConfig config;
    config.url = reader.required_string("url", max_url_bytes);
    if (!config.url.starts_with("https://")) reader.refuse("url", "must begin with https://");
    if (const auto* urls = reader.optional_array("more_urls", kms::max_nodes - 1, 1)) {
        for (const base::JsonValue& url : *urls) {
            if (url.string() == nullptr || url.string()->size() > max_url_bytes ||
                !url.string()->starts_with("https://")) {
                reader.refuse("more_urls", "must be URLs that begin with https://");
            }
            config.more_urls.emplace_back(*url.string());
        }
        if (reader.has("socket")) reader.refuse("more_urls", "can't stand beside \"socket\"");
    }
    if (reader.has("socket")) config.socket = server::required_path(reader, "socket", folder);
    config.ca = server::required_path(reader, "ca", folder);
    config.certificate = server::required_path(reader, "certificate", folder);
    config.key = server::required_path(reader, "key", folder);
    config.connect_timeout =
        optional_milliseconds(reader, "connect_timeout_ms", config.connect_timeout);
    config.deadline = optional_milliseconds(reader, "deadline_ms", config.deadline);
    return config;
}

WitnessConfig read_witness(base::JsonReader& kms, const std::filesystem::path& folder,
                           const std::filesystem::path& audit_directory) {
    constexpr std::string_view standard_name = "key-service-checkpoints";
    WitnessConfig config;
    config.file = audit_directory / standard_name;
    auto witness = kms.optional_object("witness");
    if (!witness) return config;
    if (witness->has("file")) config.file = server::required_path(*witness, "file", folder);
    if (witness->has("audit_key")) {
        config.audit_keys = server::required_path(*witness, "audit_key", folder);
    }
    config.nodes = static_cast<std::size_t>(
        witness->optional_integer("nodes", 1, std::int64_t{kms::max_logs}).value_or(0));
    const auto word = witness->optional_string("on_conflict", 16).value_or("refuse");
    if (word != "refuse" && word != "report") {
        witness->refuse("on_conflict", "must be \"refuse\" or \"report\"");
    }
    config.refuse = word == "refuse";
    witness->refuse_unknown();
    return config;
}

std::string read_key_name(base::JsonReader& reader, std::string_view name) {
    const auto text = reader.required_string(name, max_master_key_bytes);
    const bool alias = text.starts_with(alias_prefix) && text.size() > alias_prefix.size();
    if (!alias && !base::Uuid::parse(text)) {
        reader.refuse(name, "must be a key id or \"alias/<name>\"");
    }
    return std::string(text);
}

// Who has checkpoints signed has destructions signed by the same key, if no other is named.
std::string read_destruction_key(base::JsonReader& top, const server::AuditConfig& audit) {
    std::string key = audit.seal ? audit.seal->signing_key : std::string();
    if (auto destructions = top.optional_object("destructions")) {
        if (destructions->has("signing_key")) key = read_key_name(*destructions, "signing_key");
        destructions->refuse_unknown();
    }
    return key;
}

// All bounds must be said: whoever keeps keys is to know how long.
std::optional<KeyCacheLimits> read_key_cache(base::JsonReader& top) {
    auto reader = top.optional_object("data_key_cache");
    if (!reader) return std::nullopt;
    const auto bound = [&](std::string_view name, std::uint64_t most) {
        return reader->required_integer(name, 1, static_cast<std::int64_t>(most));
    };
    KeyCacheLimits limits;
    limits.max_age = std::chrono::seconds(
        bound("max_age_seconds", static_cast<std::uint64_t>(most_key_cache.max_age.count())));
    limits.max_entries = static_cast<std::size_t>(bound("max_entries", most_key_cache.max_entries));
    limits.max_uses = static_cast<std::uint64_t>(bound("max_uses", most_key_cache.max_uses));
    reader->refuse_unknown();
    return limits;
}

Passthrough read_passthrough(base::JsonReader& values) {
    auto reader = values.optional_object("passthrough");
    if (!reader) return {};
    Passthrough passthrough{.on = true, .until = {}};
    if (const auto text = reader->optional_string("until", max_time_bytes)) {
        passthrough.until = base::parse_rfc3339(*text);
        if (!passthrough.until) {
            reader->refuse("until", "must be a time like 2030-01-31T12:00:00Z (RFC 3339)");
        }
    }
    reader->refuse_unknown();
    return passthrough;
}

ValueOwners read_owners(base::JsonReader& values) {
    ValueOwners owners = values.optional_string_map("owners", max_owners, max_owners_bytes);
    for (const auto& [caller, owner] : owners) {
        if (caller.empty() || !is_safe_name(owner)) {
            values.refuse("owners",
                          "must map callers' ids to names of 1 to 128 letters, digits and "
                          "characters of ._-:@+=,~ that are not dots alone");
        }
    }
    return owners;
}

}  // namespace

Config read_config(const std::filesystem::path& file) {
    const base::JsonValue value = server::read_config_file(file);
    const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
    base::JsonReader top(value);
    Config config;
    config.edge = server::read_edge_config(top, folder);
    config.metrics = server::read_metrics_config(top, folder);
    config.gate = server::read_gate_config(top);
    config.identity = server::read_identity_config(top, folder);
    config.audit = server::read_audit_config(
        top, folder, "vaultd",
        [](base::JsonReader& checkpoints) { return read_key_name(checkpoints, "signing_key"); });
    config.policy = server::read_policy_files(top, folder);
    config.budgets = server::read_budgets_path(top, folder);
    config.log_level = server::read_log_level(top);

    config.store = server::read_database_config(top, folder, "vaultd");

    base::JsonReader kms = top.required_object("kms");
    config.kms = read_client(kms, folder);
    config.master_key = read_key_name(kms, "master_key");
    config.witness = read_witness(kms, folder, config.audit.directory);
    kms.refuse_unknown();
    config.key_cache = read_key_cache(top);
    if (auto rewrap = top.optional_object("rewrap")) {
        config.rewrap_workers = static_cast<std::size_t>(
            rewrap->required_integer("workers", 0, std::int64_t{max_rewrap_workers}));
        rewrap->refuse_unknown();
    }
    if (auto values = top.optional_object("values")) {
        config.value_owners = read_owners(*values);
        config.passthrough = read_passthrough(*values);
        values->refuse_unknown();
    }
    config.compat = compat::read_config(top, folder);
    if (auto reveal = top.optional_object("reveal")) {
        config.reasons = read_reason_rules(*reveal, "reason_required");
        reveal->refuse_unknown();
    }
    config.destruction_key = read_destruction_key(top, config.audit);
    top.refuse_unknown();
    return config;
}

}  // namespace vault
