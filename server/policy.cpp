#include "server/policy.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/file.h"
#include "server/digest.h"
#include "server/policy_index.h"
#include "server/policy_rules.h"

namespace server {
namespace {

using Places = std::vector<std::size_t>;

constexpr std::size_t nothing = std::numeric_limits<std::size_t>::max();

// The rules of one role that name one action, by what they are about. Values are places in
// RoleRules::rules, which are in the order of the file.
class ActionRules {
public:
    void add(const Rule& rule, std::size_t place) {
        for (const ResourcePattern& pattern : rule.resources) {
            if (pattern.any_id()) {
                anything_.push_back(place);
                continue;
            }
            if (pattern.owner() != nullptr) owners_.add(*pattern.owner(), place);
            if (pattern.alias() != nullptr) {
                aliases_.add(*pattern.alias(), place);
            } else if (pattern.is_tag()) {
                tags_.push_back(place);
            } else {
                ids_.add(pattern.whole(), place);
            }
        }
    }

    // Each rule that may be about `resource`, some of them more than once.
    template <typename Visit>
    void visit(const Resource& resource, Visit visit) const {
        for (const std::size_t place : anything_) visit(place);
        if (!resource.owner.empty()) {
            owners_.visit(resource.owner, visit);
            return;
        }
        ids_.visit(resource.id, visit);
        for (const std::string& alias : resource.aliases) aliases_.visit(alias, visit);
        if (resource.tags.empty() && !resource.of_many) return;
        for (const std::size_t place : tags_) visit(place);
    }

private:
    Places anything_;
    PatternIndex owners_;
    PatternIndex aliases_;
    PatternIndex ids_;
    Places tags_;
};

struct RoleRules {
    std::map<std::string_view, ActionRules> by_action;  // words of the file's rules
    ActionRules any_action;                             // rules that name "*"
    std::vector<const Rule*> denies;
};

// What a question costs does not depend on how many are bound, nor on how many rules are about
// other things.
class IndexedPolicy final : public Policy {
public:
    IndexedPolicy(PolicyFile file, std::string hash, const PolicyWords& words)
        : file_(std::move(file)), hash_(std::move(hash)), words_(words) {
        for (const Role& role : file_.roles) add_role(role);
        for (std::size_t i = 0; i < file_.bindings.size(); ++i) {
            bindings_.add(file_.bindings[i], i);
        }
        refuse_conflicts();
    }

    Decision decide(const PolicyQuestion& question) const override {
        const Resource& asked = question.resource;
        if (!words_.is_of_many(asked.kind, asked.id)) return decide_as_it_is(question);
        Resource many = asked;
        many.of_many = true;
        const PolicyQuestion of_many{question.caller, question.action, many, question.context,
                                     question.now};
        Decision decision = decide_as_it_is(of_many);
        const auto& parts = words_.parts_of(question.action.word);
        if (!decision.allowed || parts.empty()) return decision;
        const Rule* denying = first_deny_of_one(of_many);
        for (const std::string_view part : parts) {
            if (denying != nullptr) break;
            denying = first_deny_of_one(
                {question.caller, Action{part}, many, question.context, question.now});
        }
        return denying == nullptr ? decision : Decision{false, denying->id, hash_};
    }

    bool may_ever(const Caller& caller, Action action, base::Time now) const override {
        const Places held = roles_of(caller);
        if (!file_.exclusive.empty() && !file_.conflict(held).empty()) return false;
        std::vector<const Rule*> denying;
        for (const std::size_t role : held) {
            for (const Rule* deny : roles_[role].denies) {
                if (deny->surely_denies(caller, action, now)) denying.push_back(deny);
            }
        }
        const auto is_denied = [&](std::string_view kind) {
            return std::any_of(denying.begin(), denying.end(), [&](const Rule* deny) {
                return std::any_of(deny->resources.begin(), deny->resources.end(),
                                   [&](const auto& denied) { return denied.covers(kind); });
            });
        };
        const PolicyWords::Kinds& kinds = words_.kinds_of(action.word);
        const auto is_left = [&](const ResourcePattern& allowed) {
            if (kinds.empty()) return !is_denied(allowed.kind());
            return std::any_of(kinds.begin(), kinds.end(), [&](std::string_view kind) {
                return allowed.is_about(kind) && !is_denied(kind);
            });
        };
        return std::any_of(held.begin(), held.end(), [&](std::size_t role) {
            const auto& rules = file_.roles[role].rules;
            return std::any_of(rules.begin(), rules.end(), [&](const Rule& rule) {
                return rule.effect == Effect::allow && rule.may_apply(caller, action, now) &&
                       std::any_of(rule.resources.begin(), rule.resources.end(), is_left);
            });
        });
    }

