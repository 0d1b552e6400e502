#include "server/authorizer.h"

#include "server/policy.h"

namespace server {

Authorizer::Authorizer(std::shared_ptr<const Policy> policy) : policy_(std::move(policy)) {}

std::shared_ptr<const Policy> Authorizer::policy() const {
    const std::lock_guard lock(mutex_);
    return policy_;
}

Decision Authorizer::decide(Operation& operation, Action action, const Resource& resource,
                            std::map<std::string, std::string> context) const {
    Decision decision = policy()->decide(operation.caller(), action, resource, context);
    operation.decided_.push_back(
        {std::string(action.word), resource, std::move(context), decision});
    return decision;
}

Grant Authorizer::authorize(Operation& operation, Action action, Resource resource,
                            std::map<std::string, std::string> context) const {
    Decision decision = decide(operation, action, resource, std::move(context));
    if (operation.caller().is_nobody()) {
        throw base::Error(base::ErrorCode::unauthenticated, "a client certificate is needed");
    }
    if (!decision.allowed) {
        throw base::Error(base::ErrorCode::permission_denied, "the caller may not do this",
                          "rule " + decision.rule);
    }
    return Grant(operation.caller(), action, std::move(resource), std::move(decision));
}

bool Authorizer::would_allow(Operation& operation, Action action, const Resource& resource,
                             std::map<std::string, std::string> context) const {
    return decide(operation, action, resource, std::move(context)).allowed &&
           !operation.caller().is_nobody();
}

bool Authorizer::may_ever(const Caller& caller, Action action) const {
    return policy()->may_ever(caller, action);
}

std::string Authorizer::policy_hash() const { return policy()->hash(); }

void Authorizer::replace(std::shared_ptr<const Policy> policy) {
    const std::lock_guard lock(mutex_);
    policy_.swap(policy);
}

}  // namespace server
