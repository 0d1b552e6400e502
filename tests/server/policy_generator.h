// Random policies for policy_reference_test.cpp: as plain data that its evaluator reads, and as the
// text that the engine parses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace tests {

// What the generator makes, written down a second time as plain data.
struct PlainConditions {
    std::string tenant;    // pattern that context entry "tenant" must fit; empty: not asked
    std::string required;  // a context entry that must be there
    std::string only;      // pattern that every context entry's name must fit
    std::string owner;     // pattern of the resource's owner
    std::string tag;       // pattern that tag "team" must fit; empty: not asked
    std::string method;    // empty: not asked
    int first_octet = -1;  // of the network, /8; -1: not asked
    int day = -1;          // from Sunday; -1: not asked
    int from = -1;         // hours of the day; -1: not asked
    int to = -1;
};

struct PlainRule {
    std::string id;
    bool allow = true;
    std::string action;  // or "*"
    std::string kind;    // or "*"
    std::string form;    // "id", "alias", "tag", "owner", "any"
    std::string first;   // id, alias, tag value, owner
    std::string second;  // the name of what has an owner
    PlainConditions when;
    PlainConditions unless;
};

struct PlainBinding {
    std::string caller;  // pattern; empty: not asked
    std::string claim;   // pattern of claim "group"; empty: not asked
    std::string method;  // empty: not asked
    std::vector<std::size_t> roles;
};

struct PlainPolicy {
    std::vector<std::vector<PlainRule>> roles;
    std::vector<PlainBinding> bindings;
    std::vector<std::size_t> exclusive;  // none or two roles
};

class Generator {
public:
    explicit Generator(unsigned seed) : random_(seed) {}

    std::size_t below(std::size_t bound) { return random_() % bound; }
    bool rarely() { return below(4) == 0; }
    std::string pick(const std::vector<std::string>& words) { return words[below(words.size())]; }
    std::string name() { return pick({"a", "b", "ab", "ba", "abc", "a/b", "team-a"}); }
    std::string pattern() {
        if (below(5) == 0) {
            return pick({"{caller}", "{caller_name}", "{claim:group}", "a{caller}", "{caller}*",
                         "*{claim:group}", "{caller_name}{claim:group}", "{caller_name}b"});
        }
        return pick({"a", "b", "ab", "*", "a*", "*b", "a*c", "*a*", "team-*", "b*a", "abc", "**"});
    }

    PlainConditions conditions() {
        PlainConditions asked;
        if (rarely()) asked.tenant = pattern();
        if (below(8) == 0) asked.required = pick({"tenant", "purpose"});
        if (below(8) == 0) asked.only = pick({"tenant", "*", "t*", "purpose"});
        if (below(8) == 0) asked.owner = pattern();
        if (rarely()) asked.tag = pattern();
        if (rarely()) asked.method = pick({"jwt", "client_certificate"});
        if (rarely()) asked.first_octet = static_cast<int>(10 + below(2));
        if (below(8) == 0) asked.day = static_cast<int>(below(7));
        if (below(8) == 0) {
            asked.from = static_cast<int>(below(24));
            asked.to = asked.from + 1 + static_cast<int>(below(24 - below(24)));
            asked.to = std::min(asked.to, 24);
        }
        return asked;
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
        if (below(2) == 0) rule.when = conditions();
        if (rarely()) rule.unless = conditions();
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
            if (rarely()) binding.method = pick({"jwt", "client_certificate"});
            binding.roles.push_back(below(policy.roles.size()));
            if (rarely()) binding.roles.push_back(below(policy.roles.size()));
            policy.bindings.push_back(binding);
        }
        if (policy.roles.size() > 1 && below(2) == 0) policy.exclusive = {0, 1};
        return policy;
    }

private:
    std::mt19937 random_;
};

inline std::string resource_text(const PlainRule& rule) {
    if (rule.kind == "*") return "*";
    if (rule.form == "any") return rule.kind + ":*";
    if (rule.form == "alias") return rule.kind + ":alias/" + rule.first;
    if (rule.form == "tag" && rule.kind == "credential")
        return rule.kind + ":" + rule.second + "/tag/team=" + rule.first;
    if (rule.form == "tag") return rule.kind + ":tag/team=" + rule.first;
    if (rule.form == "owner") return rule.kind + ":" + rule.first + "/" + rule.second;
    return rule.kind + ":" + rule.first;
}

