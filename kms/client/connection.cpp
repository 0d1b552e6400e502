#include "kms/client/connection.h"

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/json.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_config_bytes = 64UL * 1024;
constexpr std::size_t max_value_bytes = 4096;
constexpr std::int64_t max_witness_nodes = 64;  // what kms/witness keeps

std::string path_in_file(base::JsonReader& reader, std::string_view name,
                         const std::filesystem::path& folder) {
    const auto text = reader.optional_string(name, max_value_bytes);
    return text ? (folder / *text).string() : std::string();
}

void read_witness(base::JsonReader& reader, const std::filesystem::path& folder,
                  ConnectionOptions& out) {
    auto witness = reader.optional_object("witness");
    if (!witness) return;
    out.witness_file = (folder / witness->required_string("file", max_value_bytes)).string();
    out.audit_key_file = path_in_file(*witness, "audit_key", folder);
    out.witness_nodes = static_cast<std::size_t>(
        witness->optional_integer("nodes", 1, max_witness_nodes).value_or(1));
    witness->refuse_unknown();
}

ConnectionOptions read_file(const std::filesystem::path& file) {
    const std::string text = base::read_file(file, max_config_bytes);
    try {
        base::JsonLimits limits;
        limits.comments = true;
        const base::JsonValue value = base::parse_json(text, limits);
        base::JsonReader reader(value);
        const auto folder = file.parent_path();
        ConnectionOptions out;
        out.url = reader.optional_string("url", max_value_bytes).value_or("");
        out.socket = path_in_file(reader, "socket", folder);
        out.ca = path_in_file(reader, "ca", folder);
        out.certificate = path_in_file(reader, "certificate", folder);
        out.key_file = path_in_file(reader, "key", folder);
        out.bearer_file = path_in_file(reader, "bearer_file", folder);
        read_witness(reader, folder, out);
        reader.refuse_unknown();
        return out;
    } catch (const Error& error) {
        throw Error(error.code(), file.string() + ": " + error.message());
    }
}

void require(const std::string& value, const char* option, const std::filesystem::path& file) {
    if (!value.empty()) return;
    std::string message = std::string(option) + " is missing: give it, or write it into ";
    message += file.empty() ? "a file named by --config" : file.string();
    throw Error(ErrorCode::invalid_argument, message);
}

void fill(std::string& value, std::string& from_file) {
    if (value.empty()) value = std::move(from_file);
}

// What was kept of one service's log says nothing of another's.
void fill_witness(ConnectionOptions& all, ConnectionOptions& from_file) {
    if (all.url != from_file.url) return;
    fill(all.witness_file, from_file.witness_file);
    fill(all.audit_key_file, from_file.audit_key_file);
    all.witness_nodes = from_file.witness_nodes;
}

WitnessFiles witness_files(const ConnectionOptions& all) {
    if (all.witness_file.empty() && !all.audit_key_file.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "--audit-key-file is for the witness: give --witness with it");
    }
    return {all.witness_file, all.audit_key_file, all.witness_nodes};
}

}  // namespace

Connection read_connection(const ConnectionOptions& options,
                           const std::filesystem::path& default_file) {
    std::filesystem::path file = default_file;
    if (!options.config.empty()) file = options.config;
    ConnectionOptions all = options;
    std::error_code ignored;
    if (!options.config.empty() || (!file.empty() && std::filesystem::exists(file, ignored))) {
        ConnectionOptions from_file = read_file(file);
        if (all.url.empty()) all.url = from_file.url;
        fill_witness(all, from_file);
        fill(all.socket, from_file.socket);
        fill(all.ca, from_file.ca);
        fill(all.certificate, from_file.certificate);
        fill(all.key_file, from_file.key_file);
        fill(all.bearer_file, from_file.bearer_file);
    }
    require(all.url, "--url", file);
    require(all.ca, "--ca", file);
    const bool has_certificate = !all.certificate.empty() || !all.key_file.empty();
    if (has_certificate || all.bearer_file.empty()) {
        require(all.certificate, "--certificate", file);
        require(all.key_file, "--key-file", file);
    }
    ClientConfig config;
    config.url = all.url;
    config.socket = all.socket;
    config.ca = all.ca;
    config.certificate = all.certificate;
    config.key = all.key_file;
    config.bearer_file = all.bearer_file;
    return {std::move(config), witness_files(all)};
}

std::filesystem::path default_connection_file(const char* home, std::string_view tool) {
    if (home == nullptr || *home == '\0') return {};
    return std::filesystem::path(home) / ".config" / "strongroom" / (std::string(tool) + ".json");
}

std::vector<const char*> own_environment(const char* const* environment) {
    constexpr std::array<std::string_view, 5> prefixes = {"STRONGROOM_", "KMS_", "VAULT_",
                                                          "KMSCTL_", "VAULTCTL_"};
    std::vector<const char*> own;
    for (; environment != nullptr && *environment != nullptr; ++environment) {
        const std::string_view entry = *environment;
        const auto begins = [entry](std::string_view prefix) { return entry.starts_with(prefix); };
        if (std::any_of(prefixes.begin(), prefixes.end(), begins)) own.push_back(*environment);
    }
    own.push_back(nullptr);
    return own;
}

int exit_code(const Error& error) noexcept {
    return error.code() == ErrorCode::unavailable ? exit_unavailable : exit_failed;
}

}  // namespace kms
