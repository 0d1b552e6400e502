// Doing an order once however often it is sent: the header Idempotency-Key names the order, and the
// store remembers for a day what came of it. For changes only: an answer with key material, or with
// another secret, is never stored.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "server/authorizer.h"
#include "server/operation.h"
#include "server/order_store.h"
#include "server/orders_once.h"
#include "server/request.h"
#include "server/route.h"

namespace server {

inline constexpr std::chrono::hours idempotency_memory{24};
// After that another node may take over what a dead one has begun. What is done twice at once finds
// what the other made or that it was faster: that is the work's to see to.
inline constexpr std::chrono::seconds idempotency_lease{30};

// The order's key; empty when the request has none. Throws invalid_argument for one that is not 1
// to 128 visible ASCII characters.
std::optional<std::string> idempotency_key(const Request& request);

// Thread-safe. `store` and `clock` must outlive it.
class Idempotency final : public OrdersOnce {
public:
    Idempotency(OrderStore& store, const base::Clock& clock) : store_(store), clock_(clock) {}

    // The answer, or the refusal, that the same caller (for the same user) got for the same
    // request before; empty when there is none. For before anything is authorised: what the order
    // did may have taken its key out of the caller's reach, and it shows only what he was shown,
    // never key material, for idempotency_memory at most. Who may do the action on nothing at all
    // is to be refused first (Authorizer::may_ever), and so is whom the policy denies it on
    // everything that it is done on. A deny on certain keys is not asked for: what the order did
    // may be what makes it apply, an alias or a tag. Throws invalid_argument as once(), and the
    // refusal.
    std::optional<Response> replay(Operation& operation, const Request& request);

    // Gives `work` the id under which the store marks the order as applied; empty when the request
    // has no Idempotency-Key. The same caller's same key gives the answer of the first time;
    // `again` makes one from the record when the order was applied but never answered (a crash in
    // between). Without `again`, `work` is able to find out itself. An order that was
    // refused is answered with the same refusal (invalid_argument, not_found, already_exists,
    // failed_precondition); trouble of ours is not remembered: it may be sent again. Call it when
    // the caller is authorised. Throws invalid_argument for a key that is not 1 to 128 visible
    // ASCII characters, failed_precondition when the key was used for another request or when the
    // first one is under way, and what `work` throws.
    using Work = std::function<Response(const std::string& request_id)>;
    using Again = std::function<Response()>;
    // `subject` is what the path's names stand for now, where they may come to mean something else:
    // an order that was not answered is then another one, and refused (failed_precondition).
    Response once(Operation& operation, const Request& request, const Work& work,
                  const Again& again = {}, const std::string& subject = {});

    // The same for what the store can't mark as applied: `work` finds out itself, by the order's
    // name, or does it again.
    Response do_once(Operation& operation, const Request& request,
                     const OrdersOnce::Work& work) override;

private:
    class UnderWay;
    enum class Standing { fresh, begun_before, applied, answered };
    struct Begun {
        Standing standing = Standing::fresh;
        std::string name{};   // OrdersOnce::Order::name, unless it is answered
        Response response{};  // when it is
    };
    // Ours to work on, unless it is answered.
    Begun begin(const std::string& id, const std::string& digest);
    // once() and do_once(): `work` is called, with what came of begin(), unless it is answered.
    using AnyWork = std::function<Outcome(const std::string& id, const Begun&)>;
    Response run(Operation& operation, const Request& request, const std::string& key,
                 const std::string& subject, const AnyWork& work);
    // Empty when there is no such row, or none that still counts.
    std::optional<IdempotentRequest> remembered(const std::string& id) const;

    void let_go(const std::string& id);
    // Throws as the store.
    void remember_refusal(const std::string& id, const base::Error& error);

    OrderStore& store_;
    const base::Clock& clock_;
    std::mutex mutex_;
    std::set<std::string> under_way_;  // ids that a thread of this process works on
    const std::string node_ = base::Uuid::random().to_string();
};

// A row of routes whose orders are done once. A repeated one is answered before anything is
// authorised (see Idempotency::replay); who may do its action on nothing at all takes the way of
// everybody else, and is refused there. Reading needs no key: a GET stays as it is, and ignores
// one. `idempotency` and `authorizer` must outlive the row.
Route done_once(Route row, Idempotency& idempotency, const Authorizer& authorizer);

// A row of routes that remembers nothing: a request with an Idempotency-Key is invalid_argument,
// which names the header and says `why`, also where requests are handled together. Ignored, it
// would promise what is not done. A GET stays as it is, and a row that is open to nobody in
// particular, which changes nothing.
Route without_orders(Route row, std::string_view why);

}  // namespace server
