// A daemon's database: opening, migrations, transactions and retry. The program builds one and
// passes it to the rooms that keep tables in it; each store is SQL on it. The only header of the
// house that shows a SOCI type; rooms include it in their .cpp only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <typeindex>

#include <soci/soci.h>

#include "base/log.h"
#include "server/database_config.h"

namespace server {

enum class Dialect { sqlite, postgresql };

// One step of a room's tables. `sql` is statements, separated by ';', that both databases
// understand: TEXT, INTEGER (32 bits), BIGINT. Where they can't be the same, `postgresql` has
// PostgreSQL's.
struct Migration {
    int version;  // 1, 2, 3… without gaps
    std::string_view sql;
    std::string_view postgresql = {};  // empty: `sql`
};

// A copy of the whole database in a file of its own.
struct DatabaseBackup {
    std::filesystem::path file;
    std::uint64_t bytes = 0;
    std::string sha256;  // hex
};

// A connection while a work has it. SOCI's rules for PostgreSQL hold for both: each ":name" stands
// once in a statement.
class Session : public soci::session {
public:
    Session(Dialect dialect, const soci::backend_factory& factory, const std::string& connect)
        : soci::session(factory, connect), dialect_(dialect) {}
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    Dialect dialect() const { return dialect_; }

    // Statements that are prepared once for each connection, for a hot path: the one object of this
    // type, made by `Statements(soci::session&)` when it is first asked for. It holds
    // soci::statement objects and the variables bound to them, is used in this work only, and ends
    // with the connection, or when a work that had the connection throws.
    template <typename Statements>
    Statements& kept() {
        std::shared_ptr<void>& place = kept_[std::type_index(typeid(Statements))];
        if (!place) place = std::make_shared<Statements>(*this);
        return *static_cast<Statements*>(place.get());
    }
    void drop_kept() { kept_.clear(); }

private:
    Dialect dialect_;
    std::map<std::type_index, std::shared_ptr<void>> kept_;
};

// Thread-safe. A work is run again from its beginning when the database asks for that, so it does
// nothing but SQL and sets what it gives out anew each time. A work must not call the database
// again.
class Database {
public:
    using Work = std::function<void(Session&)>;

    virtual ~Database() = default;

    virtual Dialect dialect() const = 0;
    // Whether other processes may use it at the same time.
    virtual bool is_shared() const = 0;

    // Whose tables the database had when it did not write down whose they are (the first release
    // counted one version for the whole file).
    enum class Unnamed { somebody_elses, this_rooms };
    // Brings the tables of `room` to the newest version. Each room has a name, a version counter
    // and table names of its own. Called once, before the room's first work. Throws
    // failed_precondition, with a message for the operator, when the tables are newer than this
    // program or a migration fails, and unavailable.
    virtual void migrate(std::string_view room, std::span<const Migration> migrations,
                         Unnamed unnamed = Unnamed::somebody_elses) = 0;

    // Runs `work` in one transaction: committed when it returns, rolled back when it throws. All
    // transactions are as if one ran after the other. Database trouble throws unavailable; a
    // row that must be there once and is there throws already_exists, with SQLite any violated
    // constraint; PostgreSQL's other constraints throw internal.
    virtual void write(const Work& work) = 0;
    // The same for a work that changes a row which many works change, in `table`: those of this
    // kind wait for each other there instead of being run again.
    virtual void write_in_turn(std::string_view table, const Work& work) = 0;
    // Runs `work`, which only selects; all of its selects see one state. Errors as above.
    virtual void read(const Work& work) = 0;

    // Throws unavailable when the database does not answer.
    virtual void check() = 0;

    // Writes a copy of the database to the file `name` in the configuration's backup folder; works
    // wait while it is copied, not while it is checked. Checked and on disk when it returns. Throws
    // failed_precondition when there is no such folder, the file is there already, or the database
    // has tools of its own for this, and unavailable.
    virtual DatabaseBackup back_up(const std::string& name) = 0;
};

// Opens the database. Throws failed_precondition, with a message for the operator, when it can't be
// used.
//
// SQLite: one connection, so works queue; rollback journal, synchronous=EXTRA, foreign keys on;
// file made when missing, mode 0600; locked exclusively so that a second process is refused.
//
// PostgreSQL: a number of connections, made anew by themselves when they break. A work waits for
// connection, locks and server until the configuration's deadline, then throws unavailable. When
// the answer to a commit is lost it is found out what became of it; unavailable is thrown, with a
// message that says so, only when the server does not tell in as much time again. Opening it throws
// unavailable when there is no server, and failed_precondition for one that does not keep what it
// acknowledged. `log` takes warnings at the opening.
std::unique_ptr<Database> open_database(DatabaseConfig config, base::Log& log);

}  // namespace server
