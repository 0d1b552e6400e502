// The Store on SQLite: SQL on server/database.h.
#pragma once

#include <filesystem>
#include <memory>

#include "server/database.h"
#include "vault/store.h"

namespace vault {

class SqliteStore final : public Store {
public:
    // Creates the file when missing. Throws failed_precondition as server::Database does.
    explicit SqliteStore(const std::filesystem::path& file);
    ~SqliteStore() override;

    Head head(const CredentialId& id) override;
    std::optional<CredentialInfo> put(const NewVersion& added, const Head& expected) override;
    std::optional<CredentialInfo> find(const CredentialId& id) override;
    std::optional<StoredVersion> find_version(const CredentialId& id,
                                              std::optional<std::uint64_t> version) override;
    CredentialPage list(const std::string& owner, const std::string& after,
                        std::size_t limit) override;
    std::optional<Destruction> destroy(const CredentialId& id, const std::string& destroyed_by,
                                       base::Time now) override;
    std::vector<Destruction> destructions(const CredentialId& id) override;
    void check() override;

private:
    struct Queries;

    void read(const std::function<void(Queries&)>& work);
    // Runs `work` with the prepared queries; only inside database_.read() or write().
    void with_queries(soci::session& sql, const std::function<void(Queries&)>& work);

    server::Database database_;
    std::unique_ptr<Queries> queries_;  // prepared once; used only while the database runs our work
};

}  // namespace vault
