// One request on its way through the house: who asks, what was decided, what came of it. The audit
// record is made from this, so what it can hold is what an audit record can hold: never a secret.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"
#include "server/caller.h"

namespace server {

// An action's wire word, e.g. "unwrap_data_key". Daemons declare theirs as constants in one header;
// policies and audit records use the same word.
struct Action {
    std::string_view word;
    auto operator<=>(const Action&) const = default;
};

// The kind of resource that a daemon itself is: to be observed, to be backed up.
inline constexpr std::string_view service_kind = "service";

// What is acted on; attributes are for policy conditions.
struct Resource {
    std::string kind;   // a daemon's word, e.g. "key"
    std::string id;     // "*" where the action is on all of the kind (create, list)
    std::string owner;  // empty where there is none
    std::vector<std::string> aliases;
    std::map<std::string, std::string> tags;
    bool of_many = false;  // each may have other tags, so nobody knows them: PolicyWords says which
    bool owner_from_caller = false;  // no request can name another owner than the caller's
    bool tags_left_out = false;      // it may have some; nobody in force asks for them
};

// What a policy said, and by which rule.
struct Decision {
    bool allowed = false;
    std::string rule;         // the deciding rule's id, "default-deny" when none matched
    std::string policy_hash;  // SHA-256 of the policy in force, hex
    bool any_owner = false;   // allowed by a wildcard for owners alone, as an administrator is
};

// One decision as the record names it.
struct DecidedAccess {
    std::string action;
    Resource resource;
    std::map<std::string, std::string> context;
    Decision decision;
    bool of_user = false;  // asked for the operation's user, not for its caller
};

// Items of a call on many that have all of this in common, as the record names them: no payload.
// What is not known is left out of the record.
struct ItemOutcome {
    std::string resource;                   // e.g. a key id with version
    std::string outcome;                    // "ok" or an error word
    std::string made{};                     // what came of it: a key id with version
    std::string items{};                    // which ones, counted from 0: "0-499,501"
    std::optional<std::size_t> decision{};  // their decision's place in decided(), from 0
    std::string traceparent{};              // of an item that is of another trace than the call
    std::string key{};                      // what it was opened with: a key id with version
};

class Operation;

// Where it is written that an operation is about to change what stays: the audit log.
class IntentRecorder {
public:
    virtual ~IntentRecorder() = default;
    // On stable storage when it returns. Throws unavailable when it can't be: then nothing may be
    // changed.
    virtual void record_intent(const Operation& operation) = 0;
};

// Not thread-safe: one worker at a time works on an operation.
class Operation {
public:
    Operation(base::Uuid request_id, base::Time started, Caller caller)
        : Operation(request_id, started, std::make_shared<const Caller>(std::move(caller))) {}
    // `caller` is not null.
    Operation(base::Uuid request_id, base::Time started, std::shared_ptr<const Caller> caller)
        : request_id_(request_id), started_(started), caller_(std::move(caller)) {}

    const base::Uuid& request_id() const { return request_id_; }
    base::Time started() const { return started_; }
    const Caller& caller() const { return *caller_; }
    // The user for whom a server calls, where the route takes one: what is authorised then must be
    // allowed to both, and is charged to both. Empty where there is none.
    const std::optional<Caller>& user() const { return user_; }

    // W3C Trace Context: the parent that came with the request, passed on to services called.
    const std::string& traceparent() const { return traceparent_; }
    void set_traceparent(std::string value) { traceparent_ = std::move(value); }

    // The route's action; what is recorded when nothing was decided (malformed, unknown caller).
    void set_action(Action action) { action_ = action; }
    std::string_view action() const { return action_.word; }

    const std::vector<DecidedAccess>& decided() const { return decided_; }
    const std::vector<ItemOutcome>& items() const { return items_; }
    void add_item(ItemOutcome item) { items_.push_back(std::move(item)); }
    // Facts worth a field of their own in the record, e.g. {"key_version","3"}. Never a secret.
    const std::map<std::string, std::string>& facts() const { return facts_; }
    void set_fact(std::string name, std::string value) {
        facts_[std::move(name)] = std::move(value);
    }

    // Where record_intent() writes; must outlive this. The gate says it of each request.
    void set_intents(IntentRecorder& intents) { intents_ = &intents; }
    // To be called by a handler that changes what stays, with every right to do so and before it
    // does: whatever meets the daemon then, the log says that it was about to. What stands in the
    // operation by now is recorded. Throws unavailable when it can't be: then nothing may be
    // changed. Without set_intents() (in tests) nobody is told.
    void record_intent() {
        if (intents_ != nullptr) intents_->record_intent(*this);
        has_intent_ = true;
    }
    bool has_intent() const { return has_intent_; }

    // How many items the request asks for, said before anything is authorised: what its caller's
    // budgets are charged. 1 when nobody says.
    void set_work(std::uint64_t items) { work_ = items; }
    std::uint64_t work() const { return work_; }
    // Names a record that the request opens, e.g. a wrapped data key or a sealed value's hash:
    // record budgets count these in place of resource and encryption context. Said before anything
    // is authorised.
    void add_record(std::string_view name) { records_.emplace_back(name); }
    const std::vector<std::string>& records() const { return records_; }
    // Whether a limit of that caller's budget was charged for this operation.
    bool has_charged(const std::string& caller, const std::string& limit) const {
        return std::find(charged_.begin(), charged_.end(), std::pair(caller, limit)) !=
               charged_.end();
    }

private:
    friend class Authorizer;
    friend class Budgets;
    friend class Gate;  // says who the caller is, before anything is decided
    base::Uuid request_id_;
    base::Time started_;
    std::shared_ptr<const Caller> caller_;  // never null; requests of one connection share it
    std::optional<Caller> user_;
    std::string traceparent_;
    Action action_{};
    std::vector<DecidedAccess> decided_;
    std::vector<ItemOutcome> items_;
    std::map<std::string, std::string> facts_;
    std::uint64_t work_ = 1;
    std::vector<std::string> records_;
    std::vector<std::pair<std::string, std::string>> charged_;  // callers and limits
    std::vector<std::shared_ptr<void>> holds_;  // places of concurrency, given back at its end
    IntentRecorder* intents_ = nullptr;         // outlives it
    bool has_intent_ = false;
};

}  // namespace server
