// A PostgreSQL server for tests: ctest's fixture, or one of this process's own where the test is
// run by hand. Each test has tables of its own in it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "server/database.h"

namespace tests {

class PostgresqlServer {
public:
    // Starts one unless ctest did.
    PostgresqlServer();
    ~PostgresqlServer();
    PostgresqlServer(const PostgresqlServer&) = delete;
    PostgresqlServer& operator=(const PostgresqlServer&) = delete;

    // Why there is none; empty: there is one.
    const std::string& missing() const { return missing_; }
    const std::filesystem::path& folder() const { return folder_; }  // of the UNIX socket
    std::uint16_t port() const { return port_; }
    const std::filesystem::path& ca() const { return ca_; }

    // As the superuser, over the UNIX socket.
    server::PostgresqlConfig config(const std::string& schema) const;

private:
    std::filesystem::path own_;  // names the server of this process; empty: ctest's
    std::string missing_;
    std::filesystem::path folder_;
    std::uint16_t port_ = 0;
    std::filesystem::path ca_;
};

// This process's server.
const PostgresqlServer& postgresql_server();

// Tables of its own on postgresql_server(), gone at the end.
class PostgresqlSchema {
public:
    PostgresqlSchema();
    ~PostgresqlSchema();
    PostgresqlSchema(const PostgresqlSchema&) = delete;
    PostgresqlSchema& operator=(const PostgresqlSchema&) = delete;

    const std::string& name() const { return name_; }
    server::PostgresqlConfig config() const { return postgresql_server().config(name_); }
    // A node's own connections.
    std::unique_ptr<server::Database> open() const;
    // The superuser's hand in the database; what the first column of the last row says.
    std::string sql(const std::string& statement) const;

private:
    std::string name_;
};

struct HeldDatabase {
    std::unique_ptr<server::Database> database;
};

// A store with connections of its own, as a node has.
template <typename Store>
class OwnPostgresql : private HeldDatabase, public Store {
public:
    explicit OwnPostgresql(const PostgresqlSchema& schema)
        : HeldDatabase{schema.open()}, Store(*database) {}
};

}  // namespace tests

// At the start of a fixture's SetUp.
#define SKIP_WITHOUT_POSTGRESQL()                      \
    if (!tests::postgresql_server().missing().empty()) \
    GTEST_SKIP() << tests::postgresql_server().missing()
