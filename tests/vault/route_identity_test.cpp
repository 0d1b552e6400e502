// Every route of the vault's own API against every kind of wrong caller. The older shapes answer in
// forms of their own: compat_shared_secret_test and compat_broker_test.
#include "tests/support/route_identity.h"

#include "server/audit.h"
#include "server/metrics.h"
#include "server/operational_routes.h"
#include "tests/vault/world.h"
#include "vault/api.h"
#include "vault/paths.h"
#include "vault/rewrap_api.h"
#include "vault/rewrap_service.h"
#include "vault/sql_rewrap_store.h"
#include "vault/value_api.h"
#include "vault/values.h"

namespace tests {
namespace {

class VaultRouteIdentity : public testing::Test {
protected:
    World world_;
    base::Log log_{"test", base::LogLevel::error};
    server::AuditLog audit_{{world_.directory / "audit", "vaultd", "node"}, world_.clock, log_};
    server::Metrics metrics_{"vaultd"};
    vault::ValueService values_{world_.keys, world_.clock, {}};
    vault::ValueApi value_api_{{values_, world_.authorizer, metrics_, {}}};
    std::unique_ptr<server::Database> database_ = open_sqlite(world_.directory / "rewraps.db");
    vault::SqlStore credentials_{*database_};  // makes the tables that the jobs walk
    vault::SqlRewrapStore rewraps_{*database_};
    vault::RewrapService rewrap_service_{rewraps_, world_.keys, world_.clock};
    vault::RewrapApi rewrap_api_{{rewrap_service_, world_.authorizer, [] {}}};
    std::unique_ptr<vault::Api> api_;
    RouteIdentityHouse house_{
        world_.authorizer, vault::back_up, [this](std::vector<server::Route> common) {
            auto more = server::join(value_api_.routes(), rewrap_api_.routes());
            api_ = std::make_unique<vault::Api>(vault::ApiParts{
                *world_.service, world_.authorizer, *world_.store, world_.keys, audit_, metrics_,
                server::join(std::move(more), std::move(common))});
            return api_->routes();
        }};
    const OpenRoutes open_{"GET /healthz"};
    const std::map<std::string, std::string> parameters_ = {
        {"owner", "acme"}, {"name", "instagram"}, {"id", "0123456789abcdef"}};
};

TEST_F(VaultRouteIdentity, TheRoutesTriedAreAllOfTheVaultsOwnApi) {
    auto paths = server::common_paths({true, true, true});
    paths.insert(paths.end(), vault::api_paths.begin(), vault::api_paths.end());
    EXPECT_EQ(house_.patterns(), std::set<std::string_view>(paths.begin(), paths.end()));
}

TEST_F(VaultRouteIdentity, EveryOtherRowThatIsNotForReadingSaysItsIntent) {
    EXPECT_EQ(rows_that_change_nothing(house_.routes()),
              (std::set<std::string>{"POST /v1/owners/{owner}/credentials/{name}/reveal",
                                     "POST /v1/owners/{owner}/reveal", "POST /v1/seal",
                                     "POST /v1/open"}));
}

TEST_F(VaultRouteIdentity, WrongCallersAreRefusedEverywhere) {
    expect_wrong_callers_are_refused(house_, parameters_, open_);
}

TEST_F(VaultRouteIdentity, WhileTheProviderDoesNotAnswerNobodyGetsInByItsWord) {
    expect_no_word_of_the_provider_lets_nobody_in(house_, parameters_, open_);
}

TEST_F(VaultRouteIdentity, WithoutAnyRightThereIsNoAnswer) {
    expect_no_right_is_no_answer(
        house_, parameters_,
        {{"PUT /v1/owners/{owner}/credentials/{name}", R"({"secret":{"k":"v"}})"},
         {"POST /v1/owners/{owner}/credentials/{name}/reveal", ""},
         {"POST /v1/owners/{owner}/credentials/{name}/restore", R"({"version":1})"},
         {"POST /v1/seal", R"({"value":"v","context":"c"})"},
         {"POST /v1/open", R"({"value":"v","context":"c"})"},
         {"POST /v1/budgets/lift", R"({"caller":"ci"})"},
         {"POST /v1/backups", ""},
         {"POST /v1/rewrap-jobs/{id}/cancel", ""},
         {"POST /v1/api-tokens", R"({"name":"ci"})"}},
        open_);
}

TEST_F(VaultRouteIdentity, WhatIsWrongWithARequestIsNotForWhoMayDoNothing) {
    expect_no_right_learns_nothing(house_);
}

}  // namespace
}  // namespace tests
