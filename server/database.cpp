#include "server/database.h"

#include "server/postgresql_database.h"
#include "server/sqlite_database.h"

namespace server {

std::unique_ptr<Database> open_database(DatabaseConfig config, base::Log& log) {
    if (auto* sqlite = std::get_if<SqliteConfig>(&config)) {
        return std::make_unique<SqliteDatabase>(std::move(*sqlite));
    }
    return std::make_unique<PostgresqlDatabase>(std::move(std::get<PostgresqlConfig>(config)), log);
}

}  // namespace server
