// The policy engine against an evaluator that is slow and plain to see: random policies, random
// questions, and both must name the same rule. It shares the parsed file with the engine, not its
// matching, its index or its order.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "server/policy.h"
#include "server/policy_rules.h"

namespace {

using Entries = std::map<std::string, std::string>;

const std::vector<std::string_view> reference_actions = {"read", "write", "open"};

// One letter after the other.
bool slow_glob(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern.front() == '*') {
        for (std::size_t skipped = 0; skipped <= text.size(); ++skipped) {
            if (slow_glob(pattern.substr(1), text.substr(skipped))) return true;
        }
        return false;
    }
    return !text.empty() && text.front() == pattern.front() &&
           slow_glob(pattern.substr(1), text.substr(1));
}

// What the generator makes, written down a second time as plain data.
struct PlainRule {
    std::string id;
    bool allow = true;
    std::string action;    // or "*"
    std::string kind;      // or "*"
    std::string form;      // "id", "alias", "tag", "owner", "any"
    std::string first;     // id, alias, tag value, owner
    std::string second;    // the name of what has an owner
    std::string context;   // pattern that context entry "tenant" must fit; empty: not asked
    std::string tag;       // pattern that tag "team" must fit; empty: not asked
    std::string method;    // empty: not asked
    std::string unless;    // pattern of context entry "purpose"; empty: not asked
    int first_octet = -1;  // of the network, /8; -1: not asked
};

struct PlainBinding {
    std::string caller;  // pattern; empty: not asked
    std::string claim;   // pattern of claim "group"; empty: not asked
    std::vector<std::size_t> roles;
};

struct PlainPolicy {
    std::vector<std::vector<PlainRule>> roles;
    std::vector<PlainBinding> bindings;
};

class Generator {
public:
    explicit Generator(unsigned seed) : random_(seed) {}

    std::size_t below(std::size_t bound) { return random_() % bound; }
    bool rarely() { return below(4) == 0; }
    std::string pick(const std::vector<std::string>& words) { return words[below(words.size())]; }
    std::string name() { return pick({"a", "b", "ab", "ba", "abc", "a/b", "team-a"}); }
    std::string pattern() {
        return pick({"a", "b", "ab", "*", "a*", "*b", "a*c", "*a*", "team-*", "b*a", "abc", "**"});
    }

    PlainRule rule(std::string id) {
        PlainRule rule;
        rule.id = std::move(id);
        rule.allow = below(3) != 0;
        rule.action = pick({"read", "write", "open", "*"});
        rule.kind = pick({"key", "key", "credential", "*"});
        rule.form = rule.kind == "*" ? "any" : pick({"id", "alias", "tag", "owner", "any"});
        rule.first = pattern();
        rule.second = pattern();
        if (rarely()) rule.context = pattern();
        if (rarely()) rule.tag = pattern();
        if (rarely()) rule.method = pick({"jwt", "client_certificate"});
        if (rarely()) rule.unless = pattern();
        if (rarely()) rule.first_octet = static_cast<int>(10 + below(2));
        return rule;
    }

    PlainPolicy policy() {
        PlainPolicy policy;
        int next = 0;
        for (std::size_t role = 0; role < 1 + below(3); ++role) {
            auto& rules = policy.roles.emplace_back();
            for (std::size_t i = 0; i < below(6); ++i)
                rules.push_back(rule("rule-" + std::to_string(next++)));
        }
        for (std::size_t i = 0; i < 1 + below(4); ++i) {
            PlainBinding binding;
            if (below(3) != 0) binding.caller = pick({"a", "b", "ab", "a*", "*b", "*"});
            if (binding.caller.empty() || rarely()) binding.claim = pick({"x", "y", "x*", "*"});
            binding.roles.push_back(below(policy.roles.size()));
            if (rarely()) binding.roles.push_back(below(policy.roles.size()));
            policy.bindings.push_back(binding);
        }
        return policy;
    }

private:
    std::mt19937 random_;
};

