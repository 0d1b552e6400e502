// The policy engine against an evaluator that is slow and plain to see: random policies, random
// questions, and both must name the same rule. It shares the parsed file with the engine, not its
// matching, its index or its order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "server/policy.h"
#include "server/policy_rules.h"
#include "tests/server/policy_generator.h"

namespace {

using tests::Generator;
using tests::PlainBinding;
using tests::PlainConditions;
using tests::PlainPolicy;
using tests::PlainRule;

using Entries = std::map<std::string, std::string>;

// "read" is done on keys, "write" on both kinds, and of "open" nobody says.
server::PolicyWords reference_words() {
    server::PolicyWords words({"open"});
    words.add("key", {"read", "write"});
    words.add("credential", {"write"});
    return words.add_owned_and_tagged("credential");
}

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

// What may stand in a rule for "nobody can know": an unfilled placeholder, an address that is none.
enum Tri { no = 0, unknown = 1, yes = 2 };
Tri tri(bool holds) { return holds ? yes : no; }

// A '*' of a caller or a resource is no wildcard.
std::string quoted(std::string text) {
    std::replace(text.begin(), text.end(), '*', '\x01');
    return text;
}

std::string filled(std::string pattern, const std::string& placeholder, const std::string& text) {
    for (std::size_t at = 0; (at = pattern.find(placeholder)) != std::string::npos;)
        pattern.replace(at, placeholder.size(), quoted(text));
    return pattern;
}

std::string last_part(const std::string& id) { return id.substr(id.rfind('/') + 1); }

Tri slow_fit(const std::string& pattern, const std::string& text, const server::Caller& caller) {
    const auto has = [&](const char* word) { return pattern.find(word) != std::string::npos; };
    const bool names_caller = has("{caller}") || has("{caller_name}");
    const bool names_claim = has("{claim:group}");
    if (!names_caller && !names_claim) return tri(slow_glob(pattern, quoted(text)));
    // What stands before the first placeholder or wildcard is known in any case.
    if (!text.starts_with(pattern.substr(0, pattern.find_first_of("*{")))) return no;
    if (names_caller && last_part(caller.id).empty()) return unknown;
    const std::string named =
        filled(filled(pattern, "{caller}", caller.id), "{caller_name}", last_part(caller.id));
    if (!names_claim) return tri(slow_glob(named, quoted(text)));
    Tri best = unknown;
    if (!caller.claims.contains("group")) return best;
    for (const auto& value : caller.claims.at("group")) {
        if (value.empty()) continue;
        if (slow_glob(filled(named, "{claim:group}", value), quoted(text))) return yes;
        best = no;
    }
    return best;
}

Tri entry_fits(const Entries& entries, const std::string& name, const std::string& pattern,
               const server::Caller& caller) {
    return entries.contains(name) ? slow_fit(pattern, entries.at(name), caller) : no;
}

// Lists of credentials are about any tags.
Tri tag_fits(const server::Resource& resource, const std::string& pattern,
             const server::Caller& caller) {
    if (resource.kind == "credential" && resource.id == "*") return unknown;
    return entry_fits(resource.tags, "team", pattern, caller);
}

Tri about(const PlainRule& rule, const server::Resource& resource, const server::Caller& caller) {
    if (rule.kind == "*") return yes;
    if (rule.kind != resource.kind) return no;
    if (rule.form == "any" || (rule.form == "id" && rule.first == "*")) return yes;
    if (rule.form == "tag" && rule.kind == "credential")
        return resource.owner.empty() ? (resource.id == "*" ? unknown : no)
                                      : std::min(slow_fit(rule.second, resource.owner, caller),
                                                 tag_fits(resource, rule.first, caller));
    if (!resource.owner.empty()) {
        if (rule.form == "owner")
            return std::min(slow_fit(rule.first, resource.owner, caller),
                            slow_fit(rule.second, resource.id, caller));
        // Written out, "alias/x" and "tag/team=x" are an owner and a name, too.
        if (rule.form == "alias")
            return resource.owner == "alias" ? slow_fit(rule.first, resource.id, caller) : no;
        if (rule.form == "tag")
            return resource.owner == "tag" ? slow_fit("team=" + rule.first, resource.id, caller)
                                           : no;
        return no;
    }
    if (rule.form == "alias") {
        Tri any = no;
        for (const auto& alias : resource.aliases)
            any = std::max(any, slow_fit(rule.first, alias, caller));
        return any;
    }
    if (rule.form == "tag") return entry_fits(resource.tags, "team", rule.first, caller);
    if (rule.form == "owner") return slow_fit(rule.first + "/" + rule.second, resource.id, caller);
    return slow_fit(rule.first, resource.id, caller);
}

Tri in_time(const PlainConditions& asked, base::Time now) {
    const long long minutes = base::to_milliseconds(now) / 60'000;
    const long long day = (minutes / (24 * 60) + 4) % 7;  // 1 January 1970 was a Thursday
    const long long of_day = minutes % (24 * 60);
    if (asked.day >= 0 && asked.day != day) return no;
    return tri(asked.from < 0 || (of_day >= asked.from * 60 && of_day < asked.to * 60));
}

// What does not hang on the resource.
Tri by_caller(const PlainConditions& asked, const server::Caller& caller, base::Time now) {
    if (!asked.method.empty() && asked.method != to_string(caller.method)) return no;
    if (in_time(asked, now) == no) return no;
    if (asked.first_octet < 0) return yes;
    if (caller.address.empty()) return unknown;
    return tri(caller.address.starts_with(std::to_string(asked.first_octet) + "."));
}

Tri fulfilled(const PlainConditions& asked, const server::PolicyQuestion& question) {
    const server::Caller& caller = question.caller;
    Tri all = by_caller(asked, caller, question.now);
    const auto also = [&all](Tri one) { all = std::min(all, one); };
    if (!asked.tenant.empty()) also(entry_fits(question.context, "tenant", asked.tenant, caller));
    if (!asked.required.empty()) also(tri(question.context.contains(asked.required)));
    for (const auto& entry : question.context)
        if (!asked.only.empty()) also(slow_fit(asked.only, entry.first, caller));
    if (!asked.owner.empty())
        also(question.resource.owner.empty()
                 ? no
                 : slow_fit(asked.owner, question.resource.owner, caller));
    if (!asked.tag.empty()) also(tag_fits(question.resource, asked.tag, caller));
    return all;
}

bool asks_nothing(const PlainConditions& asked) { return tests::conditions_text(asked).empty(); }

// An allow needs certainty, a deny does without.
bool holds(const PlainRule& rule, const server::PolicyQuestion& question) {
    if (rule.action != "*" && rule.action != question.action.word) return false;
    Tri fits = about(rule, question.resource, question.caller);
    fits = std::min(fits, fulfilled(rule.when, question));
    if (!asks_nothing(rule.unless))
        fits = std::min(fits, static_cast<Tri>(yes - fulfilled(rule.unless, question)));
    return rule.allow ? fits == yes : fits != no;
}

bool bound(const PlainBinding& binding, const server::Caller& caller) {
    if (!binding.method.empty() && binding.method != to_string(caller.method)) return false;
    if (!binding.caller.empty() && !slow_glob(binding.caller, quoted(caller.id))) return false;
    if (binding.claim.empty()) return true;
    bool any = false;
    if (caller.claims.contains("group")) {
        for (const auto& value : caller.claims.at("group"))
            any = any || slow_glob(binding.claim, value);
    }
    return any;
}

std::set<std::size_t> held_roles(const PlainPolicy& policy, const server::Caller& caller) {
    std::set<std::size_t> held;
    if (caller.method == server::AuthenticationMethod::none || caller.id.empty()) return held;
    for (const auto& binding : policy.bindings) {
        if (bound(binding, caller)) held.insert(binding.roles.begin(), binding.roles.end());
    }
    return held;
}

bool exclude_each_other(const PlainPolicy& policy, const std::set<std::size_t>& held) {
    return !policy.exclusive.empty() && held.contains(policy.exclusive[0]) &&
           held.contains(policy.exclusive[1]);
}

server::Decision slow_decision(const PlainPolicy& policy, const server::PolicyQuestion& question) {
    const auto held = held_roles(policy, question.caller);
    if (exclude_each_other(policy, held)) return {false, "exclusive-roles", {}};
    for (const bool allow : {false, true}) {
        for (const std::size_t role : held) {
            for (const auto& rule : policy.roles[role]) {
                if (rule.allow == allow && holds(rule, question)) return {allow, rule.id, {}};
            }
        }
    }
    return {false, "default-deny", {}};
}

// Whether the deny leaves nothing of the kind ("*": of any).
bool denies_all_of(const PlainRule& deny, const std::string& kind, const server::Caller& caller,
                   base::Time now) {
    const bool is_every =
        deny.form == "any" || (deny.form == "id" && deny.first == "*") || deny.kind == "*";
    if (!is_every || (deny.kind != "*" && deny.kind != kind)) return false;
    PlainConditions more = deny.when;
    more.method.clear();
    more.first_octet = more.day = more.from = more.to = -1;
    if (!asks_nothing(more) || by_caller(deny.when, caller, now) == no) return false;
    return asks_nothing(deny.unless) || by_caller(deny.unless, caller, now) != yes;
}

bool is_named(const PlainRule& rule, const server::PolicyQuestion& question) {
    return rule.action == "*" || rule.action == question.action.word;
}

// The kinds that an action is done on, of those that a rule of `kind` is about.
std::vector<std::string> kinds_left(std::string_view action, const std::string& kind) {
    if (action == "open") return {kind};
    std::vector<std::string> kinds = {"key"};
    if (action == "write") kinds.emplace_back("credential");
    if (kind == "*") return kinds;
    return std::count(kinds.begin(), kinds.end(), kind) == 0 ? std::vector<std::string>()
                                                             : std::vector<std::string>{kind};
}

bool slow_may_ever(const PlainPolicy& policy, const server::PolicyQuestion& question) {
    const auto held = held_roles(policy, question.caller);
    if (exclude_each_other(policy, held)) return false;
    for (const std::size_t role : held) {
        for (const auto& rule : policy.roles[role]) {
            if (!rule.allow || !is_named(rule, question)) continue;
            if (by_caller(rule.when, question.caller, question.now) != yes) continue;
            for (const std::string& kind : kinds_left(question.action.word, rule.kind)) {
                bool is_left = true;
                for (const std::size_t any_role : held) {
                    for (const auto& deny : policy.roles[any_role]) {
                        if (!deny.allow && is_named(deny, question) &&
                            denies_all_of(deny, kind, question.caller, question.now))
                            is_left = false;
                    }
                }
                if (is_left) return true;
            }
        }
    }
    return false;
}

struct Question {
    server::Caller caller;
    server::Resource resource;
    Entries context;
    std::string action;
    base::Time now;
};

Question question_of(Generator& generator) {
    Question asked;
    server::Caller& caller = asked.caller;
    caller.id = generator.pick({"a", "b", "ab", "abc", "c", "x/a", "a/", "a*"});
    caller.method = generator.rarely() ? server::AuthenticationMethod::jwt
                                       : server::AuthenticationMethod::client_certificate;
    if (generator.below(30) == 0) caller.method = server::AuthenticationMethod::none;
    caller.address = generator.pick({"10.0.0.1", "11.2.3.4", "12.0.0.1", ""});
    if (generator.rarely()) caller.claims["group"] = {generator.pick({"x", "y", "xx", "a"}), "q"};
    server::Resource& resource = asked.resource;
    resource.kind = generator.pick({"key", "credential"});
    resource.id = generator.pick({"a", "b", "ab", "abc", "a/b", "team-a", "team=a", "a*"});
    if (generator.rarely()) resource.id = "*";
    if (generator.rarely()) resource.owner = generator.pick({"a", "ab", "alias", "tag"});
    for (std::size_t n = generator.below(3); n > 0; --n)
        resource.aliases.push_back(generator.name());
    if (generator.rarely()) resource.tags["team"] = generator.name();
    if (generator.rarely()) asked.context["tenant"] = generator.name();
    if (generator.rarely()) asked.context["purpose"] = generator.name();
    asked.action = generator.pick({"read", "write", "open"});
    if (asked.action == "read") resource.kind = "key";
    asked.now = base::from_milliseconds(
        1'800'000'000'000 + static_cast<std::int64_t>(generator.below(7 * 24 * 2)) * 1'800'000);
    return asked;
}

TEST(PolicyReference, EngineDecidesRandomPoliciesAsTheReferenceDoes) {
    const char* more = std::getenv("STRONGROOM_POLICY_ROUNDS");  // NOLINT(concurrency-mt-unsafe)
    const unsigned rounds = more == nullptr ? 400 : static_cast<unsigned>(std::atoi(more));
    std::map<std::string, std::size_t> seen;
    for (unsigned seed = 1; seed <= rounds; ++seed) {
        Generator generator(seed);
        const PlainPolicy plain = generator.policy();
        std::shared_ptr<const server::Policy> engine;
        try {
            engine = server::parse_policy(tests::text_of(plain), reference_words());
        } catch (const base::Error& error) {
            // Two equal bindings, or roles that exclude each other for certain; nothing else.
            const std::string_view why = error.what();
            ASSERT_TRUE(why.find("bound twice") != std::string_view::npos ||
                        why.find("exclude each other") != std::string_view::npos)
                << why << ": " << tests::text_of(plain);
            ++seen["refused"];
            continue;
        }
        for (int i = 0; i < 40; ++i) {
            const Question asked = question_of(generator);
            const server::PolicyQuestion question{
                asked.caller, {asked.action}, asked.resource, asked.context, asked.now};
            const auto expected = slow_decision(plain, question);
            const auto decided = engine->decide(question);
            ASSERT_EQ(decided.rule, expected.rule)
                << "seed " << seed << ": " << tests::text_of(plain);
            ASSERT_EQ(decided.allowed, expected.allowed);
            const bool ever = engine->may_ever(asked.caller, {asked.action}, asked.now);
            ASSERT_EQ(ever, slow_may_ever(plain, question))
                << "seed " << seed << ": " << tests::text_of(plain);
            ASSERT_TRUE(ever || !decided.allowed);
            ++seen[decided.allowed                     ? "allowed"
                   : decided.rule.starts_with("rule-") ? "denied by a rule"
                                                       : decided.rule];
            ++seen[ever ? "ever" : "never"];
        }
    }
    // The questions reach all kinds of answers.
    EXPECT_GT(seen["allowed"], rounds);
    EXPECT_GT(seen["denied by a rule"], rounds / 3);
    EXPECT_GT(seen["exclusive-roles"], rounds / 10);
    EXPECT_GT(seen["ever"], rounds);
    EXPECT_GT(seen["never"], rounds);
    EXPECT_LT(seen["refused"], rounds / 2);
}

}  // namespace