    bool asks_for_tags() const override { return asks_for_tags_; }
    const std::string& hash() const override { return hash_; }

private:
    // Of the caller's denies that may apply to one of many. Null: there is none.
    const Rule* first_deny_of_one(const PolicyQuestion& question) const {
        for (const std::size_t role : roles_of(question.caller)) {
            for (const Rule* deny : roles_[role].denies) {
                if (deny->may_deny_one(question)) return deny;
            }
        }
        return nullptr;
    }

    Decision decide_as_it_is(const PolicyQuestion& question) const {
        const Places held = roles_of(question.caller);
        if (!file_.exclusive.empty() && !file_.conflict(held).empty()) {
            return {false, std::string(exclusive_roles), hash_};
        }
        std::size_t allowing = nothing;
        std::size_t denying = nothing;
        bool for_owner = question.resource.owner.empty();
        const auto consider = [&](std::size_t place) {
            const Rule& rule = *rules_[place];
            if (rule.effect == Effect::deny) {
                if (place < denying && rule.applies(question)) denying = place;
                return;
            }
            if ((place > allowing && for_owner) || !rule.applies(question)) return;
            allowing = std::min(allowing, place);
            for_owner = for_owner || rule.names_owner(question);
        };
        for (const std::size_t role : held) {
            const RoleRules& rules = roles_[role];
            rules.any_action.visit(question.resource, consider);
            const auto named = rules.by_action.find(question.action.word);
            if (named != rules.by_action.end()) named->second.visit(question.resource, consider);
        }
        if (denying != nothing) return {false, rules_[denying]->id, hash_};
        if (allowing != nothing) return {true, rules_[allowing]->id, hash_, !for_owner};
        return {false, std::string(default_deny), hash_};
    }

    void add_role(const Role& role) {
        RoleRules& rules = roles_.emplace_back();
        for (const Rule& rule : role.rules) {
            const std::size_t place = rules_.size();
            rules_.push_back(&rule);
            if (rule.effect == Effect::deny) rules.denies.push_back(&rule);
            asks_for_tags_ = asks_for_tags_ || rule.asks_for_tags();
            if (rule.any_action) {
                rules.any_action.add(rule, place);
                continue;
            }
            for (const std::string& word : rule.actions) rules.by_action[word].add(rule, place);
        }
    }

    // Each once. Nobody has none.
    Places roles_of(const Caller& caller) const {
        Places held;
        if (caller.is_nobody() || caller.id.empty()) return held;
        const auto consider = [&](std::size_t place) {
            const Binding& binding = file_.bindings[place];
            if (!binding.fits(caller)) return;
            for (const std::size_t role : binding.roles) {
                if (std::find(held.begin(), held.end(), role) == held.end()) held.push_back(role);
            }
        };
        bindings_.visit(caller, consider);
        return held;
    }

    // What is certain before anybody calls: a binding with roles that exclude each other, and a
    // caller who has them from several. Whom claims give them is denied when he calls.
    void refuse_conflicts() const {
        if (file_.exclusive.empty()) return;
        for (const Binding& binding : file_.bindings) {
            Places held = binding.roles;
            if (!binding.caller.empty() && binding.caller.front().is_literal()) {
                bindings_.visit_named(binding.caller.front().text(), [&](std::size_t place) {
                    const Binding& other = file_.bindings[place];
                    if (!other.claims.empty() || !other.authentication.empty() ||
                        other.caller.front().matches(binding.caller.front().text(), nullptr) !=
                            Fit::yes) {
                        return;
                    }
                    held.insert(held.end(), other.roles.begin(), other.roles.end());
                });
            }
            const std::string conflict = file_.conflict(held);
            if (conflict.empty()) continue;
            throw base::Error(base::ErrorCode::invalid_argument,
                              "\"bindings\" give the roles " + conflict + " to " +
                                  binding.describe() + ", which exclude each other");
        }
    }

    PolicyFile file_;
    std::string hash_;
    PolicyWords words_;
    std::vector<const Rule*> rules_;  // all of them, in the order of the file
    std::vector<RoleRules> roles_;    // as in the file
    BindingIndex bindings_;
    bool asks_for_tags_ = false;
};

}  // namespace

std::shared_ptr<const Policy> parse_policy(std::string_view text, const PolicyWords& words) {
    return std::make_shared<IndexedPolicy>(parse_policy_file(text, words), Sha256().hex(text),
                                           words);
}

std::shared_ptr<const Policy> load_policy(const std::filesystem::path& file,
                                          const PolicyWords& words) {
    const std::string text = base::read_trusted_file(file, max_policy_bytes);
    try {
        return parse_policy(text, words);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::invalid_argument) throw;
        throw base::Error(base::ErrorCode::invalid_argument,
                          file.string() + ": " + error.message());
    }
}

std::shared_ptr<const Policy> load_shadow(const PolicyFiles& files, const PolicyWords& words) {
    return files.shadow.empty() ? nullptr : load_policy(files.shadow, words);
}

}  // namespace server
