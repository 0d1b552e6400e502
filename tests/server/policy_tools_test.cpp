// What people who write policies have: cases, explanations and comparisons; and that the policies
// which ship answer their cases.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "kms/actions.h"
#include "kms/policy_words.h"
#include "server/policy_cases.h"
#include "server/policy_diff.h"
#include "server/policy_explain.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"
#include "vault/actions.h"

namespace {

const std::vector<std::string_view> tool_actions = {"read", "write"};

std::string tool_policy(const std::string& roles, const std::string& bindings) {
    return R"({"version":1,"roles":{)" + roles + R"(},"bindings":[)" + bindings + "]}";
}

std::string tool_rule(const std::string& id, const std::string& effect, const std::string& action,
                      const std::string& resource, const std::string& more = "") {
    return R"({"id":")" + id + R"(","effect":")" + effect + R"(","actions":[")" + action +
           R"("],"resources":[")" + resource + "\"]" + more + "}";
}

TEST(ShippedPolicies, AnswerTheirCases) {
    const std::filesystem::path folder = STRONGROOM_POLICIES;
    const auto results = server::run_policy_cases(folder / "cases.json", kms::policy_words);
    for (const auto& result : results) {
        EXPECT_EQ(result.decided, result.expected)
            << result.suite << " case " << result.number << ": " << result.question;
    }
    EXPECT_GE(results.size(), 80U);
}

// A word that no case asks about is a right that nobody looked at.
TEST(ShippedPolicies, CasesAskAboutEveryAction) {
    const std::string cases =
        base::read_file(std::filesystem::path(STRONGROOM_POLICIES) / "cases.json", 1 << 20);
    for (const char* daemon : {"kmsd", "vaultd"}) {
        const server::PolicyWords words = kms::policy_words(daemon);
        for (const auto& [word, kinds] : words.actions()) {
            EXPECT_NE(cases.find("\"action\": \"" + std::string(word) + '"'), std::string::npos)
                << word;
            EXPECT_FALSE(kinds.empty()) << word;
        }
    }
}

TEST(PolicyWords, AreThoseOfTheDaemons) {
    EXPECT_EQ(kms::policy_words("kmsd"), kms::known_actions());
    EXPECT_EQ(kms::policy_words("vaultd"), vault::known_actions());
    EXPECT_TRUE(kms::policy_words("other").empty());
}

TEST(PolicyCases, WrongAnswersAndMistakesAreNamed) {
    const tests::TemporaryDirectory folder;
    folder.write("p.json", tool_policy(R"("r":[)" + tool_rule("a", "allow", "read", "key:k") + "]",
                                       R"({"caller":"app","roles":["r"]})"));
    const auto words = [](std::string_view daemon) {
        return daemon == "d" ? tool_actions : std::vector<std::string_view>();
    };
    const auto run = [&](const std::string& item, const std::string& daemon = "d",
                         const std::string& policy = "p.json") {
        return server::run_policy_cases(
            folder.write("cases.json", R"({"s":{"policy":")" + policy + R"(","daemon":")" + daemon +
                                           R"(","cases":[)" + item + "]}}"),
            words);
    };
    const std::string question =
        R"({"caller":"app","action":"read","resource":{"kind":"key","id":"k"})";
    EXPECT_TRUE(run(question + R"(,"expect":"allow","rule":"a"})").front().passed());
    const auto wrong_rule = run(question + R"(,"expect":"allow","rule":"b"})").front();
    EXPECT_FALSE(wrong_rule.passed());
    EXPECT_EQ(wrong_rule.decided, "allow, rule a");
    EXPECT_FALSE(run(question + R"(,"expect":"deny","rule":"a"})").front().passed());
    EXPECT_ERROR_SAYING(invalid_argument, "s.cases[0].expect",
                        run(question + R"(,"expect":"x","rule":"a"})"));
    EXPECT_ERROR_SAYING(invalid_argument, "s.cases[0].oops",
                        run(question + R"(,"expect":"deny","rule":"a","oops":1})"));
    EXPECT_ERROR_SAYING(invalid_argument, "s.cases[0].time",
                        run(question + R"(,"expect":"deny","rule":"a","time":"noon"})"));
    EXPECT_ERROR_SAYING(invalid_argument, "s.daemon", run("", "nobody"));
    EXPECT_ERROR_SAYING(invalid_argument, "other.json", run("", "d", "other.json"));
}