std::string resource_text(const PlainRule& rule) {
    if (rule.kind == "*") return "*";
    if (rule.form == "any") return rule.kind + ":*";
    if (rule.form == "alias") return rule.kind + ":alias/" + rule.first;
    if (rule.form == "tag") return rule.kind + ":tag/team=" + rule.first;
    if (rule.form == "owner") return rule.kind + ":" + rule.first + "/" + rule.second;
    return rule.kind + ":" + rule.first;
}

std::string when_text(const PlainRule& rule) {
    std::string when;
    const auto add = [&when](const std::string& part) { when += (when.empty() ? "" : ",") + part; };
    if (!rule.context.empty()) add(R"("context":{"tenant":[")" + rule.context + R"("]})");
    if (!rule.tag.empty()) add(R"("tags":{"team":[")" + rule.tag + R"("]})");
    if (!rule.method.empty()) add(R"("authentication":[")" + rule.method + R"("])");
    if (rule.first_octet >= 0)
        add(R"("network":[")" + std::to_string(rule.first_octet) + R"(.0.0.0/8"])");
    return when.empty() ? "" : R"(,"when":{)" + when + "}";
}

std::string text_of(const PlainPolicy& policy) {
    std::string text = R"({"version":1,"roles":{)";
    for (std::size_t role = 0; role < policy.roles.size(); ++role) {
        text += (role == 0 ? "\"r" : ",\"r") + std::to_string(role) + "\":[";
        for (std::size_t i = 0; i < policy.roles[role].size(); ++i) {
            const PlainRule& rule = policy.roles[role][i];
            text += (i == 0 ? "" : ",") + (R"({"id":")" + rule.id) + R"(","effect":")" +
                    (rule.allow ? "allow" : "deny") + R"(","actions":[")" + rule.action +
                    R"("],"resources":[")" + resource_text(rule) + "\"]" + when_text(rule);
            if (!rule.unless.empty())
                text += R"(,"unless":{"context":{"purpose":[")" + rule.unless + R"("]}})";
            text += "}";
        }
        text += "]";
    }
    text += R"(},"bindings":[)";
    for (std::size_t i = 0; i < policy.bindings.size(); ++i) {
        const PlainBinding& binding = policy.bindings[i];
        text += i == 0 ? "{" : ",{";
        if (!binding.caller.empty()) text += R"("caller":")" + binding.caller + "\",";
        // The second pattern fits nobody; it keeps equal bindings apart.
        if (!binding.claim.empty())
            text += R"("claims":{"group":[")" + binding.claim + R"(","none-)" + std::to_string(i) +
                    R"("]},)";
        text += R"("roles":[)";
        for (std::size_t role = 0; role < binding.roles.size(); ++role)
            text += (role == 0 ? "\"r" : ",\"r") + std::to_string(binding.roles[role]) + "\"";
        text += "]}";
    }
    return text + "]}";
}

bool entry_fits(const Entries& entries, const std::string& name, const std::string& pattern) {
    return entries.contains(name) && slow_glob(pattern, entries.at(name));
}

bool about(const PlainRule& rule, const server::Resource& resource) {
    if (rule.kind == "*") return true;
    if (rule.kind != resource.kind) return false;
    const bool everything = rule.form == "any" || (rule.form == "id" && rule.first == "*");
    if (everything) return true;
    if (!resource.owner.empty()) {
        if (rule.form == "owner")
            return slow_glob(rule.first, resource.owner) && slow_glob(rule.second, resource.id);
        // Written out, "alias/x" and "tag/team=x" are an owner and a name, too.
        if (rule.form == "alias")
            return resource.owner == "alias" && slow_glob(rule.first, resource.id);
        if (rule.form == "tag")
            return resource.owner == "tag" && slow_glob("team=" + rule.first, resource.id);
        return false;
    }
    if (rule.form == "alias") {
        bool any = false;
        for (const auto& alias : resource.aliases) any = any || slow_glob(rule.first, alias);
        return any;
    }
    if (rule.form == "tag") return entry_fits(resource.tags, "team", rule.first);
    if (rule.form == "owner") return slow_glob(rule.first + "/" + rule.second, resource.id);
    return slow_glob(rule.first, resource.id);
}

