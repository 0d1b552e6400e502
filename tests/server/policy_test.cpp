#include "server/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

namespace {

const std::vector<std::string_view> actions = {"create_key", "unwrap_data_key",
                                               "reveal_credential"};

server::Caller caller(std::string id) {
    server::Caller result;
    result.id = std::move(id);
    result.method = server::AuthenticationMethod::client_certificate;
    return result;
}

server::Resource key(std::string id, std::vector<std::string> aliases = {}) {
    server::Resource resource;
    resource.kind = "key";
    resource.id = std::move(id);
    resource.aliases = std::move(aliases);
    return resource;
}

server::Resource credential(std::string owner, std::string name) {
    server::Resource resource;
    resource.kind = "credential";
    resource.owner = std::move(owner);
    resource.id = std::move(name);
    return resource;
}

std::string rule(std::string_view id, std::string_view effect, std::string_view resources,
                 std::string_view words = R"("unwrap_data_key")") {
    return R"({"id":")" + std::string(id) + R"(","effect":")" + std::string(effect) +
           R"(","actions":[)" + std::string(words) + R"(],"resources":[)" + std::string(resources) +
           "]}";
}

std::string policy_text(const std::string& rules, const std::string& bound = "app") {
    return R"({"version":1,"roles":{"r":[)" + rules + R"(]},"bindings":[{"caller":")" + bound +
           R"(","roles":["r"]}]})";
}

server::Decision ask(const std::string& text, const server::Caller& who,
                     const server::Resource& what, std::string_view action = "unwrap_data_key") {
    return server::parse_policy(text, actions)->decide({who, {action}, what, {}, {}});
}

bool pattern_matches(const std::string& pattern, const server::Resource& what,
                     const std::string& who = "app") {
    return ask(policy_text(rule("a", "allow", '"' + pattern + '"'), "*"), caller(who), what)
        .allowed;
}

TEST(Policy, DefaultIsDeny) {
    const auto decision = ask(R"({"version":1,"roles":{},"bindings":[]})", caller("app"), key("k"));
    EXPECT_FALSE(decision.allowed);
    EXPECT_EQ(decision.rule, "default-deny");
    EXPECT_EQ(decision.policy_hash.size(), 64U);
}

TEST(Policy, AllowNamesItsRuleAndReachesNoOtherCallerActionOrResource) {
    const auto text = policy_text(rule("a", "allow", R"("key:k1")"));
    EXPECT_TRUE(ask(text, caller("app"), key("k1")).allowed);
    EXPECT_EQ(ask(text, caller("app"), key("k1")).rule, "a");
    EXPECT_FALSE(ask(text, caller("app2"), key("k1")).allowed);
    EXPECT_FALSE(ask(text, caller("app"), key("k2")).allowed);
    EXPECT_FALSE(ask(text, caller("app"), key("k1"), "create_key").allowed);
    EXPECT_FALSE(ask(text, caller("app"), credential("", "k1")).allowed);
}

TEST(Policy, ExplicitDenyWinsInEveryOrder) {
    const auto allow = rule("a", "allow", R"("*")", R"("*")");
    const auto deny = rule("d", "deny", R"("key:k1")");
    for (const auto& rules : {allow + "," + deny, deny + "," + allow}) {
        const auto decision = ask(policy_text(rules), caller("app"), key("k1"));
        EXPECT_FALSE(decision.allowed);
        EXPECT_EQ(decision.rule, "d");
        EXPECT_TRUE(ask(policy_text(rules), caller("app"), key("k2")).allowed);
    }
}

TEST(Policy, DenyOfAnotherBindingWins) {
    const std::string text = R"({"version":1,"roles":{
        "a":[)" + rule("a", "allow", R"("*")") +
                             R"(],"d":[)" + rule("d", "deny", R"("*")") + R"(]},
        "bindings":[{"caller":"app","roles":["a"]},{"caller":"a*","roles":["d"]}]})";
    EXPECT_EQ(ask(text, caller("app"), key("k")).rule, "d");
}

