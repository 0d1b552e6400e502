#include "server/policy_rules.h"

#include <algorithm>

namespace server {
namespace {

// Kleene's: the rule applies when `when` holds and `unless` does not.
Fit negate(Fit match) {
    if (match == Fit::unknown) return match;
    return match == Fit::yes ? Fit::no : Fit::yes;
}

bool contains(const std::vector<std::size_t>& list, std::size_t value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

std::string_view to_string(Effect effect) noexcept {
    return effect == Effect::allow ? "allow" : "deny";
}

bool Rule::names(Action action) const {
    return any_action || std::find(actions.begin(), actions.end(), action.word) != actions.end();
}

bool Rule::applies(const PolicyQuestion& question, std::string* failed) const {
    const Fit needed = effect == Effect::deny ? Fit::unknown : Fit::yes;
    const auto missing = [failed](std::string_view what) {
        if (failed != nullptr) *failed = what;
        return false;
    };
    if (!names(question.action)) return missing("action");
    Fit match = Fit::no;
    for (const ResourcePattern& pattern : resources) {
        match = std::max(match, pattern.matches(question.resource, question.caller));
        if (match == Fit::yes) break;
    }
    if (match < needed) return missing("resource");
    if (!when.empty()) {
        std::string condition;
        match = std::min(match, when.evaluate(question, failed == nullptr ? nullptr : &condition));
        if (match < needed) return missing("when " + condition);
    }
    if (!unless.empty()) {
        match = std::min(match, negate(unless.evaluate(question)));
        if (match < needed) return missing("unless");
    }
    return true;
}

bool Rule::may_deny_one(const PolicyQuestion& question) const {
    if (effect != Effect::deny || !names(question.action)) return false;
    const bool fits = std::any_of(
        resources.begin(), resources.end(), [&question](const ResourcePattern& pattern) {
            return pattern.may_fit_another(question.resource, question.caller);
        });
    if (!fits || (!when.empty() && when.evaluate(question) == Fit::no)) return false;
    return unless.empty() || unless.evaluate(question) != Fit::yes;
}

bool Rule::names_owner(const PolicyQuestion& question) const {
    const auto names = [&question](const Glob& owner) {
        return !owner.has_wildcard() &&
               owner.matches(question.resource.owner, &question.caller) == Fit::yes;
    };
    if (std::any_of(when.owner.begin(), when.owner.end(), names)) return true;
    return std::any_of(resources.begin(), resources.end(), [&](const ResourcePattern& pattern) {
        return pattern.owner() != nullptr && names(*pattern.owner()) &&
               pattern.matches(question.resource, question.caller) == Fit::yes;
    });
}

bool Rule::asks_for_tags() const {
    return !when.tags.empty() || !unless.tags.empty() ||
           std::any_of(resources.begin(), resources.end(),
                       [](const ResourcePattern& pattern) { return pattern.is_tag(); });
}

bool Rule::may_apply(const Caller& caller, Action action, base::Time now) const {
    return names(action) && (when.empty() || when.of_caller(caller, now) == Fit::yes);
}

bool Rule::surely_denies(const Caller& caller, Action action, base::Time now) const {
    if (effect != Effect::deny || !names(action)) return false;
    if (when.asks_resource() || when.of_caller(caller, now) == Fit::no) return false;
    return unless.empty() || unless.of_caller(caller, now) != Fit::yes;
}

bool Binding::fits(const Caller& who) const {
    if (!authentication.empty() && std::find(authentication.begin(), authentication.end(),
                                             who.method) == authentication.end()) {
        return false;
    }
    if (!caller.empty() && caller.front().matches(who.id, nullptr) != Fit::yes) return false;
    return std::all_of(claims.begin(), claims.end(), [&who](const auto& wanted) {
        const auto given = who.claims.find(wanted.first);
        if (given == who.claims.end()) return false;
        return std::any_of(given->second.begin(), given->second.end(),
                           [&wanted](const std::string& value) {
                               return any_match(wanted.second, value, nullptr) == Fit::yes;
                           });
    });
}

std::string Binding::describe() const {
    std::string text = caller.empty() ? "" : "caller " + caller.front().text();
    for (const auto& [name, globs] : claims) {
        text += (text.empty() ? "claim " : ", claim ") + name + '=';
        for (std::size_t i = 0; i < globs.size(); ++i)
            text += (i == 0 ? "" : "|") + globs[i].text();
    }
    for (std::size_t i = 0; i < authentication.size(); ++i) {
        text += (i == 0 ? " by " : "|") + std::string(to_string(authentication[i]));
    }
    return text;
}

std::string PolicyFile::conflict(const std::vector<std::size_t>& held) const {
    for (const auto& group : exclusive) {
        const std::string* first = nullptr;
        for (const std::size_t role : group) {
            if (!contains(held, role)) continue;
            if (first != nullptr) return "\"" + *first + "\" and \"" + roles[role].name + "\"";
            first = &roles[role].name;
        }
    }
    return {};
}

}  // namespace server
