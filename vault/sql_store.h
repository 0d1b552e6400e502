// The Store in SQL, on whatever database the program has.
#pragma once

#include <functional>

#include "vault/store.h"

namespace server {
class Database;
}

namespace vault {

class SqlStore : public Store {
public:
    // Brings the tables to the newest version; throws what server::Database throws. `database` must
    // outlive it.
    explicit SqlStore(server::Database& database);

    Head head(const CredentialId& id) override;
    std::optional<CredentialInfo> put(const NewVersion& added, const Head& expected) override;
    std::optional<CredentialInfo> find(const CredentialId& id) override;
    std::optional<StoredVersion> find_version(const CredentialId& id,
                                              std::optional<std::uint64_t> version) override;
    std::optional<VersionPage> history(const CredentialId& id, std::uint64_t before,
                                       std::size_t limit) override;
    CredentialPage list(const std::string& owner, const std::string& after,
                        std::size_t limit) override;
    CredentialPage expiring(const ExpiryQuestion& question) override;
    std::optional<Destruction> destroy(const CredentialId& id, const std::string& destroyed_by,
                                       base::Time now) override;
    std::vector<Destruction> destructions(const CredentialId& id) override;
    void check() override;

private:
    struct Queries;

    void read(const std::function<void(Queries&)>& work);

    server::Database& database_;
};

}  // namespace vault
