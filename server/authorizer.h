// The seam between "may this caller" and "do it". A Grant is the proof that a policy allowed one
// action on one resource: only the Authorizer can make one, every service method takes one, and the
// decision stands in the operation's audit record before the Grant exists.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "server/operation.h"

namespace server {

class Policy;

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

// Thread-safe.
class Authorizer {
public:
    explicit Authorizer(std::shared_ptr<const Policy> policy);

    // Asks the policy in force and notes the decision in `operation`. Throws permission_denied when
    // refused (and unauthenticated when the caller is nobody); the message names no resource.
    Grant authorize(Operation& operation, Action action, Resource resource,
                    std::map<std::string, std::string> context = {}) const;

    // The same question as a return value, for answers that differ by right (an unknown and a
    // forbidden key look alike to a caller without describe). Noted in the operation as well.
    bool would_allow(Operation& operation, Action action, const Resource& resource,
                     std::map<std::string, std::string> context = {}) const;

    // Policy::may_ever of the policy in force; noted nowhere.
    bool may_ever(const Caller& caller, Action action) const;

    // SHA-256 of the policy in force, hex.
    std::string policy_hash() const;

    // Puts another policy in force; operations under way keep the decisions they have.
    void replace(std::shared_ptr<const Policy> policy);

private:
    Decision decide(Operation& operation, Action action, const Resource& resource,
                    std::map<std::string, std::string> context) const;

    std::shared_ptr<const Policy> policy() const;

    mutable std::mutex mutex_;  // held for the copy of a pointer only
    std::shared_ptr<const Policy> policy_;
};

}  // namespace server
