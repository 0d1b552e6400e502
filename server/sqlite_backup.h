// Whole copies of a SQLite database: made while the daemon goes on working, put back while it does
// not. A copy is a database of its own, checked and on disk when these functions return, of mode
// 0600.
#pragma once

#include <filesystem>
#include <functional>

#include <soci/sqlite3/soci-sqlite3.h>

#include "server/database.h"

namespace server {

// Copies what `source` is connected to into the new file `file`, all of it in one `turn` of the
// connection.
// Throws failed_precondition when the file is there already, unavailable when it can't be written.
DatabaseBackup back_up_sqlite(sqlite_api::sqlite3* source, const std::filesystem::path& file,
                              const std::function<void(const std::function<void()>&)>& turn);

}  // namespace server