bool holds(const PlainRule& rule, const server::PolicyQuestion& question) {
    if (rule.action != "*" && rule.action != question.action.word) return false;
    if (!about(rule, question.resource)) return false;
    if (!rule.context.empty() && !entry_fits(question.context, "tenant", rule.context))
        return false;
    if (!rule.tag.empty() && !entry_fits(question.resource.tags, "team", rule.tag)) return false;
    if (!rule.method.empty() && rule.method != to_string(question.caller.method)) return false;
    if (rule.first_octet >= 0 &&
        !question.caller.address.starts_with(std::to_string(rule.first_octet) + "."))
        return false;
    return rule.unless.empty() || !entry_fits(question.context, "purpose", rule.unless);
}

bool bound(const PlainBinding& binding, const server::Caller& caller) {
    if (!binding.caller.empty() && !slow_glob(binding.caller, caller.id)) return false;
    if (binding.claim.empty()) return true;
    bool any = false;
    if (caller.claims.contains("group")) {
        for (const auto& value : caller.claims.at("group"))
            any = any || slow_glob(binding.claim, value);
    }
    return any;
}

server::Decision slow_decision(const PlainPolicy& policy, const server::PolicyQuestion& question) {
    for (const bool allow : {false, true}) {
        for (std::size_t role = 0; role < policy.roles.size(); ++role) {
            bool held = false;
            for (const auto& binding : policy.bindings) {
                for (const auto bound_role : binding.roles)
                    held = held || (bound_role == role && bound(binding, question.caller));
            }
            for (const auto& rule : policy.roles[role]) {
                if (held && rule.allow == allow && holds(rule, question))
                    return {allow, rule.id, {}};
            }
        }
    }
    return {false, "default-deny", {}};
}

TEST(PolicyReference, EngineDecidesRandomPoliciesAsTheReferenceDoes) {
    const char* more = std::getenv("STRONGROOM_POLICY_ROUNDS");  // NOLINT(concurrency-mt-unsafe)
    const unsigned rounds = more == nullptr ? 150 : static_cast<unsigned>(std::atoi(more));
    std::size_t allowed = 0;
    std::size_t denied_by_rule = 0;
    for (unsigned seed = 1; seed <= rounds; ++seed) {
        Generator generator(seed);
        const PlainPolicy plain = generator.policy();
        std::shared_ptr<const server::Policy> engine;
        try {
            engine = server::parse_policy(text_of(plain), reference_actions);
        } catch (const base::Error&) {
            continue;  // two equal bindings
        }
        for (int i = 0; i < 40; ++i) {
            server::Caller caller;
            caller.id = generator.pick({"a", "b", "ab", "abc", "c"});
            caller.method = generator.rarely() ? server::AuthenticationMethod::jwt
                                               : server::AuthenticationMethod::client_certificate;
            caller.address = generator.pick({"10.0.0.1", "11.2.3.4", "12.0.0.1"});
            if (generator.rarely())
                caller.claims["group"] = {generator.pick({"x", "y", "xx"}), "q"};
            server::Resource resource;
            resource.kind = generator.pick({"key", "credential"});
            resource.id = generator.pick({"a", "b", "ab", "abc", "a/b", "team-a", "team=a"});
            if (generator.rarely()) resource.owner = generator.pick({"a", "ab", "alias", "tag"});
            for (std::size_t n = generator.below(3); n > 0; --n)
                resource.aliases.push_back(generator.name());
            if (generator.rarely()) resource.tags["team"] = generator.name();
            Entries context;
            if (generator.rarely()) context["tenant"] = generator.name();
            if (generator.rarely()) context["purpose"] = generator.name();
            const std::string action = generator.pick({"read", "write", "open"});
            const server::PolicyQuestion question{caller, {action}, resource, context, {}};
            const auto expected = slow_decision(plain, question);
            const auto decided = engine->decide(question);
            ASSERT_EQ(decided.rule, expected.rule) << "seed " << seed << ": " << text_of(plain);
            ASSERT_EQ(decided.allowed, expected.allowed);
            allowed += decided.allowed ? 1U : 0U;
            denied_by_rule += !decided.allowed && decided.rule != "default-deny" ? 1U : 0U;
        }
    }
    // The questions reach all kinds of answers.
    EXPECT_GT(allowed, rounds);
    EXPECT_GT(denied_by_rule, rounds / 3);
}

}  // namespace
