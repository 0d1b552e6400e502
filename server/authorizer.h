// The seam between "may this caller" and "do it". A Grant is the proof that a policy allowed one
// action on one resource: only the Authorizer can make one, every service method takes one, and the
// decision stands in the operation's audit record before the Grant exists.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "base/log.h"
#include "server/operation.h"

namespace server {

class Budgets;
class Metrics;
class Policy;
struct PolicyQuestion;
class ShadowReport;
class Throttle;

class Grant {
public:
    const Caller& caller() const { return *caller_; }
    Action action() const { return action_; }
    const Resource& resource() const { return resource_; }
    const Decision& decision() const { return decision_; }

private:
    friend class Authorizer;
    Grant(const Caller& caller, Action action, Resource resource, Decision decision)
        : caller_(&caller),
          action_(action),
          resource_(std::move(resource)),
          decision_(std::move(decision)) {}

    const Caller* caller_;  // owned by the operation, which outlives its grants
    Action action_;
    Resource resource_;
    Decision decision_;
};

// What an authorizer uses; each may be null, and must outlive it.
struct AuthorizerParts {
    Metrics* metrics = nullptr;
    base::Log* log = nullptr;
    Budgets* budgets = nullptr;
    // The tags of a resource that came without them (Resource::tags_left_out), for a shadow policy
    // that goes by tags. It is asked after the decision, and what it throws ends nothing.
    std::function<std::map<std::string, std::string>(const Resource&)> tags_for_shadow{};
};

// Thread-safe.
class Authorizer {
public:
    explicit Authorizer(std::shared_ptr<const Policy> policy,
                        std::shared_ptr<const Policy> shadow = nullptr,
                        const AuthorizerParts& parts = {});
    ~Authorizer();
    Authorizer(const Authorizer&) = delete;
    Authorizer& operator=(const Authorizer&) = delete;

    // Asks the policy in force and notes the decision in `operation`. Throws permission_denied when
    // refused (and unauthenticated when the caller is nobody); the message names no resource. What
    // is allowed is charged to the caller's budgets, with the operation's work: throws what
    // Budgets::charge throws. Where a server calls for a user, the same is asked of both and
    // charged to both: neither can lend the other a right.
    Grant authorize(Operation& operation, Action action, Resource resource,
                    const std::map<std::string, std::string>& context = {}) const;

    // The same question as a return value, for answers that differ by right (an unknown and a
    // forbidden key look alike to a caller without describe). Noted in the operation as well.
    bool would_allow(Operation& operation, Action action, const Resource& resource,
                     const std::map<std::string, std::string>& context = {}) const;

    // The same question about one item of a list that the operation was authorised for, which shows
    // the item only if this is true. Noted nowhere and charged to nobody: the list's own decision
    // is what stands in the record. A shadow policy is asked with what the list knows of the item.
    bool shows(const Operation& operation, Action action, const Resource& item) const;

    // Policy::may_ever of the policy in force, for the operation's caller (and its user); noted
    // nowhere.
    bool may_ever(const Operation& operation, Action action) const;

    // Policy::asks_for_tags of the policy in force. What a shadow policy asks for has no effect.
    bool asks_for_tags() const;

    // For answers that tell something before it is known what is acted on. Throws
    // permission_denied, and notes the decision, when the caller may do none of `actions` (one or
    // more) on anything.
    void require_any(Operation& operation, std::span<const Action> actions) const;

    // SHA-256 of the policy in force, hex.
    std::string policy_hash() const;
    // Of the shadow policy; empty when there is none.
    std::string shadow_hash() const;

    // Puts another policy in force, and another shadow policy beside it or none; operations under
    // way keep the decisions they have.
    void replace(std::shared_ptr<const Policy> policy,
                 std::shared_ptr<const Policy> shadow = nullptr);

private:
    struct Policies {
        std::shared_ptr<const Policy> in_force;
        std::shared_ptr<const Policy> shadow;  // null: none
    };

    // Of the caller, and of the operation's user where the caller is allowed it.
    struct Decisions {
        Decision caller;
        std::optional<Decision> user;

        // The one that refuses, or the caller's.
        const Decision& deciding() const { return user && !user->allowed ? *user : caller; }
    };
    Decisions decide(Operation& operation, Action action, const Resource& resource,
                     const std::map<std::string, std::string>& context) const;
    Decision decide_for(Operation& operation, const Caller& caller, Action action,
                        const Resource& resource,
                        const std::map<std::string, std::string>& context) const;
    Policies policies() const;
    // Compares with the shadow policy. Nothing that happens there has an effect.
    void ask_shadow(const PolicyQuestion& question, const Decision& decision,
                    const Policy& shadow) const;
    void report_denial(const Operation& operation, Action action, const Decisions& decisions) const;

    mutable std::mutex mutex_;  // held for the copy of pointers only
    Policies policies_;
    AuthorizerParts parts_;
    std::unique_ptr<ShadowReport> shadow_report_;
    std::unique_ptr<Throttle> denials_;
};

}  // namespace server