TEST(Policy, NobodyIsDeniedWhateverIsBound) {
    const auto text = policy_text(rule("a", "allow", R"("*")"), "*");
    EXPECT_FALSE(ask(text, server::Caller{}, key("k")).allowed);
    EXPECT_FALSE(ask(text, caller(""), key("k")).allowed);
    EXPECT_FALSE(
        server::parse_policy(text, actions)->may_ever(server::Caller{}, {"unwrap_data_key"}, {}));
    EXPECT_TRUE(ask(text, caller("x"), key("k")).allowed);
}

TEST(Policy, WildcardsMatchRunsOfCharacters) {
    EXPECT_TRUE(pattern_matches("*", key("k")));
    EXPECT_TRUE(pattern_matches("key:*", key("k")));
    EXPECT_FALSE(pattern_matches("credential:*", key("k")));
    EXPECT_TRUE(pattern_matches("key:a*c", key("abc")));
    EXPECT_TRUE(pattern_matches("key:a*c", key("ac")));
    EXPECT_FALSE(pattern_matches("key:a*a", key("a")));
    EXPECT_TRUE(pattern_matches("key:*b*b*", key("abba")));
    EXPECT_FALSE(pattern_matches("key:*b*b*", key("aba")));
    EXPECT_TRUE(pattern_matches("key:**", key("")));
    EXPECT_FALSE(pattern_matches("key:ab", key("abc")));
    EXPECT_FALSE(pattern_matches("key:bc", key("abc")));
}

TEST(Policy, AliasPatternsMatchAliasesOnly) {
    EXPECT_TRUE(pattern_matches("key:alias/credentials", key("k", {"other", "credentials"})));
    EXPECT_FALSE(pattern_matches("key:alias/credentials", key("k", {"credentials2"})));
    EXPECT_FALSE(pattern_matches("key:alias/credentials", key("credentials")));
    EXPECT_FALSE(pattern_matches("key:alias/credentials", key("alias/credentials")));
    EXPECT_TRUE(pattern_matches("key:alias/team-*", key("k", {"team-a"})));
    EXPECT_FALSE(pattern_matches("key:team-a", key("k", {"team-a"})));
}

TEST(Policy, OwnerAndNameAreMatchedApart) {
    EXPECT_TRUE(pattern_matches("credential:app/*", credential("app", "meta")));
    EXPECT_FALSE(pattern_matches("credential:app/*", credential("app2", "meta")));
    EXPECT_TRUE(pattern_matches("credential:*/meta", credential("x", "meta")));
    EXPECT_TRUE(pattern_matches("credential:*", credential("x", "y")));
    EXPECT_FALSE(pattern_matches("credential:app", credential("app", "meta")));
    // The pattern is cut at its last slash; a slash in an owner or a name changes nothing.
    EXPECT_FALSE(pattern_matches("credential:app/*", credential("app/x", "meta")));
    EXPECT_FALSE(pattern_matches("credential:a/b", credential("a/b", "")));
    EXPECT_TRUE(pattern_matches("credential:spiffe://s/app/*", credential("spiffe://s/app", "x")));
}

TEST(Policy, CallerStandsForItselfAndItsWildcardsForNothing) {
    EXPECT_TRUE(pattern_matches("credential:{caller}/*", credential("app", "meta"), "app"));
    EXPECT_FALSE(pattern_matches("credential:{caller}/*", credential("app2", "meta"), "app"));
    EXPECT_FALSE(pattern_matches("credential:{caller}/*", credential("app", "meta"), "*"));
    EXPECT_TRUE(pattern_matches("credential:{caller}/*", credential("*", "meta"), "*"));
    EXPECT_TRUE(pattern_matches("credential:{caller}/*", credential("spiffe://s/app", "m"),
                                "spiffe://s/app"));
    EXPECT_TRUE(
        pattern_matches("credential:team-{caller}-*/x", credential("team-app-1", "x"), "app"));
}

TEST(Policy, CallerNameIsTheLastPartOfItsId) {
    EXPECT_TRUE(pattern_matches("credential:{caller_name}/*", credential("app", "m"),
                                "spiffe://s/team/app"));
    EXPECT_FALSE(pattern_matches("credential:{caller_name}/*", credential("team", "m"),
                                 "spiffe://s/team/app"));
    EXPECT_FALSE(
        pattern_matches("credential:{caller_name}*/*", credential("app", "m"), "spiffe://s/"));
}

