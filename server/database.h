// A daemon's database: opening, migrations, transactions and retry. Each daemon's store is SQL on
// it. The only header of the house that shows a SOCI type; stores include it in their .cpp only.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include <soci/soci.h>

namespace server {

struct Migration {
    int version;           // 1, 2, 3… without gaps
    std::string_view sql;  // statements, separated by ';'
};

// SQLite through one connection: rollback journal, synchronous=EXTRA, foreign keys on; mode 0600;
// locked exclusively so that a second process is refused. Thread-safe: calls queue.
class Database {
public:
    // Creates the file when missing, brings it to the newest version. Throws failed_precondition,
    // with a message for the operator: unreadable, not a database, locked by another process, newer
    // than this program.
    Database(const std::filesystem::path& file, std::span<const Migration> migrations);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    // Runs `work` in one transaction: committed when it returns, rolled back when it throws.
    // Database trouble throws unavailable; a violated constraint throws already_exists. `work` must
    // not call this object again.
    void write(const std::function<void(soci::session&)>& work);
    // Runs `work`, which only selects, without a transaction: nobody else writes meanwhile, so all
    // of its selects see one state. Errors as above.
    //
    // The session is the same one for the life of the Database. A store may keep soci::statement
    // objects prepared from it, with the variables bound to them, when it touches both only inside
    // read and write, and destroys them before the Database.
    void read(const std::function<void(soci::session&)>& work);

    // Throws unavailable when the database does not answer.
    void check();

private:
    struct Connection;
    std::unique_ptr<Connection> connection_;
};

}  // namespace server
