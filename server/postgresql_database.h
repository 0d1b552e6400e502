// The Database on PostgreSQL. For server/database.cpp only.
#pragma once

#include "server/postgresql_connections.h"

namespace server {

// Writes are SERIALIZABLE and run again when the server asks for that (40001, 40P01) or broke the
// connection before the COMMIT was sent. Each leaves a mark, a row with a random id: when the
// answer to a COMMIT is lost, writing the same mark again tells whether the first one is there, so
// nothing is done twice or reported as failed that happened. Reads see one snapshot.
class PostgresqlDatabase final : public Database {
public:
    // Throws failed_precondition: a server or settings that lose what was acknowledged, and
    // unavailable.
    PostgresqlDatabase(PostgresqlConfig config, base::Log& log);

    Dialect dialect() const override { return Dialect::postgresql; }
    bool is_shared() const override { return true; }
    void migrate(std::string_view room, std::span<const Migration> migrations,
                 Unnamed unnamed) override;
    void write(const Work& work) override;
    void write_in_turn(std::string_view table, const Work& work) override;
    void read(const Work& work) override;
    void check() override;
    DatabaseBackup back_up(const std::string& name) override;

private:
    enum class Outcome { done, again, unknown };
    struct Attempts;

    void require_server(base::Log& log);
    void prepare_schema();
    void write_until_done(const std::string& begin, const Work& work);
    Outcome try_write(const std::string& begin, const Work& work, Attempts& attempts);
    bool try_read(const Work& work, Attempts& attempts);
    // Whether the transaction that left the mark was committed.
    bool was_committed(Attempts& attempts);
    void forget_old_marks();

    PostgresqlConnections connections_;
    std::atomic<std::uint64_t> writes_{0};
};

}  // namespace server
