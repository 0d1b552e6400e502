#include "server/sqlite_database.h"

#include <fcntl.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"
#include "server/sqlite_backup.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

// SQLite's primary result codes (sqlite.org/rescode.html), which SOCI passes on.
enum class SqliteCode { busy = 5, locked = 6, constraint = 19, not_a_database = 26, corrupt = 11 };

bool is(const soci::soci_error& error, SqliteCode code) {
    const auto* sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&error);
    return sqlite != nullptr && (sqlite->result() & 0xFF) == static_cast<int>(code);
}

// For the operational log. SOCI's what() adds the statement and the values bound to it, which are
// rows; get_error_message() is SQLite's own text (or SOCI's), which names tables and columns only.
std::string describe(const soci::soci_error& error) {
    std::string text = error.get_error_message();
    if (const auto* sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&error)) {
        text += " (SQLite result " + std::to_string(sqlite->result()) + ")";
    }
    return text;
}

[[noreturn]] void translate(const soci::soci_error& error) {
    if (is(error, SqliteCode::constraint))
        throw Error(ErrorCode::already_exists, "it exists already", describe(error));
    throw Error(ErrorCode::unavailable, "the store is not available", describe(error));
}

[[noreturn]] void refuse_file(const std::filesystem::path& file, const std::string& why,
                              std::string detail = {}) {
    throw Error(ErrorCode::failed_precondition, "the database " + file.string() + " " + why,
                std::move(detail));
}

[[noreturn]] void refuse_opening(const std::filesystem::path& file, const soci::soci_error& error) {
    if (is(error, SqliteCode::busy) || is(error, SqliteCode::locked)) {
        refuse_file(file, "is in use by another process; stop that one first", describe(error));
    }
    if (is(error, SqliteCode::not_a_database) || is(error, SqliteCode::corrupt)) {
        refuse_file(file, "is damaged or no SQLite database; restore it from a backup",
                    describe(error));
    }
    refuse_file(file, "can't be opened", describe(error));
}

// Creates the file with its final mode before SQLite sees it; SQLite gives its journals the same
// mode.
void prepare_file(const std::filesystem::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) refuse_file(file, std::string("can't be opened: ") + std::strerror(errno));
    struct stat status {};
    const bool known = ::fstat(descriptor, &status) == 0;
    ::close(descriptor);
    if (!known || !S_ISREG(status.st_mode)) refuse_file(file, "is not a regular file");
    if ((status.st_mode & 0077U) != 0) {
        refuse_file(file, "can be read by other users; run: chmod 0600 " + file.string());
    }
}

std::string connect_string(const std::filesystem::path& file) {
    return "dbname=\"" + file.string() + "\"";
}

// All statements of `sql`; SOCI itself would run the first and forget the rest.
void execute_all(soci::session& session, std::string_view sql) {
    // Always SQLite's: open() below says so. SOCI keeps the type information to itself, so no
    // dynamic_cast.
    auto* backend = static_cast<soci::sqlite3_session_backend*>(session.get_backend());
    char* message = nullptr;
    const int result = sqlite_api::sqlite3_exec(backend->conn_, std::string(sql).c_str(), nullptr,
                                                nullptr, &message);
    if (result == 0) return;
    const std::string text = message == nullptr ? "SQLite error" : message;
    sqlite_api::sqlite3_free(message);
    throw soci::sqlite3_soci_error(text, result);
}

std::string text_pragma(soci::session& session, const std::string& pragma) {
    std::string value;
    session << "PRAGMA " + pragma, soci::into(value);
    return value;
}

int integer_pragma(soci::session& session, const std::string& pragma) {
    int value = 0;
    session << "PRAGMA " + pragma, soci::into(value);
    return value;
}

// EXTRA also syncs the folder when a journal is deleted: without it a power loss can bring a
// committed transaction's journal back (sqlite.org/pragma.html#pragma_synchronous). No WAL: SQLite
// before 3.51.3 can lose it when it is reset.
void set_up(soci::session& session) {
    execute_all(
        session,
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA trusted_schema=OFF; PRAGMA synchronous=EXTRA;"
        "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA journal_mode=DELETE;"
        "BEGIN EXCLUSIVE; COMMIT;");  // takes the lock, which stays
}

