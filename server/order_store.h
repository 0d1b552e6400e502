// Where a daemon remembers the orders that named an Idempotency-Key. kmsd's is its store of keys,
// which marks an order as applied in the transaction that applies it; server/sql_order_store.h is
// for who has no such store.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/clock.h"

namespace server {

// A request that named an Idempotency-Key (server/idempotency.h).
struct IdempotentRequest {
    std::string id;      // hex: of the caller and his key
    std::string digest;  // hex: of method, path and body; behind a '/' what its names stood for
    std::string node;    // the instance that works on it; empty: none does
    base::Time begun_at{};
    bool applied = false;  // what it ordered is in the store
    unsigned status = 0;   // of the answer; 0: not answered yet
    std::string answer;    // the body, never anything secret; before, what no other row has
};

// Every change is durable and whole when its function returns. Thread-safe. Every function may
// throw unavailable.
class OrderStore {
public:
    virtual ~OrderStore() = default;

    // Empty when there is none.
    virtual std::optional<IdempotentRequest> find_request(const std::string& id) = 0;
    // Throws already_exists.
    virtual void begin_request(const IdempotentRequest& request) = 0;
    // Another node goes on with it, unless it changed hands meanwhile: false then.
    virtual bool take_over_request(const std::string& id, const std::string& from_node,
                                   const std::string& to_node, base::Time at) = 0;
    virtual void finish_request(const std::string& id, unsigned status,
                                const std::string& answer) = 0;
    // How many were begun before `time` and are forgotten now.
    virtual std::size_t forget_requests(base::Time time) = 0;
};

}  // namespace server
