// The commands of kmsctl for policies, as processes: no service is there.
#include "tests/kms/kmsctl_runner.h"

namespace tests {
namespace {

const std::string kms_policy = STRONGROOM_POLICIES "/kms.json";

TEST(KmsctlPolicy, ShippedPoliciesAreInOrderAndAnswerTheirCases) {
    EXPECT_EQ(run({"policy", "check", kms_policy}).exit_code, 0);
    const auto wrong_daemon = run({"policy", "check", "--daemon", "vaultd", kms_policy});
    EXPECT_EQ(wrong_daemon.exit_code, 1);
    EXPECT_TRUE(contains(wrong_daemon.output, "unknown action")) << wrong_daemon.output;
    const auto tested = run({"policy", "test", STRONGROOM_POLICIES "/cases.json"});
    EXPECT_EQ(tested.exit_code, 0) << tested.output;
    EXPECT_TRUE(contains(tested.output, " 0 failed")) << tested.output;
}

TEST(KmsctlPolicy, FailedCaseIsShown) {
    const TemporaryDirectory folder;
    folder.write("p.json", R"({"version":1,"roles":{},"bindings":[]})");
    const auto cases = folder.write("cases.json", R"({"mine":{"policy":"p.json","daemon":"kmsd",
        "cases":[{"caller":"app","action":"sign","resource":{"kind":"key"},
                  "expect":"allow","rule":"x"}]}})");
    const auto tested = run({"policy", "test", cases.string()});
    EXPECT_EQ(tested.exit_code, 1);
    EXPECT_TRUE(contains(tested.output, "deny, rule default-deny")) << tested.output;
}

TEST(KmsctlPolicy, ExplainNamesTheDecidingRule) {
    const auto explained =
        run({"policy", "explain", kms_policy, "--caller", "spiffe://strongroom/app", "--action",
             "encrypt", "--resource", "key:k1", "--alias", "applications", "--json"});
    EXPECT_EQ(explained.exit_code, 0) << explained.output;
    EXPECT_TRUE(contains(explained.output, R"("decision":"allow","rule":"application-data-keys")"))
        << explained.output;
    EXPECT_EQ(run({"policy", "explain", kms_policy, "--caller", "a", "--action", "encrypt",
                   "--resource", "k1"})
                  .exit_code,
              2);
}

TEST(KmsctlPolicy, DiffSaysWhetherAndWhat) {
    const TemporaryDirectory folder;
    const auto none = folder.write("none.json", R"({"version":1,"roles":{},"bindings":[]})");
    const auto same = run({"policy", "diff", kms_policy, kms_policy});
    EXPECT_EQ(same.exit_code, 0) << same.output;
    const auto other = run({"policy", "diff", kms_policy, none.string()});
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_TRUE(contains(other.output, "application")) << other.output;
}

}  // namespace
}  // namespace tests
