// The RewrapStore in SQL, on whatever database the program has.
#pragma once

#include <mutex>

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

    // What stored texts were found to name, as far as they have been read.
    struct TextScan {
        std::string job;  // empty: none is under way
        long long pass = 0;
        long long credential = 0, version = 0;  // the last one that was read
        long long differing = 0;
        std::vector<RewrapPlace> found;  // the first of those
        bool is_done = false;
    };
    struct PassEnd {
        std::optional<RewrapLease> lease;
        bool wants_scan = false;  // the job is at its end, and the texts were not read
    };

    std::uint64_t count_needing(const MasterKeyVersion& target);
    std::optional<RewrapLease> take_over(const base::Uuid& job, base::Time now);
    std::optional<RewrapPiece> next_piece(const RewrapJobRow& job);
    std::optional<RewrapLease> claim(const RewrapJobRow& job, const RewrapPiece& piece,
                                     base::Time now);
    RewrapTask end(const RewrapJobRow& job, base::Time now);
    PassEnd end_pass(const RewrapJobRow& job, const TextScan* texts, base::Time now);
    bool scan_slice(const MasterKeyVersion& target, TextScan& scan);

    server::Database& database_;
    std::mutex scan_mutex_;  // one worker of this process reads
    TextScan scan_;
};

}  // namespace vault