TEST(Policy, PlaceholderThatCantBeFilledDoesNotOpenADenyRule) {
    const auto allow = rule("a", "allow", R"("*")");
    const auto deny = [&](const std::string& pattern) {
        return policy_text(allow + "," + rule("d", "deny", '"' + pattern + '"'), "*");
    };
    const auto nameless = caller("spiffe://s/");
    const auto what = credential("x", "m");
    EXPECT_FALSE(ask(deny("credential:{caller_name}/*"), nameless, what).allowed);
    EXPECT_FALSE(ask(deny("credential:{caller}/*"), nameless, what).allowed);
    EXPECT_FALSE(ask(deny("key:{caller_name}"), nameless, key("k")).allowed);
    EXPECT_FALSE(ask(deny("key:alias/{caller_name}"), nameless, key("k", {"b"})).allowed);
    // What needs no caller still has to match, and a caller with a name is as ever.
    EXPECT_TRUE(ask(deny("key:{caller_name}"), nameless, what).allowed);
    EXPECT_TRUE(ask(deny("credential:{caller_name}/n"), nameless, what).allowed);
    EXPECT_TRUE(ask(deny("credential:{caller_name}/*"), caller("spiffe://s/app"), what).allowed);
}

TEST(Policy, WhomARuleDeniesItOnEverythingMayNeverDoIt) {
    const auto ever = [](const std::string& allowed, const std::string& denied,
                         const std::string& more = "") {
        const std::string deny = rule("d", "deny", denied);
        return server::parse_policy(policy_text(rule("a", "allow", allowed) + "," +
                                                deny.substr(0, deny.size() - 1) + more + "}"),
                                    actions)
            ->may_ever(caller("app"), {"unwrap_data_key"}, {});
    };
    EXPECT_FALSE(ever(R"("*")", R"("*")"));
    EXPECT_FALSE(ever(R"("key:k1")", R"("*")"));
    EXPECT_FALSE(ever(R"("key:k1","key:alias/a")", R"("key:k2","key:*")"));
    EXPECT_TRUE(ever(R"("*")", R"("key:*")")) << "other kinds are left";
    EXPECT_TRUE(ever(R"("key:*")", R"("key:k1")"));
    EXPECT_TRUE(ever(R"("key:k1","credential:o/n")", R"("key:*")"));
    // What hangs on the caller alone is known, what hangs on more is not.
    EXPECT_FALSE(ever(R"("*")", R"("*")", R"(,"when":{"authentication":["client_certificate"]})"));
    EXPECT_TRUE(ever(R"("*")", R"("*")", R"(,"when":{"authentication":["jwt"]})"));
    EXPECT_TRUE(ever(R"("*")", R"("*")", R"(,"when":{"context":{"tenant":["t"]}})"));
    EXPECT_TRUE(ever(R"("*")", R"("*")", R"(,"unless":{"context":{"tenant":["t"]}})"));
    EXPECT_FALSE(ever(R"("*")", R"("*")", R"(,"unless":{"authentication":["jwt"]})"));
    EXPECT_TRUE(ever(R"("*")", R"("*")", R"(,"unless":{"authentication":["client_certificate"]})"));
}

