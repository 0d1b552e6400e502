// Budgets of a real kmsd, from the first refusal to the lifted suspension.
#include "base/file.h"
#include "tests/kms/kmsctl_runner.h"

namespace tests {
namespace {

constexpr std::string_view tight_budgets = R"({"version":1,
  "suspension":{"overruns":2,"within_seconds":600},
  "tiers":{"tight":[{"id":"data-keys","actions":["create_data_key"],"quota":{"month":10}}]},
  "bindings":[{"caller":"spiffe://strongroom/app","tier":"tight"}]})";

constexpr std::string_view budget_policy = R"({"version":1,"roles":{
  "all":[{"id":"all","effect":"allow","actions":["*"],"resources":["*"]}],
  "app":[{"id":"app","effect":"allow","actions":["create_data_key"],"resources":["*"]}]},
  "bindings":[{"caller":"spiffe://strongroom/operator","roles":["all"]},
              {"caller":"spiffe://strongroom/app","roles":["app"]}]})";

TEST(KmsctlBudget, OverrunsSuspendACallerUntilAnOperatorLiftsIt) {
    KmsHouse house;
    house.write("policy-kms.json", budget_policy);
    house.write("budgets.json", tight_budgets);
    std::string config = house.config_text();
    config.replace(config.find("\"policy\""), 0, R"("budgets": {"file": "budgets.json"}, )");
    house.write("kmsd.json", config);
    auto daemon = house.start();
    const std::string url = "https://127.0.0.1:" + std::to_string(daemon->wait_ready());
    const auto as = [&](const CertificateFiles& who, const Arguments& command) {
        Arguments all = {"--url",         url,
                         "--ca",          house.pki().ca().string(),
                         "--certificate", who.certificate.string(),
                         "--key-file",    who.key.string()};
        all.insert(all.end(), command.begin(), command.end());
        return run(all);
    };
    const auto boss = house.pki().client("boss", "spiffe://strongroom/operator");
    const auto app = house.pki().client("app2", "spiffe://strongroom/app");
    const std::string app_id = "spiffe://strongroom/app";
    ASSERT_EQ(as(boss, {"key", "create", "--alias", "a"}).exit_code, 0);
    const auto make = [&](const std::string& count) {
        return as(app, {"data-key", "create", "alias/a", "--without-plaintext", "--count", count});
    };
    EXPECT_EQ(make("7").exit_code, 0);
    const auto over = make("4");
    EXPECT_EQ(over.exit_code, 1);
    EXPECT_TRUE(contains(over.output, "over its budget: data-keys month")) << over.output;
    EXPECT_EQ(make("2").exit_code, 0);
    EXPECT_EQ(make("2").exit_code, 1);
    const auto suspended = make("1");
    EXPECT_TRUE(contains(suspended.output, "suspended")) << suspended.output;

    const auto shown = as(boss, {"budget", "show", app_id});
    EXPECT_EQ(shown.exit_code, 0) << shown.output;
    EXPECT_TRUE(contains(shown.output, "suspended since")) << shown.output;
    EXPECT_TRUE(contains(shown.output, "items/month")) << shown.output;
    EXPECT_TRUE(contains(as(boss, {"budget", "show"}).output, app_id));
    EXPECT_TRUE(contains(as(app, {"budget", "lift", app_id}).output, "may not do this"));
    EXPECT_EQ(as(boss, {"budget", "lift", app_id}).exit_code, 0);
    EXPECT_EQ(as(boss, {"budget", "lift", app_id}).exit_code, 1);
    EXPECT_TRUE(contains(as(boss, {"budget", "show"}).output, "nobody is suspended"));
    EXPECT_EQ(make("1").exit_code, 0);

    const auto log = run({"audit", "show", (house / "audit-kms").string()});
    EXPECT_TRUE(contains(log.output, "suspend_caller")) << log.output;
    EXPECT_TRUE(contains(log.output, "lift_suspension")) << log.output;
}

}  // namespace
}  // namespace tests
