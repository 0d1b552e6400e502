// The store on an embedded SQLite database: for one kmsd node.
#pragma once

#include <filesystem>

#include "kms/store.h"
#include "server/database.h"

namespace kms {

class SqliteStore final : public Store {
public:
    // Opens or creates the file; throws what server::Database throws.
    explicit SqliteStore(const std::filesystem::path& file);

    std::vector<Key> load() override;
    void add_pending_key(const Key& key) override;
    void enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                    const std::string& alias) override;
    void abandon_key(const base::Uuid& key_id) override;
    Reservation reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                              std::uint64_t count) override;
    void check() override;

private:
    server::Database database_;
};

}  // namespace kms
