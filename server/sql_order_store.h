// Orders remembered in SQL: what a daemon with a table `requests` of its own does with its rows,
// and the store for a daemon that has none.
#pragma once

#include "server/order_store.h"

namespace soci {
class session;
}

namespace server {

class Database;

// The rows of a table `requests` (id, digest, node, begun_at, applied, status, answer). Each is a
// transaction of its own; errors as Database. `database` must outlive it.
class SqlOrderRows {
public:
    explicit SqlOrderRows(Database& database) : database_(database) {}

    std::optional<IdempotentRequest> find(const std::string& id) const;
    void begin(const IdempotentRequest& request) const;
    bool take_over(const std::string& id, const std::string& from_node, const std::string& to_node,
                   base::Time at) const;
    void finish(const std::string& id, unsigned status, const std::string& answer) const;

    // Within a transaction: how many were begun before `time` and are gone now.
    static std::size_t forget(soci::session& sql, base::Time time);
    // Within a transaction: what nobody else can be working on is nobody's.
    static void free_all(soci::session& sql);

private:
    Database& database_;
};

// A room of the daemon's database. It forgets by itself what is older than idempotency_memory, with
// each order that begins. If the database is this process's alone, what it finds under way is a
// dead process's, and is freed.
class SqlOrderStore final : public OrderStore {
public:
    // Brings the table to the newest version; throws what Database throws. `database` must outlive
    // it.
    explicit SqlOrderStore(Database& database);

    std::optional<IdempotentRequest> find_request(const std::string& id) override;
    void begin_request(const IdempotentRequest& request) override;
    bool take_over_request(const std::string& id, const std::string& from_node,
                           const std::string& to_node, base::Time at) override;
    void finish_request(const std::string& id, unsigned status, const std::string& answer) override;
    std::size_t forget_requests(base::Time time) override;

private:
    Database& database_;
    SqlOrderRows rows_;
};

}  // namespace server
