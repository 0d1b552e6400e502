#include "server/database.h"

#include "server/sqlite_database.h"

namespace server {

std::unique_ptr<Database> open_database(DatabaseConfig config) {
    return std::make_unique<SqliteDatabase>(std::get<SqliteConfig>(config).file);
}

}  // namespace server