TEST(Policy, WhomRulesDenyItOnEverythingThatItIsDoneOnMayNeverDoIt) {
    server::PolicyWords words({"reveal_credential"});
    words.add("key", {"create_key", "unwrap_data_key"}).add("value", {"unwrap_data_key"});
    const auto ever = [&](const std::string& allowed, const std::string& denied,
                          std::string_view action) {
        const std::string rules =
            rule("a", "allow", allowed, R"("*")") + "," + rule("d", "deny", denied, R"("*")");
        return server::parse_policy(policy_text(rules), words)
            ->may_ever(caller("app"), {action}, {});
    };
    EXPECT_FALSE(ever(R"("*")", R"("key:*")", "create_key"));
    EXPECT_TRUE(ever(R"("*")", R"("key:k1","key:alias/*")", "create_key"));
    EXPECT_TRUE(ever(R"("*")", R"("value:*")", "create_key"));
    EXPECT_TRUE(ever(R"("*")", R"("key:*")", "unwrap_data_key")) << "values are left";
    EXPECT_FALSE(ever(R"("*")", R"("key:*","value:*")", "unwrap_data_key"));
    EXPECT_FALSE(ever(R"("key:*","value:v")", R"("*")", "unwrap_data_key"));
    // An allow on what the action is not done on gives nothing.
    EXPECT_FALSE(ever(R"("*","value:*")", R"("key:*")", "create_key"));
    EXPECT_FALSE(ever(R"("value:*")", R"("key:k1")", "create_key"));
    EXPECT_TRUE(ever(R"("*")", R"("key:*")", "reveal_credential")) << "nobody says on what";
}

TEST(Policy, WhatHasAnOwnerAndTagsIsTheWordsToSay) {
    const auto text = policy_text(rule("a", "allow", R"("box:acme/tag/team=payments")"));
    server::Resource box = credential("acme", "b");
    box.kind = "box";
    box.tags = {{"team", "payments"}};
    const auto allowed = [&](const server::PolicyWords& words) {
        return server::parse_policy(text, words)
            ->decide({caller("app"), {"unwrap_data_key"}, box, {}, {}})
            .allowed;
    };
    server::PolicyWords words(actions);
    EXPECT_FALSE(allowed(words)) << "an owner \"acme/tag\" of \"team=payments\"";
    words.add_owned_and_tagged("box");
    EXPECT_TRUE(allowed(words));
    EXPECT_ERROR_SAYING(
        invalid_argument, "box:*/tag/name=value",
        server::parse_policy(policy_text(rule("a", "allow", R"("box:tag/a=b")")), words));
}

TEST(Policy, MayEverSeesAllowRulesOnly) {
    const auto policy =
        server::parse_policy(policy_text(rule("a", "allow", R"("key:k1")") + "," +
                                         rule("d", "deny", R"("*")", R"("create_key")")),
                             actions);
    EXPECT_TRUE(policy->may_ever(caller("app"), {"unwrap_data_key"}, {}));
    EXPECT_FALSE(policy->may_ever(caller("app"), {"create_key"}, {}));
    EXPECT_FALSE(policy->may_ever(caller("other"), {"unwrap_data_key"}, {}));
}

TEST(Policy, HashIsOfTheTextAsItStands) {
    EXPECT_EQ(server::parse_policy(R"({"version":1,"roles":{},"bindings":[]})", {})->hash(),
              "a7cdab44245a1910e01c377c0293c4e6b8d06db2c8e82a4ab34609820a38a545");
}

TEST(Policy, EveryMistakeIsNamed) {
    const auto good = rule("a", "allow", R"("*")");
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"[]", "object"},
        {"{", "JSON"},
        {R"({"roles":{},"bindings":[]})", "version"},
        {R"({"version":2,"roles":{},"bindings":[]})", "version"},
        {R"({"version":1,"bindings":[]})", "roles"},
        {R"({"version":1,"roles":{}})", "bindings"},
        {R"({"version":1,"roles":{},"bindings":[],"rules":[]})", "rules"},
        {R"({"version":1,"roles":{"A b":[]},"bindings":[]})", "role name"},
        {policy_text(R"({"id":"a","effect":"allow","actions":["*"]})"), "roles.r[0].resources"},
        {policy_text(R"({"id":"a","effect":"allow","resources":["*"]})"), "roles.r[0].actions"},
        {policy_text(R"({"effect":"allow","actions":["*"],"resources":["*"]})"), "roles.r[0].id"},
        {policy_text(rule("A", "allow", R"("*")")), "roles.r[0].id"},
        {policy_text(rule("default-deny", "allow", R"("*")")), "roles.r[0].id"},
        {policy_text(rule("a", "permit", R"("*")")), "roles.r[0].effect"},
        {policy_text(good + "," + good), "roles.r[1].id"},
        {policy_text(rule("a", "allow", R"("*")", R"("fly")")), "unknown action \"fly\""},
        {policy_text(rule("a", "allow", R"("*")", "")), "roles.r[0].actions"},
        {policy_text(rule("a", "allow", "")), "roles.r[0].resources"},
        {policy_text(rule("a", "allow", R"("key")")), "roles.r[0].resources"},
        {policy_text(rule("a", "allow", R"("key:")")), "roles.r[0].resources"},
        {policy_text(rule("a", "allow", R"("Key:*")")), "roles.r[0].resources"},
        {policy_text(rule("a", "allow", R"("key:{owner}")")), "{caller}"},
        {policy_text(rule("a", "allow", R"("key:{caller")")), "roles.r[0].resources"},
        {policy_text(rule("a", "allow", R"("key:a}")")), "roles.r[0].resources"},
        {policy_text(R"({"id":"a","effect":"allow","actions":["*"],"resources":["*"],"when":{}})"),
         "roles.r[0].when"},
        {policy_text(good, "{caller}"), "bindings[0].caller"},
        {R"({"version":1,"roles":{},"bindings":[{"caller":"a","roles":["ghost"]}]})",
         "unknown role \"ghost\""},
        {R"({"version":1,"roles":{},"bindings":[{"caller":"a","roles":[]}]})", "bindings[0].roles"},
        {R"({"version":1,"roles":{},"bindings":[{"caller":"","roles":["r"]}]})",
         "bindings[0].caller"},
        {R"({"version":1,"roles":{"r":[]},"bindings":[{"caller":"a","roles":["r"]},{"caller":"a","roles":["r"]}]})",
         "bindings[1].caller"},
        {R"({"version":1,"roles":{"r":[]},"bindings":[{"caller":"a","roles":["r"],"x":1}]})",
         "bindings[0].x"},
    };
    for (const auto& [text, part] : cases) {
        SCOPED_TRACE(text);
        EXPECT_ERROR_SAYING(invalid_argument, part, server::parse_policy(text, actions));
    }
}

