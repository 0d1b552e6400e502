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
    Tags tags(const CredentialId& id) override;
    std::optional<CredentialInfo> find(const CredentialId& id) override;
    std::optional<StoredVersion> find_version(const CredentialId& id,
                                              std::optional<std::uint64_t> version) override;
    std::optional<VersionPage> history(const CredentialId& id, std::uint64_t before,
                                       std::size_t limit) override;
    CredentialPage list(const std::string& owner, const std::string& after,
                        std::size_t limit) override;
    CredentialPage expiring(const ExpiryQuestion& question) override;
    std::optional<DoomedCredential> doomed(const CredentialId& id) override;
    OwnerPart next_part(const std::string& owner, std::size_t max_credentials,
                        std::uint64_t max_versions) override;
    bool destroy(const Destruction& wanted, const DestructionRecord& record) override;
    DestructionPage destructions(const std::string& owner, const std::string& name,
                                 std::uint64_t after, std::size_t limit) override;
    void check() override;

private:
    struct Queries;

    void read(const std::function<void(Queries&)>& work);

    server::Database& database_;
};

}  // namespace vault
