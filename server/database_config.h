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
};

using DatabaseConfig = std::variant<SqliteConfig>;

// "store" {"sqlite": file}. Throws invalid_argument naming the field.
DatabaseConfig read_database_config(base::JsonReader& top, const std::filesystem::path& folder);

}  // namespace server
