#include "server/authorizer.h"

#include <algorithm>
#include <chrono>

#include "server/budget.h"
#include "server/policy.h"
#include "server/policy_shadow.h"
#include "server/throttle.h"

namespace server {
namespace {

// Callers cause these lines of the log.
constexpr double denials_per_second = 10;
constexpr double denials_at_once = 50;

}  // namespace

Authorizer::Authorizer(std::shared_ptr<const Policy> policy, std::shared_ptr<const Policy> shadow,
                       const AuthorizerParts& parts)
    : policies_{std::move(policy), std::move(shadow)},
      parts_(parts),
      shadow_report_(std::make_unique<ShadowReport>(parts.metrics, parts.log)),
      denials_(std::make_unique<Throttle>(denials_per_second, denials_at_once)) {}

Authorizer::~Authorizer() = default;

Authorizer::Policies Authorizer::policies() const {
    const std::lock_guard lock(mutex_);
    return policies_;
}

Decision Authorizer::decide_for(Operation& operation, const Caller& caller, Action action,
                                const Resource& resource,
                                const std::map<std::string, std::string>& context) const {
    const Policies asked = policies();
    const PolicyQuestion question{caller, action, resource, context, operation.started()};
    Decision decision = asked.in_force->decide(question);
    if (asked.shadow != nullptr) shadow_report_->compare(question, decision, *asked.shadow);
    const bool of_user = &caller != &operation.caller();
    operation.decided_.push_back({std::string(action.word), resource, context, decision, of_user});
    return decision;
}

Decision Authorizer::decide(Operation& operation, Action action, const Resource& resource,
                            const std::map<std::string, std::string>& context) const {
    Decision decision = decide_for(operation, operation.caller(), action, resource, context);
    if (!operation.user() || !decision.allowed) return decision;
    Decision of_user = decide_for(operation, *operation.user(), action, resource, context);
    return of_user.allowed ? decision : of_user;
}

Grant Authorizer::authorize(Operation& operation, Action action, Resource resource,
                            const std::map<std::string, std::string>& context) const {
    Decision decision = decide(operation, action, resource, context);
    if (operation.caller().is_nobody()) {
        throw base::Error(base::ErrorCode::unauthenticated, "a client certificate is needed");
    }
    if (!decision.allowed) {
        report_denial(operation, action, decision);
        throw base::Error(base::ErrorCode::permission_denied, "the caller may not do this",
                          "rule " + decision.rule);
    }
    if (parts_.budgets != nullptr) parts_.budgets->charge(operation, action, resource, context);
    return Grant(operation.caller(), action, std::move(resource), std::move(decision));
}

// Every denial stands in the audit log; this is for who looks at the log of the day.
void Authorizer::report_denial(const Operation& operation, Action action,
                               const Decision& decision) const {
    if (parts_.log == nullptr) return;
    const auto left_out = denials_->pass(std::chrono::steady_clock::now());
    if (!left_out) return;
    parts_.log->info("denied", {{"request_id", operation.request_id().to_string()},
                                {"caller", operation.caller().id},
                                {"action", std::string(action.word)},
                                {"rule", decision.rule},
                                {"policy_hash", decision.policy_hash},
                                {"not_logged_before", static_cast<std::int64_t>(*left_out)}});
}

bool Authorizer::would_allow(Operation& operation, Action action, const Resource& resource,
                             const std::map<std::string, std::string>& context) const {
    return decide(operation, action, resource, context).allowed && !operation.caller().is_nobody();
}

bool Authorizer::may_ever(const Operation& operation, Action action) const {
    const auto policy = policies().in_force;
    return policy->may_ever(operation.caller(), action, operation.started()) &&
           (!operation.user() || policy->may_ever(*operation.user(), action, operation.started()));
}

void Authorizer::require_any(Operation& operation, std::span<const Action> actions) const {
    const auto may = [&](Action action) { return may_ever(operation, action); };
    if (std::any_of(actions.begin(), actions.end(), may)) return;
    Resource anything;
    anything.id = "*";
    static_cast<void>(authorize(operation, actions.front(), std::move(anything)));
}

bool Authorizer::asks_for_tags() const {
    const Policies now = policies();
    return now.in_force->asks_for_tags() || (now.shadow && now.shadow->asks_for_tags());
}

std::string Authorizer::policy_hash() const { return policies().in_force->hash(); }

std::string Authorizer::shadow_hash() const {
    const Policies asked = policies();
    return asked.shadow == nullptr ? std::string() : asked.shadow->hash();
}

void Authorizer::replace(std::shared_ptr<const Policy> policy,
                         std::shared_ptr<const Policy> shadow) {
    const std::lock_guard lock(mutex_);
    policies_.in_force.swap(policy);
    policies_.shadow.swap(shadow);
}

}  // namespace server
