#include "server/policy.h"

#include <algorithm>
#include <unordered_map>

#include "base/file.h"
#include "server/digest.h"
#include "server/policy_rules.h"

namespace server {
namespace {

constexpr std::string_view no_rule = "default-deny";

bool names_action(const Rule& rule, Action action) {
    return rule.any_action ||
           std::find(rule.actions.begin(), rule.actions.end(), action.word) != rule.actions.end();
}

bool covers(const Rule& rule, const Caller& caller, Action action, const Resource& resource) {
    const Unfillable unfillable =
        rule.effect == Effect::deny ? Unfillable::matches_everything : Unfillable::matches_nothing;
    return names_action(rule, action) &&
           std::any_of(rule.resources.begin(), rule.resources.end(),
                       [&](const ResourcePattern& pattern) {
                           return pattern.matches(resource, caller, unfillable);
                       });
}

// Answers from an index by caller id: what a question costs does not depend on how many are bound.
// Bindings with wildcards are tried one after the other.
class IndexedPolicy final : public Policy {
public:
    IndexedPolicy(PolicyFile file, std::string hash)
        : file_(std::move(file)), hash_(std::move(hash)) {
        for (const Binding& binding : file_.bindings) {
            Glob glob(binding.caller, false);
            if (glob.is_literal()) {
                exact_.emplace(binding.caller, &binding);
            } else {
                wildcards_.emplace_back(std::move(glob), &binding);
            }
        }
    }

    Decision decide(const Caller& caller, Action action, const Resource& resource,
                    const std::map<std::string, std::string>& /*context*/) const override {
        const Rule* allowing = nullptr;
        const Rule* denying = nullptr;
        for_each_rule(caller, [&](const Rule& rule) {
            const Rule*& first = rule.effect == Effect::deny ? denying : allowing;
            if (first == nullptr && covers(rule, caller, action, resource)) first = &rule;
            return denying == nullptr;
        });
        if (denying != nullptr) return {false, denying->id, hash_};
        if (allowing != nullptr) return {true, allowing->id, hash_};
        return {false, std::string(no_rule), hash_};
    }

    bool may_ever(const Caller& caller, Action action) const override {
        bool possible = false;
        for_each_rule(caller, [&](const Rule& rule) {
            possible = rule.effect == Effect::allow && names_action(rule, action);
            return !possible;
        });
        return possible;
    }

    const std::string& hash() const override { return hash_; }

private:
    // Until `visit` returns false.
    template <typename Visit>
    void for_each_rule(const Caller& caller, Visit visit) const {
        if (caller.is_nobody() || caller.id.empty()) return;
        const auto visit_binding = [&visit](const Binding& binding) {
            return std::all_of(binding.roles.begin(), binding.roles.end(),
                               [&visit](const Role* role) {
                                   return std::all_of(role->begin(), role->end(), visit);
                               });
        };
        const auto exact = exact_.find(caller.id);
        if (exact != exact_.end() && !visit_binding(*exact->second)) return;
        for (const auto& [glob, binding] : wildcards_) {
            if (glob.matches(caller.id, nullptr) && !visit_binding(*binding)) return;
        }
    }

    PolicyFile file_;
    std::string hash_;
    std::unordered_map<std::string, const Binding*> exact_;
    std::vector<std::pair<Glob, const Binding*>> wildcards_;
};

}  // namespace

std::shared_ptr<const Policy> parse_policy(std::string_view text,
                                           const std::vector<std::string_view>& known_actions) {
    return std::make_shared<IndexedPolicy>(parse_policy_file(text, known_actions),
                                           Sha256().hex(text));
}

std::shared_ptr<const Policy> load_policy(const std::filesystem::path& file,
                                          const std::vector<std::string_view>& known_actions) {
    const std::string text = base::read_trusted_file(file, max_policy_bytes);
    try {
        return parse_policy(text, known_actions);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::invalid_argument) throw;
        throw base::Error(base::ErrorCode::invalid_argument,
                          file.string() + ": " + error.message());
    }
}

}  // namespace server
