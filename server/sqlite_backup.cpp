#include "server/sqlite_backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include <botan/hash.h>

#include "base/encoding.h"
#include "base/error.h"
#include "server/backup.h"
#include "server/sqlite_database.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr int all_pages = -1;

[[noreturn]] void refuse_backup(const std::filesystem::path& file, const std::string& why,
                                const std::string& detail = {}) {
    throw Error(ErrorCode::failed_precondition, file.string() + " " + why, detail);
}

struct CloseSqlite {
    void operator()(sqlite_api::sqlite3* database) const { sqlite_api::sqlite3_close(database); }
};
using Sqlite = std::unique_ptr<sqlite_api::sqlite3, CloseSqlite>;

Sqlite open_file(const std::filesystem::path& file, int flags) {
    sqlite_api::sqlite3* opened = nullptr;
    const int result = sqlite_api::sqlite3_open_v2(file.c_str(), &opened, flags, nullptr);
    Sqlite database(opened);
    if (result != SQLITE_OK) {
        throw Error(ErrorCode::unavailable, file.string() + " can't be opened",
                    sqlite_api::sqlite3_errstr(result));
    }
    return database;
}

// The first column of the first row.
std::string ask(sqlite_api::sqlite3* database, const char* sql) {
    std::string answer;
    const auto take = [](void* to, int columns, char** values, char** /*names*/) {
        auto& text = *static_cast<std::string*>(to);
        if (text.empty() && columns > 0 && values[0] != nullptr) text = values[0];
        return 0;
    };
    const int result = sqlite_api::sqlite3_exec(database, sql, take, &answer, nullptr);
    if (result != SQLITE_OK) return sqlite_api::sqlite3_errstr(result);
    return answer;
}

void make_new_file(const std::filesystem::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) refuse_backup(file, std::string("can't be made: ") + std::strerror(errno));
    ::close(descriptor);
}

void sync_path(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
    if (descriptor >= 0) ::close(descriptor);
    if (!synced) {
        throw Error(ErrorCode::unavailable, path.string() + " can't be written to disk",
                    std::strerror(errno));
    }
}

void copy_all(sqlite_api::sqlite3* source, sqlite_api::sqlite3* target,
              const std::function<void(const std::function<void()>&)>& turn) {
    sqlite_api::sqlite3_backup* copy = nullptr;
    int result = SQLITE_OK;
    turn([&] {
        copy = sqlite_api::sqlite3_backup_init(target, "main", source, "main");
        if (copy != nullptr) result = sqlite_api::sqlite3_backup_step(copy, all_pages);
        sqlite_api::sqlite3_backup_finish(copy);
    });
    if (copy == nullptr || result != SQLITE_DONE) {
        throw Error(ErrorCode::unavailable, "the copy of the database could not be written",
                    sqlite_api::sqlite3_errmsg(target));
    }
}

std::string sha256_of(const std::filesystem::path& file) {
    constexpr std::size_t piece = 64UL * 1024;
    std::ifstream in(file, std::ios::binary);
    const auto digest = Botan::HashFunction::create_or_throw("SHA-256");
    std::string buffer(piece, '\0');
    while (in.read(buffer.data(), static_cast<std::streamsize>(piece)) || in.gcount() > 0) {
        digest->update(buffer.substr(0, static_cast<std::size_t>(in.gcount())));
    }
    const auto hash = digest->final();
    return base::to_hex(base::ByteView(hash.data(), hash.size()));
}

}  // namespace

DatabaseBackup back_up_sqlite(sqlite_api::sqlite3* source, const std::filesystem::path& file,
                              const std::function<void(const std::function<void()>&)>& turn) {
    make_new_file(file);
    try {
        {
            const Sqlite target = open_file(file, SQLITE_OPEN_READWRITE);
            copy_all(source, target.get(), turn);
            const std::string verdict = ask(target.get(), "PRAGMA integrity_check(1)");
            if (verdict != "ok") {
                throw Error(ErrorCode::unavailable, "the copy of the database is not sound",
                            verdict);
            }
        }
        sync_path(file);
        sync_path(file.parent_path());
    } catch (...) {
        ::unlink(file.c_str());
        throw;
    }
    return {file, std::filesystem::file_size(file), sha256_of(file)};
}

RestoredBackup restore_backup(const std::filesystem::path& backup,
                              const std::filesystem::path& to) {
    for (const auto& there : {to, std::filesystem::path(to.string() + "-journal")}) {
        std::error_code unknown;
        if (std::filesystem::exists(there, unknown) || unknown) {
            refuse_backup(there, "is there already; stop the daemon and move it away first");
        }
    }
    RestoredBackup restored;
    std::error_code missing;
    restored.bytes = std::filesystem::file_size(backup, missing);
    if (missing) refuse_backup(backup, "can't be read: " + missing.message());
    restored.sha256 = sha256_of(backup);
    const Sqlite source = open_file(backup, SQLITE_OPEN_READONLY);
    const std::string verdict = ask(source.get(), "PRAGMA integrity_check(1)");
    if (verdict != "ok") refuse_backup(backup, "is damaged or no backup of ours", verdict);
    if (ask(source.get(), "PRAGMA user_version") != std::to_string(rooms_are_counted)) {
        refuse_backup(backup, "is no backup of a database of ours");
    }
    const auto at_once = [](const std::function<void()>& work) { work(); };
    back_up_sqlite(source.get(), to, at_once);
    return restored;
}

}  // namespace server
