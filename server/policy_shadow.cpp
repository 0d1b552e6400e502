#include "server/policy_shadow.h"

#include <chrono>

namespace server {
namespace {

constexpr double lines_per_second = 10;
constexpr double lines_at_once = 50;

std::string_view word(const Decision& decision) { return decision.allowed ? "allow" : "deny"; }

std::string named(const Resource& resource) {
    return resource.kind + ":" + (resource.owner.empty() ? "" : resource.owner + "/") + resource.id;
}

}  // namespace

ShadowReport::ShadowReport(Metrics* metrics, base::Log* log)
    : metrics_(metrics), log_(log), lines_(lines_per_second, lines_at_once) {}

void ShadowReport::compare(const PolicyQuestion& question, const Decision& decision,
                           const Policy& shadow) {
    const Decision other = shadow.decide(question);
    if (other.allowed == decision.allowed) return;
    if (metrics_ != nullptr) metrics_->count("shadow_decisions_differ");
    if (log_ == nullptr) return;
    const auto left_out = lines_.pass(std::chrono::steady_clock::now());
    if (!left_out) return;
    log_->warning("the shadow policy decides otherwise",
                  {{"caller", question.caller.id},
                   {"action", std::string(question.action.word)},
                   {"resource", named(question.resource)},
                   {"decision", std::string(word(decision))},
                   {"rule", decision.rule},
                   {"policy_hash", decision.policy_hash},
                   {"shadow_decision", std::string(word(other))},
                   {"shadow_rule", other.rule},
                   {"shadow_policy_hash", other.policy_hash},
                   {"not_logged_before", static_cast<std::int64_t>(*left_out)}});
}

void ShadowReport::could_not_ask(const PolicyQuestion& question, std::string reason) {
    if (metrics_ != nullptr) metrics_->count("shadow_not_asked");
    if (log_ == nullptr) return;
    const auto left_out = lines_.pass(std::chrono::steady_clock::now());
    if (!left_out) return;
    log_->warning("the shadow policy could not be asked",
                  {{"caller", question.caller.id},
                   {"action", std::string(question.action.word)},
                   {"resource", named(question.resource)},
                   {"reason", std::move(reason)},
                   {"not_logged_before", static_cast<std::int64_t>(*left_out)}});
}

}  // namespace server
