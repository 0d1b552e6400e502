// The RewrapStore in SQL, on whatever database the program has.
#pragma once

#include "vault/rewrap_store.h"

namespace server {
class Database;
}

namespace vault {

struct RewrapJobRow;

class SqlRewrapStore final : public RewrapStore {
public:
    // Brings its tables to the newest version; throws what server::Database throws. It works on the
    // rows of a SqlStore, which must have been made on this database before. `database` must
    // outlive it.
    explicit SqlRewrapStore(server::Database& database);

    std::optional<RewrapJob> add(const NewRewrapJob& wanted) override;
    std::optional<RewrapJob> find(const base::Uuid& id) override;
    RewrapJobPage list(const std::optional<base::Uuid>& before, std::size_t limit) override;
    std::optional<RewrapJob> cancel(const base::Uuid& id, base::Time now) override;
    RewrapFailurePage failures(const base::Uuid& id, const RewrapPlace& after,
                               std::size_t limit) override;

    RewrapTask take(base::Time now) override;
    std::vector<RewrapRow> load(const RewrapPiece& piece) override;
    std::optional<std::vector<RewrapResult>> settle(const RewrapLease& lease,
                                                    std::vector<RewrapResult> results,
                                                    base::Time now) override;
    void give_back(const RewrapLease& lease, const std::string& trouble,
                   std::chrono::milliseconds pause, base::Time now) override;
    bool complete(const RewrapLease& lease, base::Time now) override;

private:
    struct Standing;

    std::uint64_t count_needing(const MasterKeyVersion& target);
    std::optional<RewrapLease> take_over(const base::Uuid& job, base::Time now);
    std::optional<RewrapPiece> next_piece(const RewrapJobRow& job);
    std::optional<RewrapLease> claim(const RewrapJobRow& job, const RewrapPiece& piece,
                                     base::Time now);
    std::optional<RewrapLease> end_pass(const RewrapJobRow& job, base::Time now);

    server::Database& database_;
};

}  // namespace vault
