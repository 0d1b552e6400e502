#include "server/idempotency.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "server/answer.h"
#include "server/digest.h"

namespace server {
namespace {

constexpr std::string_view idempotency_header = "idempotency-key";
constexpr std::size_t max_idempotency_key = 128;

// Refusals that are an answer: the order was looked at, and nothing was done.
constexpr std::array final_refusals = {base::ErrorCode::invalid_argument,
                                       base::ErrorCode::not_found, base::ErrorCode::already_exists,
                                       base::ErrorCode::failed_precondition};

bool is_final(base::ErrorCode code) {
    return std::find(final_refusals.begin(), final_refusals.end(), code) != final_refusals.end();
}

constexpr unsigned first_refusing_status = 400;

// As it is remembered: the code's word, then the message.
std::string refusal_text(const base::Error& error) {
    return std::string(base::to_string(error.code())) + ' ' + error.message();
}

[[noreturn]] void refuse_again(const std::string& text) {
    const std::size_t end = text.find(' ');
    for (const base::ErrorCode code : final_refusals) {
        if (text.substr(0, end) == base::to_string(code))
            throw base::Error(code, text.substr(end + 1));
    }
    throw base::Error(base::ErrorCode::internal, "a remembered answer can't be read");
}

[[noreturn]] void refuse_under_way() {
    base::refuse("the first request with this Idempotency-Key is under way: try again");
}

// Each part with its length before it, so that no two lists of parts look alike.
std::string digest_of(std::initializer_list<std::string_view> parts) {
    std::string text;
    for (const std::string_view part : parts) {
        text += std::to_string(part.size()) + ":";
        text += part;
    }
    return Sha256().hex(text);
}

// The row of a caller's order. A server that calls for users orders for each of them apart.
std::string order_id(const Operation& operation, const std::string& key) {
    if (!operation.user()) return digest_of({operation.caller().id, key});
    return digest_of({operation.caller().id, key, operation.user()->id});
}

// What no other order is called, also not a later one with the same key.
std::string order_name(const std::string& id, const std::string& nonce) {
    return digest_of({id, nonce});
}

// Hex, so no separator is in it.
constexpr char before_subject = '/';

std::string request_digest(const Request& request) {
    return digest_of({to_string(request.method), request.path, request.query, request.body});
}

// Whatever the names of both stood for.
bool is_same_request(std::string_view left, std::string_view right) {
    return left.substr(0, left.find(before_subject)) == right.substr(0, right.find(before_subject));
}

[[noreturn]] void refuse_other_request() {
    base::refuse("the Idempotency-Key was used for another request");
}

// The answer of before; throws the refusal of before.
Response answer_again(Operation& operation, Response response) {
    const bool was_refused = response.status >= first_refusing_status;
    operation.set_fact("repeated", was_refused ? "refused before" : "answered before");
    if (was_refused) refuse_again(std::string(response.body));
    return response;
}

Response answer_of(const IdempotentRequest& found) {
    Response response;
    response.status = found.status;
    response.body.assign(found.answer.begin(), found.answer.end());
    return response;
}

}  // namespace

std::optional<std::string> idempotency_key(const Request& request) {
    const auto found = request.headers.find(idempotency_header);
    if (found == request.headers.end()) return std::nullopt;
    const base::WipedString& key = found->second;
    const bool is_visible =
        std::all_of(key.begin(), key.end(), [](char byte) { return byte >= '!' && byte <= '~'; });
    if (key.empty() || key.size() > max_idempotency_key || !is_visible) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "the Idempotency-Key must be 1 to 128 visible ASCII characters");
    }
    return std::string(key);
}

// Holds an id for the life of one request. A row of this node that no thread holds was left by a
// store that failed, and is free.
class Idempotency::UnderWay {
public:
    UnderWay(Idempotency& idempotency, const std::string& id) : idempotency_(idempotency), id_(id) {
        const std::lock_guard lock(idempotency_.mutex_);
        if (!idempotency_.under_way_.insert(id_).second) refuse_under_way();
    }
    ~UnderWay() {
        const std::lock_guard lock(idempotency_.mutex_);
        idempotency_.under_way_.erase(id_);
    }
    UnderWay(const UnderWay&) = delete;
    UnderWay& operator=(const UnderWay&) = delete;

private:
    Idempotency& idempotency_;
    const std::string& id_;
};

std::optional<IdempotentRequest> Idempotency::remembered(const std::string& id) const {
    auto found = store_.find_request(id);
    if (found && found->begun_at + idempotency_memory <= clock_.now()) return std::nullopt;
    return found;
}

std::optional<Response> Idempotency::replay(Operation& operation, const Request& request) {
    const auto key = idempotency_key(request);
    if (!key) return std::nullopt;
    const auto found = remembered(order_id(operation, *key));
    if (!found || found->status == 0 || !is_same_request(found->digest, request_digest(request))) {
        return std::nullopt;
    }
    return answer_again(operation, answer_of(*found));
}

