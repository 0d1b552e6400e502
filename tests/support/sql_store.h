// A store with a SQLite database of its own.
#pragma once

#include <filesystem>
#include <memory>

#include "server/database.h"

namespace tests {

inline std::unique_ptr<server::Database> open_sqlite(const std::filesystem::path& file) {
    static base::Log log("tests", base::LogLevel::error);
    return server::open_database(server::SqliteConfig{file, {}}, log);
}

namespace detail {
struct OwnDatabase {
    std::unique_ptr<server::Database> database;
};
}  // namespace detail

template <typename Store>
class OwnSqlite : private detail::OwnDatabase, public Store {
public:
    explicit OwnSqlite(const std::filesystem::path& file)
        : detail::OwnDatabase{open_sqlite(file)}, Store(*database) {}
};

}  // namespace tests