TEST(PolicyExplain, NamesTheDecidingRuleAndWhyOthersDoNot) {
    const auto text = tool_policy(
        R"("r":[)" + tool_rule("elsewhere", "allow", "read", "key:other") + "," +
            tool_rule("other-act", "allow", "write", "key:*") + "," +
            tool_rule("at-night", "allow", "read", "*", R"(,"when":{"context":{"a":["b"]}})") +
            "," + tool_rule("not-now", "allow", "read", "*", R"(,"unless":{"owner":["*"]})") + "," +
            tool_rule("later", "allow", "read", "*") + "," +
            tool_rule("no", "deny", "read", "key:secret") + R"(],"s":[)" +
            tool_rule("foreign", "allow", "read", "*") + "]",
        R"({"caller":"app","roles":["r"]},{"claims":{"role":["boss"]},"roles":["s"]})");
    server::StoredQuestion question;
    question.caller.id = "app";
    question.caller.method = server::AuthenticationMethod::jwt;
    question.action = "read";
    question.resource.kind = "key";
    question.resource.id = "k";
    const auto why = [&](const std::string& rule) -> std::string {
        for (const auto& one : server::explain_policy(text, tool_actions, question.view()).rules) {
            if (one.rule == rule) return one.why;
        }
        return "no such rule";
    };
    const auto explanation = server::explain_policy(text, tool_actions, question.view());
    EXPECT_TRUE(explanation.decision.allowed);
    EXPECT_EQ(explanation.decision.rule, "not-now");
    ASSERT_EQ(explanation.held.size(), 1U);
    EXPECT_EQ(explanation.held[0].role, "r");
    EXPECT_EQ(explanation.held[0].binding, "caller app");
    EXPECT_EQ(why("not-now"), "decides");
    EXPECT_EQ(why("elsewhere"), "does not apply: resource");
    EXPECT_EQ(why("other-act"), "does not apply: action");
    EXPECT_EQ(why("at-night"), "does not apply: when context.a");
    EXPECT_EQ(why("later"), "applies, but another stands before it");
    EXPECT_EQ(why("no"), "does not apply: resource");
    EXPECT_EQ(why("foreign"), "would apply, but the caller has not the role");
    question.resource.owner = "o";
    EXPECT_EQ(why("not-now"), "does not apply: unless");
    question.resource.owner.clear();
    question.resource.id = "secret";
    EXPECT_EQ(why("no"), "decides");
    EXPECT_EQ(why("later"), "applies, but a deny wins");
}

std::vector<std::string> lines_of(const std::vector<server::PermissionChange>& changes) {
    std::vector<std::string> lines;
    for (const auto& change : changes) {
        lines.push_back((change.added ? "+ " : "- ") + change.who + " " + change.effect + " " +
                        change.action + " " + change.resource +
                        (change.condition.empty() ? "" : " " + change.condition));
    }
    return lines;
}

TEST(PolicyDiff, SaysWhichPermissionsAreOthers) {
    const std::string bound = R"({"caller":"app","roles":["r"]})";
    const auto before =
        tool_policy(R"("r":[)" + tool_rule("a", "allow", "*", "key:k") + "]", bound);
    const auto after =
        tool_policy(R"("r":[)" + tool_rule("b", "allow", "read", "key:k") + "," +
                        tool_rule("c", "deny", "read", "key:x", R"(,"when":{"owner":["o"]})") + "]",
                    bound);
    const auto lines = lines_of(server::diff_policies(before, after, tool_actions));
    EXPECT_EQ(lines,
              (std::vector<std::string>{"- role r allow write key:k",
                                        R"(+ role r deny read key:x when {"owner":["o"]})"}));
    // Another rule id, another order and another place change nobody's rights.
    EXPECT_TRUE(server::diff_policies(before, before, tool_actions).empty());
}

TEST(PolicyDiff, SaysWhatCallersGainAndLose) {
    const std::string roles = R"("r":[)" + tool_rule("a", "allow", "read", "key:k") + R"(],"s":[)" +
                              tool_rule("b", "allow", "write", "key:k") + "]";
    const auto before = tool_policy(roles, R"({"caller":"app","roles":["r"]})");
    const auto after = tool_policy(
        roles, R"({"caller":"app","roles":["s"]},{"claims":{"role":["x","y"]},"roles":["r"]})");
    EXPECT_EQ(
        lines_of(server::diff_policies(before, after, tool_actions)),
        (std::vector<std::string>{"- caller app allow read key:k", "+ caller app allow write key:k",
                                  "+ claim role=x|y allow read key:k"}));
    EXPECT_ERROR_SAYING(invalid_argument, "the second policy",
                        server::diff_policies(before, "{", tool_actions));
}

TEST(PolicySummary, NamesRolesThatNobodyHas) {
    const auto text = tool_policy(R"("r":[],"s":[)" + tool_rule("a", "allow", "read", "*") + "]",
                                  R"({"caller":"app","roles":["r"]})");
    const auto summary = server::summarize_policy(text, tool_actions);
    EXPECT_EQ(summary.roles, 2U);
    EXPECT_EQ(summary.rules, 1U);
    EXPECT_EQ(summary.bindings, 1U);
    EXPECT_EQ(summary.unbound, std::vector<std::string>{"s"});
}

}  // namespace