inline std::string hour_text(int hour) {
    return (hour < 10 ? "0" : "") + std::to_string(hour) + ":00";
}

const std::vector<std::string> day_names = {"sunday",   "monday", "tuesday", "wednesday",
                                            "thursday", "friday", "saturday"};

// Empty when nothing is asked.
inline std::string conditions_text(const PlainConditions& asked) {
    std::string text;
    const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ",") + part; };
    if (!asked.tenant.empty()) add(R"("context":{"tenant":[")" + asked.tenant + R"("]})");
    if (!asked.required.empty()) add(R"("context_required":[")" + asked.required + R"("])");
    if (!asked.only.empty()) add(R"("context_only":[")" + asked.only + R"("])");
    if (!asked.owner.empty()) add(R"("owner":[")" + asked.owner + R"("])");
    if (!asked.tag.empty()) add(R"("tags":{"team":[")" + asked.tag + R"("]})");
    if (!asked.method.empty()) add(R"("authentication":[")" + asked.method + R"("])");
    if (asked.first_octet >= 0)
        add(R"("network":[")" + std::to_string(asked.first_octet) + R"(.0.0.0/8"])");
    if (asked.day >= 0 || asked.from >= 0) {
        std::string window;
        if (asked.day >= 0)
            window = R"("days":[")" + day_names[static_cast<std::size_t>(asked.day)] + R"("])";
        if (asked.from >= 0)
            window += (window.empty() ? "" : ",") + (R"("from":")" + hour_text(asked.from)) +
                      R"(","to":")" + hour_text(asked.to) + "\"";
        add(R"("time":[{)" + window + "}]");
    }
    return text;
}

inline std::string rule_text(const PlainRule& rule) {
    std::string text = R"({"id":")" + rule.id + R"(","effect":")" +
                       (rule.allow ? "allow" : "deny") + R"(","actions":[")" + rule.action +
                       R"("],"resources":[")" + resource_text(rule) + "\"]";
    const std::string when = conditions_text(rule.when);
    const std::string unless = conditions_text(rule.unless);
    if (!when.empty()) text += R"(,"when":{)" + when + "}";
    if (!unless.empty()) text += R"(,"unless":{)" + unless + "}";
    return text + "}";
}

inline std::string binding_text(const PlainBinding& binding, std::size_t number) {
    std::string text;
    if (!binding.caller.empty()) text += R"("caller":")" + binding.caller + "\",";
    // The second pattern fits nobody; it keeps equal bindings apart.
    if (!binding.claim.empty())
        text += R"("claims":{"group":[")" + binding.claim + R"(","none-)" + std::to_string(number) +
                R"("]},)";
    if (!binding.method.empty()) text += R"("authentication":[")" + binding.method + R"("],)";
    text += R"("roles":[)";
    for (std::size_t role = 0; role < binding.roles.size(); ++role)
        text += (role == 0 ? "\"r" : ",\"r") + std::to_string(binding.roles[role]) + "\"";
    return "{" + text + "]}";
}

inline std::string text_of(const PlainPolicy& policy) {
    std::string text = R"({"version":1,)";
    if (!policy.exclusive.empty()) text += R"("exclusive":[["r0","r1"]],)";
    text += R"("roles":{)";
    for (std::size_t role = 0; role < policy.roles.size(); ++role) {
        text += (role == 0 ? "\"r" : ",\"r") + std::to_string(role) + "\":[";
        for (std::size_t i = 0; i < policy.roles[role].size(); ++i)
            text += (i == 0 ? "" : ",") + rule_text(policy.roles[role][i]);
        text += "]";
    }
    text += R"(},"bindings":[)";
    for (std::size_t i = 0; i < policy.bindings.size(); ++i)
        text += (i == 0 ? "" : ",") + binding_text(policy.bindings[i], i);
    return text + "]}";
}

}  // namespace tests
