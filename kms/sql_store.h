// The store in SQL, on whatever database the program has.
#pragma once

#include <atomic>
#include <functional>

#include "kms/store.h"
#include "server/sql_order_store.h"

namespace kms {

class SqlStore : public Store {
public:
    // Brings the tables to the newest version; throws what server::Database throws. If the database
    // is this process's alone, locks and requests under way that it finds are a dead one's: both
    // are freed. `database` must outlive it.
    explicit SqlStore(server::Database& database);

    std::vector<Key> load() override;
    std::optional<Key> find(const base::Uuid& id) override;
    bool is_shared() const override;
    // Without a question to the database where nobody else changes it.
    std::uint64_t change_count() override;
    Changes load_changed(std::uint64_t since) override;
    void add_pending_key(const Key& key, const std::string& holder = {}) override;
    void enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                    const std::string& alias, const std::string& holder = {}) override;
    void abandon_key(const base::Uuid& key_id, base::Time at, const std::string& tombstone,
                     const std::string& holder = {}) override;
    void add_pending_version(const base::Uuid& key_id, const KeyVersion& version,
                             const std::string& holder = {}) override;
    void enable_version(const base::Uuid& key_id, std::uint32_t version,
                        const hsm::Encrypted& known_answer,
                        std::optional<base::Time> next_rotation_at,
                        const std::string& holder = {}) override;
    void abandon_version(const base::Uuid& key_id, std::uint32_t version, base::Time at,
                         const std::string& tombstone, const std::string& holder = {}) override;
    bool update(const Key& key, const std::string& request = {}) override;
    bool move_alias(const std::string& alias, const base::Uuid& from, const base::Uuid& to,
                    const std::string& request = {}) override;
    bool finish_destruction(const Key& key, const std::string& tombstone,
                            const std::string& holder = {}) override;
    std::string tombstone(const base::Uuid& key_id) override;
    std::map<std::uint32_t, std::string> version_tombstones(const base::Uuid& key_id) override;
    Reservation reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                              std::uint64_t count) override;
    void add_usage(std::span<const UsageReport> reports) override;
    std::optional<VersionName> find_version_of(const std::string& request) override;
    std::optional<server::IdempotentRequest> find_request(const std::string& id) override;
    void begin_request(const server::IdempotentRequest& request) override;
    bool take_over_request(const std::string& id, const std::string& from_node,
                           const std::string& to_node, base::Time at) override;
    void finish_request(const std::string& id, unsigned status, const std::string& answer) override;
    std::size_t forget_requests(base::Time time) override;
    bool take_lock(const std::string& holder, base::Time now, base::Time until) override;
    bool keep_lock(const std::string& holder, base::Time until) override;
    void release_lock(const std::string& holder) override;
    void check() override;

private:
    // Runs `work` in a transaction with the number of this change, which `work` writes to every
    // key that it changes. Throws unavailable when `holder` is given and has the lock no longer.
    using Work = std::function<void(soci::session&, long long number)>;
    void change(const std::string& holder, const Work& work);
    void change(const Work& work);

    server::Database& database_;
    server::SqlOrderRows orders_;
    std::atomic<std::uint64_t> change_count_{0};
};

}  // namespace kms