TEST(Policy, FileIsNamedInItsErrors) {
    const tests::TemporaryDirectory folder;
    const auto file =
        folder.write("policy.json", R"({"version":1,"roles":{},"bindings":[],"x":1})");
    EXPECT_ERROR_SAYING(invalid_argument, file.string(), server::load_policy(file, actions));
    EXPECT_ERROR_SAYING(invalid_argument, "missing.json",
                        server::load_policy(folder / "missing.json", actions));
}

TEST(Policy, FileThatOthersMayWriteIsRefused) {
    const tests::TemporaryDirectory folder;
    const auto text = policy_text(rule("a", "allow", R"("*")"));
    EXPECT_NO_THROW(server::load_policy(folder.write("policy.json", text, 0644), actions));
    EXPECT_ERROR_SAYING(invalid_argument, "chmod go-w",
                        server::load_policy(folder.write("policy.json", text, 0664), actions));
}

TEST(Policy, TenThousandBindingsCostAQuestionNothing) {
    const auto text_with = [](int count) {
        std::string text = R"({"version":1,"roles":{"r":[)" + rule("a", "allow", R"("key:*")") +
                           R"(]},"bindings":[)";
        for (int i = 0; i < count; ++i) {
            text += (i == 0 ? "" : ",") +
                    (R"({"caller":"spiffe://strongroom/app/)" + std::to_string(i)) +
                    R"(","roles":["r"]})";
        }
        return text + "]}";
    };
    // The best of some short rounds: the machine may be busy with other things.
    const auto time_of = [](const server::Policy& policy, const std::string& id) {
        const auto who = caller(id);
        const auto what = key("k");
        const std::map<std::string, std::string> no_context;
        auto best = std::chrono::steady_clock::duration::max();
        for (int round = 0; round < 20; ++round) {
            const auto start = std::chrono::steady_clock::now();
            for (int i = 0; i < 200; ++i) {
                if (!policy.decide({who, {"unwrap_data_key"}, what, no_context, {}}).allowed) {
                    ADD_FAILURE();
                }
            }
            best = std::min(best, std::chrono::steady_clock::now() - start);
        }
        return best;
    };
    const auto few = server::parse_policy(text_with(10), actions);
    const auto many = server::parse_policy(text_with(10000), actions);
    EXPECT_LT(time_of(*many, "spiffe://strongroom/app/9999"),
              3 * time_of(*few, "spiffe://strongroom/app/9"));
}

}  // namespace
