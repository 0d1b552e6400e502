// A daemon's database on another day: backups of an embedded one, made over HTTP and put back by
// the daemon's tool. A PostgreSQL server has tools of its own for this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/authorizer.h"
#include "server/orders_once.h"
#include "server/route.h"

namespace server {

class Database;

// POST /v1/backups    writes a copy of the database beside it, and answers
// "file" (its name in the configured folder), "bytes" and "sha256". Asks the policy for
// `back_up` on service:<daemon>. Of an order that a crash left unanswered another backup is made
// when it is repeated. References, and `orders`, which may be null, must outlive the routes.
std::vector<Route> backup_routes(Database& database, const Authorizer& authorizer,
                                 const base::Clock& clock, Action back_up,
                                 const std::string& daemon, OrdersOnce* orders = nullptr);

struct RestoredBackup {
    std::uint64_t bytes = 0;
    std::string sha256;  // hex, of the backup
};

// Checks the backup and writes the database `to` from it; on disk, mode 0600, when it returns.
// Throws failed_precondition, with a message for the operator: the backup is no database of ours
// or damaged, `to` or a journal of it is there already, or can't be written.
RestoredBackup restore_backup(const std::filesystem::path& backup, const std::filesystem::path& to);

}  // namespace server
