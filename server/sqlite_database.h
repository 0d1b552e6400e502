// The Database on SQLite. For server/database.cpp only.
#pragma once

#include <filesystem>
#include <mutex>

#include "server/database.h"

namespace server {

// What user_version says once `room_versions` counts for each room. The first release, which
// counted in user_version, takes it for a newer version's and refuses.
inline constexpr int rooms_are_counted = 1000;

class SqliteDatabase final : public Database {
public:
    // Throws failed_precondition: unreadable, not a database, damaged, locked by another process.
    explicit SqliteDatabase(SqliteConfig config);

    Dialect dialect() const override { return Dialect::sqlite; }
    bool is_shared() const override { return false; }
    void migrate(std::string_view room, std::span<const Migration> migrations,
                 Unnamed unnamed) override;
    void write(const Work& work) override;
    void write_in_turn(std::string_view /*table*/, const Work& work) override { write(work); }
    void read(const Work& work) override;
    void check() override;
    DatabaseBackup back_up(const std::string& name) override;

private:
    const std::filesystem::path file_;
    const std::filesystem::path backup_folder_;
    std::mutex mutex_;
    std::unique_ptr<Session> session_;
};

}  // namespace server