void require_sound(soci::session& session, const std::filesystem::path& file) {
    const std::string verdict = text_pragma(session, "quick_check(1)");
    if (verdict != "ok") refuse_file(file, "is damaged; restore it from a backup", verdict);
}

// The count of the tables that no room has claimed yet is under the empty name.
void count_rooms(soci::session& session, const std::filesystem::path& file) {
    const int unnamed = integer_pragma(session, "user_version");
    if (unnamed == rooms_are_counted) return;
    if (unnamed > rooms_are_counted)
        refuse_file(file, "was written by a newer version of this program; install that one");
    soci::transaction transaction(session);
    session << "CREATE TABLE room_versions (room TEXT PRIMARY KEY, version INTEGER NOT NULL)";
    if (unnamed > 0) {
        session << "INSERT INTO room_versions (room, version) VALUES ('', :version)",
            soci::use(unnamed, "version");
    }
    execute_all(session, "PRAGMA user_version=" + std::to_string(rooms_are_counted));
    transaction.commit();
}

int room_version(soci::session& session, const std::string& room) {
    int version = 0;
    session << "SELECT version FROM room_versions WHERE room = :room", soci::into(version),
        soci::use(room, "room");
    return session.got_data() ? version : 0;
}

void set_room_version(soci::session& session, const std::string& room, int version) {
    session << "INSERT INTO room_versions (room, version) VALUES (:room, :version) "
               "ON CONFLICT (room) DO UPDATE SET version = excluded.version",
        soci::use(room, "room"), soci::use(version, "version");
}

}  // namespace

SqliteDatabase::SqliteDatabase(SqliteConfig config)
    : file_(std::move(config.file)), backup_folder_(std::move(config.backup_folder)) {
    prepare_file(file_);
    try {
        session_ = std::make_unique<Session>(Dialect::sqlite, soci::sqlite3, connect_string(file_));
        set_up(*session_);
        require_sound(*session_, file_);
        count_rooms(*session_, file_);
    } catch (const soci::soci_error& error) {
        refuse_opening(file_, error);
    }
}

void SqliteDatabase::migrate(std::string_view room, std::span<const Migration> migrations,
                             Unnamed unnamed) {
    const std::lock_guard lock(mutex_);
    const std::string name(room);
    const int newest = migrations.empty() ? 0 : migrations.back().version;
    try {
        if (unnamed == Unnamed::this_rooms) {
            *session_ << "UPDATE room_versions SET room = :room WHERE room = ''",
                soci::use(name, "room");
        }
        const int current = room_version(*session_, name);
        if (current > newest)
            refuse_file(file_, "was written by a newer version of this program; install that one");
        for (const Migration& migration : migrations) {
            if (migration.version <= current) continue;
            soci::transaction transaction(*session_);
            execute_all(*session_, migration.sql);
            set_room_version(*session_, name, migration.version);
            transaction.commit();
        }
    } catch (const soci::soci_error& error) {
        refuse_opening(file_, error);
    }
}

void SqliteDatabase::write(const Work& work) {
    const std::lock_guard lock(mutex_);
    try {
        soci::transaction transaction(*session_);
        try {
            work(*session_);
        } catch (...) {
            session_->drop_kept();  // a statement that failed half way is not used again
            throw;
        }
        transaction.commit();
    } catch (const soci::soci_error& error) {
        translate(error);
    }
}

void SqliteDatabase::read(const Work& work) {
    const std::lock_guard lock(mutex_);
    try {
        work(*session_);
    } catch (const soci::soci_error& error) {
        session_->drop_kept();
        translate(error);
    } catch (...) {
        session_->drop_kept();
        throw;
    }
}

void SqliteDatabase::check() {
    read([](soci::session& session) { integer_pragma(session, "user_version"); });
}

DatabaseBackup SqliteDatabase::back_up(const std::string& name) {
    if (backup_folder_.empty()) base::refuse("no \"backup_directory\" is configured in \"store\"");
    if (::mkdir(backup_folder_.c_str(), 0700) != 0 && errno != EEXIST) {
        throw Error(ErrorCode::unavailable, "the backup folder can't be made",
                    std::strerror(errno));
    }
    auto* backend = static_cast<soci::sqlite3_session_backend*>(session_->get_backend());
    return back_up_sqlite(backend->conn_, backup_folder_ / name,
                          [this](const std::function<void()>& step) {
                              const std::lock_guard lock(mutex_);
                              step();
                          });
}

}  // namespace server