Idempotency::Begun Idempotency::begin(const std::string& id, const std::string& digest) {
    constexpr int attempts = 3;  // another node may be faster, once
    for (int i = 0; i < attempts; ++i) {
        const base::Time now = clock_.now();
        auto found = store_.find_request(id);
        if (found && found->begun_at + idempotency_memory <= now) {
            store_.forget_requests(now - idempotency_memory + std::chrono::milliseconds(1));
            found.reset();
        }
        if (!found) {
            try {
                const std::string nonce = base::Uuid::random().to_string();
                store_.begin_request({id, digest, node_, now, false, 0, nonce});
                return {Standing::fresh, order_name(id, nonce)};
            } catch (const base::Error& error) {
                if (error.code() != base::ErrorCode::already_exists) throw;
                continue;
            }
        }
        if (!is_same_request(found->digest, digest)) refuse_other_request();
        if (found->status != 0) return {Standing::answered, {}, answer_of(*found)};
        if (found->digest != digest) refuse_other_request();
        const bool is_free = found->node.empty() || found->node == node_ ||
                             found->begun_at + idempotency_lease <= now;
        if (!is_free) break;
        if (!store_.take_over_request(id, found->node, node_, now)) continue;
        return {found->applied ? Standing::applied : Standing::begun_before,
                order_name(id, found->answer)};
    }
    refuse_under_way();
}

void Idempotency::let_go(const std::string& id) {
    // Not under way any more; whether it was applied stays noted.
    try {
        store_.take_over_request(id, node_, {}, clock_.now());
    } catch (const base::Error&) {
        // The next request finds the row held by nobody of this process.
    }
}

Response Idempotency::once(Operation& operation, const Request& request, const Work& work,
                           const Again& again, const std::string& subject) {
    const auto key = idempotency_key(request);
    if (!key) return work({});
    return run(operation, request, *key, subject, [&](const std::string& id, const Begun& begun) {
        const bool from_record = begun.standing == Standing::applied && again;
        if (from_record) operation.set_fact("repeated", "applied before");
        return Outcome{from_record ? again() : work(id)};
    });
}

Response Idempotency::do_once(Operation& operation, const Request& request,
                              const OrdersOnce::Work& work) {
    const auto key = idempotency_key(request);
    if (!key) return work({}).response;
    return run(operation, request, *key, {}, [&](const std::string& /*id*/, const Begun& begun) {
        const bool is_again = begun.standing != Standing::fresh;
        if (is_again) operation.set_fact("repeated", "begun before");
        return work({begun.name, is_again});
    });
}

Response Idempotency::run(Operation& operation, const Request& request, const std::string& key,
                          const std::string& subject, const AnyWork& work) {
    const std::string id = order_id(operation, key);
    const std::string digest = request_digest(request) + before_subject + subject;
    const UnderWay hold(*this, id);
    Begun begun = begin(id, digest);
    if (begun.standing == Standing::answered) {
        return answer_again(operation, std::move(begun.response));
    }
    Outcome outcome;
    try {
        outcome = work(id, begun);
    } catch (const base::Error& error) {
        if (is_final(error.code())) {
            remember_refusal(id, error);
        } else {
            let_go(id);
        }
        throw;
    } catch (...) {
        let_go(id);
        throw;
    }
    if (outcome.shown_once) {
        remember_refusal(id, *outcome.shown_once);
    } else {
        store_.finish_request(id, outcome.response.status, std::string(outcome.response.body));
    }
    return std::move(outcome.response);
}

void Idempotency::remember_refusal(const std::string& id, const base::Error& error) {
    store_.finish_request(id, http_status(error.code()), refusal_text(error));
}

namespace {

bool names_an_order(const Request& request) {
    return request.headers.count(idempotency_header) != 0;
}

[[noreturn]] void refuse_order(std::string_view why) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "this call takes no Idempotency-Key: " + std::string(why));
}

}  // namespace

Route done_once(Route row, Idempotency& idempotency, const Authorizer& authorizer) {
    if (row.method == Method::GET) return row;
    row.handler = [handler = std::move(row.handler), action = row.action, &idempotency,
                   &authorizer](Operation& operation, const Request& request) {
        if (authorizer.may_ever(operation, action)) {
            if (auto answer = idempotency.replay(operation, request)) return *std::move(answer);
        }
        return handler(operation, request);
    };
    return row;
}

Route without_orders(Route row, std::string_view why) {
    if (row.method == Method::GET || row.access == Access::open) return row;
    row.handler = [handler = std::move(row.handler), why](Operation& operation,
                                                          const Request& request) {
        if (names_an_order(request)) refuse_order(why);
        return handler(operation, request);
    };
    if (!row.together) return row;
    row.together = [together = std::move(row.together),
                    alone = row.handler](std::span<JointCall> calls) {
        const bool none = std::none_of(calls.begin(), calls.end(), [](const JointCall& call) {
            return names_an_order(call.request);
        });
        if (none) return together(calls);
        for (JointCall& call : calls) {
            settle(call, [&] { return alone(call.operation, call.request); });
        }
    };
    return row;
}

}  // namespace server
