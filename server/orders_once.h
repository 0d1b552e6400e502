// Doing an order once however often it is sent (the header Idempotency-Key), as the routes that
// both daemons have see it. server/idempotency.h implements this; without it every request is an
// order of its own.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/error.h"
#include "server/operation.h"
#include "server/request.h"

namespace server {

// Thread-safe.
class OrdersOnce {
public:
    struct Order {
        // Hex, this order's alone: of no other caller, no other key, and no later order with the
        // same key. The same each time that it is begun. Empty: the request names no order.
        std::string name;
        // Somebody has begun it and given no answer: it may be done already.
        bool begun_before = false;
    };
    struct Outcome {
        Response response;
        // What is remembered, and told to who repeats the order, in place of a response that may be
        // shown once only. One of the refusals that are an answer (failed_precondition).
        std::optional<base::Error> shown_once{};
    };
    using Work = std::function<Outcome(const Order&)>;

    virtual ~OrdersOnce() = default;

    // The response of `work`, which is called when the order was not answered before, else the
    // answer of before. Call it when the caller is authorised. `work` may have been called, and
    // even have done its work, without an answer having come of it (a crash); it may also run on
    // another node at the same time when that one holds this one dead. Throws what is remembered,
    // what `work` throws, and as Idempotency::once.
    virtual Response do_once(Operation& operation, const Request& request, const Work& work) = 0;
};

// The same where `orders` may be null: nothing is remembered then.
inline Response do_once(OrdersOnce* orders, Operation& operation, const Request& request,
                        const OrdersOnce::Work& work) {
    if (orders != nullptr) return orders->do_once(operation, request, work);
    return work({}).response;
}

}  // namespace server
