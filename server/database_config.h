// Which database a daemon keeps its tables in: the configuration's "store".
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>

#include "base/json.h"
#include "base/secret_bytes.h"

namespace server {

// An embedded database, for one process.
struct SqliteConfig {
    std::filesystem::path file;
    std::filesystem::path backup_folder{};  // made when missing; empty: no backups by the daemon
};

// A PostgreSQL server, for any number of processes.
struct PostgresqlConfig {
    std::string host;  // a name, an address, or the folder of the server's UNIX socket
    std::uint16_t port = 5432;
    std::string database;
    std::string user;
    // Where the tables are in the database; letters, digits and '_'. Made when missing.
    std::string schema;
    base::SecretBytes password;  // empty: none, the server knows the user by other means
    // TLS with the server's name verified against `ca`; empty: no TLS, which is for sockets and
    // loopback addresses only.
    std::filesystem::path ca;
    std::filesystem::path certificate;  // ours, with `key`; empty: none
    std::filesystem::path key;
    std::size_t connections = 8;
    std::chrono::milliseconds deadline{3000};  // of one work, with everything it waits for
};

using DatabaseConfig = std::variant<SqliteConfig, PostgresqlConfig>;

// "store" {"sqlite": file, "backup_directory"} or {"postgresql": {"host", "port", "database",
// "user", "password" (where to read it), "tls" {"ca", "certificate", "key"}, "schema",
// "connections", "deadline_ms"}}; see deploy/examples. `schema` stands where the file names none.
// Reads the password, after everything else was checked. Throws invalid_argument naming the field.
DatabaseConfig read_database_config(base::JsonReader& top, const std::filesystem::path& folder,
                                    std::string_view schema);

}  // namespace server
