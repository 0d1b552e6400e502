#include "server/database_config.h"

#include <algorithm>

#include "server/config.h"

namespace server {
namespace {

constexpr std::size_t max_name_bytes = 63;  // of PostgreSQL's names
constexpr std::size_t max_host_bytes = 255;

// For libpq's connection string and the password file, which know no control characters.
std::string required_word(base::JsonReader& reader, std::string_view name, std::size_t max_bytes) {
    std::string word(reader.required_string(name, max_bytes));
    if (std::any_of(word.begin(), word.end(), [](char c) { return c <= ' ' || c == 0x7F; })) {
        reader.refuse(name, "must not have spaces or control characters");
    }
    return word;
}

bool is_schema_name(std::string_view name) {
    const auto is_inner = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    };
    return !name.empty() && name.front() >= 'a' && name.front() <= 'z' &&
           !name.starts_with("pg_") && std::all_of(name.begin(), name.end(), is_inner);
}

// Whether the connection can't leave this machine.
bool is_local(const std::string& host) {
    return host.starts_with('/') || host == "localhost" || host == "::1" ||
           host.starts_with("127.");
}

void read_tls(base::JsonReader& reader, const std::filesystem::path& folder,
              PostgresqlConfig& config) {
    auto tls = reader.optional_object("tls");
    if (!tls) {
        if (!is_local(config.host)) {
            reader.refuse("tls", "is required unless the host is a socket's folder or loopback");
        }
        return;
    }
    if (config.host.starts_with('/')) reader.refuse("tls", "is not for a UNIX socket");
    config.ca = required_path(*tls, "ca", folder);
    if (tls->has("certificate") != tls->has("key")) {
        tls->refuse("certificate", "and \"key\" belong together");
    }
    if (tls->has("certificate")) {
        config.certificate = required_path(*tls, "certificate", folder);
        config.key = required_path(*tls, "key", folder);
    }
    tls->refuse_unknown();
}

PostgresqlConfig read_postgresql(base::JsonReader& reader, const std::filesystem::path& folder,
                                 std::string_view schema) {
    PostgresqlConfig config;
    config.host = required_word(reader, "host", max_host_bytes);
    config.port =
        static_cast<std::uint16_t>(reader.optional_integer("port", 1, 65535).value_or(config.port));
    config.database = required_word(reader, "database", max_name_bytes);
    config.user = required_word(reader, "user", max_name_bytes);
    config.schema = reader.optional_string("schema", max_name_bytes).value_or(schema);
    if (!is_schema_name(config.schema)) {
        reader.refuse("schema", "must be lower-case letters, digits and '_', a letter first");
    }
    config.connections =
        static_cast<std::size_t>(reader.optional_integer("connections", 2, 256)
                                     .value_or(static_cast<std::int64_t>(config.connections)));
    config.deadline = std::chrono::milliseconds(
        reader.optional_integer("deadline_ms", 500, 60'000).value_or(config.deadline.count()));
    read_tls(reader, folder, config);
    const bool with_password = reader.has("password");
    reader.refuse_unknown();
    if (with_password) config.password = read_secret(reader, "password", folder);
    return config;
}

}  // namespace

DatabaseConfig read_database_config(base::JsonReader& top, const std::filesystem::path& folder,
                                    std::string_view schema) {
    base::JsonReader store = top.required_object("store");
    if (store.has("sqlite") == store.has("postgresql")) {
        top.refuse("store", R"(must be one of {"sqlite": …} and {"postgresql": …})");
    }
    const bool is_sqlite = store.has("sqlite");
    const bool has_backups = is_sqlite && store.has("backup_directory");
    store.refuse_unknown();
    if (is_sqlite) {
        SqliteConfig config;
        config.file = required_path(store, "sqlite", folder);
        if (has_backups) config.backup_folder = required_path(store, "backup_directory", folder);
        return config;
    }
    base::JsonReader postgresql = store.required_object("postgresql");
    return read_postgresql(postgresql, folder, schema);
}

}  // namespace server
