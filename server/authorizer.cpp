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
    const bool of_user = &caller != &operation.caller();
    operation.decided_.push_back({std::string(action.word), resource, context, decision, of_user});
    if (asked.shadow != nullptr) ask_shadow(question, decision, *asked.shadow);
    return decision;
}

void Authorizer::ask_shadow(const PolicyQuestion& question, const Decision& decision,
                            const Policy& shadow) const {
    try {
        if (!question.resource.tags_left_out || !parts_.tags_for_shadow ||
            !shadow.asks_for_tags()) {
            return shadow_report_->compare(question, decision, shadow);
        }
        Resource resource = question.resource;
        resource.tags = parts_.tags_for_shadow(resource);
        shadow_report_->compare(
            {question.caller, question.action, resource, question.context, question.now}, decision,
            shadow);
    } catch (const std::exception& error) {
        shadow_report_->could_not_ask(question, error.what());
    }
}

Authorizer::Decisions Authorizer::decide(Operation& operation, Action action,
                                         const Resource& resource,
                                         const std::map<std::string, std::string>& context) const {
    Decisions decisions;
    decisions.caller = decide_for(operation, operation.caller(), action, resource, context);
    if (operation.user() && decisions.caller.allowed) {
        decisions.user = decide_for(operation, *operation.user(), action, resource, context);
    }
    return decisions;
}

Grant Authorizer::authorize(Operation& operation, Action action, Resource resource,
                            const std::map<std::string, std::string>& context) const {
    Decisions decisions = decide(operation, action, resource, context);
    if (operation.caller().is_nobody()) {
        throw base::Error(base::ErrorCode::unauthenticated, "a client certificate is needed");
    }
    if (!decisions.deciding().allowed) {
        report_denial(operation, action, decisions);
        throw base::Error(base::ErrorCode::permission_denied, "the caller may not do this",
                          "rule " + decisions.deciding().rule);
    }
    if (parts_.budgets != nullptr) parts_.budgets->charge(operation, action, resource, context);
    return Grant(operation.caller(), action, std::move(resource), std::move(decisions.caller));
}

// Every denial stands in the audit log; this is for who looks at the log of the day. Whose rule it
// is must be plain: a server may be allowed what its user is not.
void Authorizer::report_denial(const Operation& operation, Action action,
                               const Decisions& decisions) const {
    if (parts_.log == nullptr) return;
    const auto left_out = denials_->pass(std::chrono::steady_clock::now());
    if (!left_out) return;
    const base::LogField id{"request_id", operation.request_id().to_string()};
    const base::LogField caller{"caller", operation.caller().id};
    const base::LogField word{"action", std::string(action.word)};
    const base::LogField rule{"rule", decisions.caller.rule};
    const base::LogField hash{"policy_hash", decisions.deciding().policy_hash};
    const base::LogField not_logged{"not_logged_before", static_cast<std::int64_t>(*left_out)};
    if (!operation.user()) {
        parts_.log->info("denied", {id, caller, word, rule, hash, not_logged});
        return;
    }
    const base::LogField user{"user", operation.user()->id};
    if (!decisions.user) {  // nobody asked about him
        parts_.log->info("denied", {id, caller, word, rule, user, hash, not_logged});
        return;
    }
    const base::LogField user_rule{"user_rule", decisions.user->rule};
    parts_.log->info("denied", {id, caller, word, rule, user, user_rule, hash, not_logged});
}

bool Authorizer::would_allow(Operation& operation, Action action, const Resource& resource,
                             const std::map<std::string, std::string>& context) const {
    return decide(operation, action, resource, context).deciding().allowed &&
           !operation.caller().is_nobody();
}

bool Authorizer::shows(const Operation& operation, Action action, const Resource& item) const {
    const Policies asked = policies();
    const auto may = [&](const Caller& caller) {
        const PolicyQuestion question{caller, action, item, {}, operation.started()};
        const Decision decision = asked.in_force->decide(question);
        if (asked.shadow != nullptr) shadow_report_->compare(question, decision, *asked.shadow);
        return decision.allowed;
    };
    return may(operation.caller()) && (!operation.user() || may(*operation.user()));
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

bool Authorizer::asks_for_tags() const { return policies().in_force->asks_for_tags(); }

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
