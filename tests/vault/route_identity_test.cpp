// Every route of the vault against every kind of wrong caller.
#include "tests/support/route_identity.h"

#include "server/audit.h"
#include "server/metrics.h"
#include "tests/vault/world.h"
#include "vault/api.h"

namespace tests {
namespace {

class VaultRouteIdentity : public testing::Test {
protected:
    World world_;
    base::Log log_{"test", base::LogLevel::error};
    server::AuditLog audit_{{world_.directory / "audit", "vaultd", "node"}, world_.clock, log_};
    server::Metrics metrics_{"vaultd"};
    std::unique_ptr<vault::Api> api_;
    RouteIdentityHouse house_{
        world_.authorizer, [this](server::ApiTokens& tokens) {
            api_ = std::make_unique<vault::Api>(vault::ApiParts{
                *world_.service, world_.authorizer, *world_.store, world_.keys, audit_, metrics_,
                server::api_token_routes(tokens, world_.authorizer, std::chrono::hours(24))});
            return api_->routes();
        }};
    const std::map<std::string, std::string> parameters_ = {
        {"owner", "acme"}, {"name", "instagram"}, {"id", "0123456789abcdef"}};
};

TEST_F(VaultRouteIdentity, WrongCallersAreRefusedEverywhere) {
    expect_wrong_callers_are_refused(house_, parameters_);
}

TEST_F(VaultRouteIdentity, WithoutAnyRightThereIsNoAnswer) {
    expect_no_right_is_no_answer(
        house_, parameters_,
        {{"PUT /v1/owners/{owner}/credentials/{name}", R"({"secret":{"k":"v"}})"},
         {"POST /v1/owners/{owner}/credentials/{name}/reveal", ""},
         {"POST /v1/owners/{owner}/credentials/{name}/restore", R"({"version":1})"},
         {"POST /v1/api-tokens", R"({"name":"ci"})"}},
        {});
}

TEST_F(VaultRouteIdentity, WhatIsWrongWithARequestIsNotForWhoMayDoNothing) {
    expect_no_right_learns_nothing(house_);
}

}  // namespace
}  // namespace tests
