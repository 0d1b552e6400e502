#include "server/policy_explain.h"

#include <algorithm>
#include <set>

#include "server/policy_rules.h"

namespace server {
namespace {

// Why `rule`, of a role that the caller has, does not decide.
std::string why_not(const Rule& rule, const PolicyQuestion& question, const Decision& decision) {
    std::string failed;
    if (!rule.applies(question, &failed)) return "does not apply: " + failed;
    if (decision.rule == exclusive_roles) return "applies, but the roles exclude each other";
    if (rule.effect == Effect::allow && !decision.allowed) return "applies, but a deny wins";
    return "applies, but another stands before it";
}

std::vector<HeldRole> held_roles(const PolicyFile& file, const Caller& caller) {
    std::vector<HeldRole> held;
    if (caller.is_nobody() || caller.id.empty()) return held;
    for (const Binding& binding : file.bindings) {
        if (!binding.fits(caller)) continue;
        for (const std::size_t role : binding.roles) {
            held.push_back({file.roles[role].name, binding.describe()});
        }
    }
    return held;
}

}  // namespace

Explanation explain_policy(std::string_view text, const PolicyWords& words,
                           const PolicyQuestion& asked) {
    Resource resource = asked.resource;
    resource.of_many = words.is_of_many(resource.kind, resource.id);
    const PolicyQuestion question{asked.caller, asked.action, resource, asked.context, asked.now};
    const PolicyFile file = parse_policy_file(text, words);
    Explanation explanation;
    explanation.decision = parse_policy(text, words)->decide(question);
    explanation.held = held_roles(file, question.caller);
    for (const Role& role : file.roles) {
        const bool is_held =
            std::any_of(explanation.held.begin(), explanation.held.end(),
                        [&role](const HeldRole& held) { return held.role == role.name; });
        for (const Rule& rule : role.rules) {
            RuleVerdict verdict{rule.id,
                                role.name,
                                std::string(to_string(rule.effect)),
                                is_held && rule.id == explanation.decision.rule,
                                {}};
            if (verdict.decides) {
                verdict.why = "decides";
            } else if (is_held) {
                verdict.why = why_not(rule, question, explanation.decision);
            } else {
                verdict.why = rule.applies(question)
                                  ? "would apply, but the caller has not the role"
                                  : "the caller has not the role";
            }
            explanation.rules.push_back(std::move(verdict));
        }
    }
    return explanation;
}

PolicySummary summarize_policy(std::string_view text, const PolicyWords& words) {
    PolicySummary summary;
    summary.hash = parse_policy(text, words)->hash();
    const PolicyFile file = parse_policy_file(text, words);
    std::set<std::size_t> bound;
    for (const Binding& binding : file.bindings) {
        bound.insert(binding.roles.begin(), binding.roles.end());
    }
    summary.roles = file.roles.size();
    summary.bindings = file.bindings.size();
    for (std::size_t i = 0; i < file.roles.size(); ++i) {
        summary.rules += file.roles[i].rules.size();
        if (!bound.contains(i)) summary.unbound.push_back(file.roles[i].name);
    }
    return summary;
}

}  // namespace server
