// Orders with an Idempotency-Key on vaultd: done once on the routes that both daemons have, refused
// on all others.
#include "server/audit.h"
#include "server/metrics.h"
#include "server/sql_order_store.h"
#include "tests/support/common_orders_contract.h"
#include "tests/vault/world.h"
#include "vault/api.h"
#include "vault/rewrap_api.h"
#include "vault/rewrap_service.h"
#include "vault/sql_rewrap_store.h"
#include "vault/value_api.h"
#include "vault/values.h"

namespace tests {
namespace {

constexpr std::string_view orders_policy = R"({"version":1,
  "roles":{"root":[{"id":"root-all","effect":"allow","actions":["*"],"resources":["*"]}]},
  "bindings":[{"caller":"root","roles":["root"]}]})";

constexpr std::string_view foreign_path = "/api/credentials/store";

// As those of vault/compat.
server::Route foreign_route() {
    return {Method::POST,
            foreign_path,
            vault::store_credential,
            server::Access::authenticated,
            100,
            "another service's",
            [](server::Operation&, const server::Request&) {
                return server::json_answer(base::JsonWriter().begin_object().end_object());
            }};
}

class VaultOrders final : public OrdersDaemon {
public:
    std::filesystem::path folder() const override { return world_.directory.path(); }
    FakeClock& clock() override { return world_.clock; }
    const server::Authorizer& authorizer() override { return authorizer_; }
    server::OrderStore& store() override { return store_; }
    server::Idempotency& orders() override { return orders_; }
    server::PolicyWords words() const override { return vault::known_actions(); }
    server::Action back_up() const override { return vault::back_up; }
    std::vector<server::Route> routes(std::vector<server::Route> common) override {
        api_ = std::make_unique<vault::Api>(
            vault::ApiParts{.service = *world_.service,
                            .authorizer = authorizer_,
                            .store = *world_.store,
                            .keys = world_.keys,
                            .audit = audit_,
                            .metrics = metrics_,
                            .more_routes = server::join(value_api_.routes(), rewrap_api_.routes()),
                            .common_routes = std::move(common),
                            .orders = &orders_,
                            .foreign_routes = {foreign_route()}});
        return api_->routes();
    }

private:
    World world_;
    base::Log log_{"test", base::LogLevel::error};
    server::Authorizer authorizer_{server::parse_policy(orders_policy, vault::known_actions())};
    server::AuditLog audit_{{world_.directory / "audit", "vaultd", "node"}, world_.clock, log_};
    server::Metrics metrics_{"vaultd"};
    std::unique_ptr<server::Database> database_ = open_sqlite(world_.directory / "orders.db");
    vault::SqlStore credentials_{*database_};  // makes the tables that the jobs walk
    vault::SqlRewrapStore rewraps_{*database_};
    vault::RewrapService rewrap_service_{rewraps_, world_.keys, world_.clock};
    vault::RewrapApi rewrap_api_{{rewrap_service_, authorizer_, [] {}}};
    vault::ValueService values_{world_.keys, world_.clock, {}};
    vault::ValueApi value_api_{{values_, authorizer_, metrics_, {}}};
    server::SqlOrderStore store_{*database_};
    server::Idempotency orders_{store_, world_.clock};
    std::unique_ptr<vault::Api> api_;
};

std::unique_ptr<OrdersDaemon> make_vault_orders() { return std::make_unique<VaultOrders>(); }

INSTANTIATE_TEST_SUITE_P(Vaultd, CommonOrders, testing::Values(&make_vault_orders));

class VaultCommonOrders : public CommonOrders {};
INSTANTIATE_TEST_SUITE_P(Vaultd, VaultCommonOrders, testing::Values(&make_vault_orders));

TEST_P(VaultCommonOrders, AKeyIsHonouredWhereBothDaemonsTakeItAndRefusedEverywhereElse) {
    auto rows = order_rows(routes_.routes(), [this] { return of("root"); });
    EXPECT_EQ(rows.once.erase("POST " + std::string(foreign_path)), 1U) << "it refuses nothing";
    EXPECT_EQ(rows.once, (std::set<std::string>{"POST /v1/api-tokens", "DELETE /v1/api-tokens/{id}",
                                                "POST /v1/budgets/lift", "POST /v1/backups"}));
    EXPECT_EQ(rows.refusing,
              (std::set<std::string>{
                  "PUT /v1/owners/{owner}/credentials/{name}",
                  "POST /v1/owners/{owner}/credentials/{name}/reveal",
                  "POST /v1/owners/{owner}/credentials/{name}/restore",
                  "POST /v1/owners/{owner}/reveal", "POST /v1/owners/{owner}/erase",
                  "DELETE /v1/owners/{owner}/credentials/{name}", "POST /v1/rewrap-jobs",
                  "POST /v1/rewrap-jobs/{id}/cancel", "POST /v1/seal", "POST /v1/open"}));
    const auto document = order("", Method::GET, "/openapi.json");
    EXPECT_NE(document.body.find("Idempotency-Key"), std::string::npos);
}

TEST_P(VaultCommonOrders, ARefusedKeyStoresNothingAndTheAnswerSaysWhatToDo) {
    const std::string path = "/v1/owners/acme/credentials/instagram";
    const std::string body = R"({"secret":{"k":"v"},"if_version":0})";
    const auto refused = order("k", Method::PUT, path, body);
    EXPECT_EQ(refused.status, 400U) << refused.body;
    EXPECT_NE(refused.body.find("takes no Idempotency-Key"), std::string::npos) << refused.body;
    EXPECT_NE(refused.body.find("if_version"), std::string::npos) << refused.body;
    EXPECT_EQ(order("", Method::GET, path).status, 404U);
    // What it says to do: with if_version it is done once.
    EXPECT_EQ(order("", Method::PUT, path, body).status, 201U);
    EXPECT_EQ(order("", Method::PUT, path, body).status, 409U);
}

TEST_P(VaultCommonOrders, AShapeOfAnotherServiceLeavesTheKeyAlone) {
    for (int times = 0; times < 2; ++times) {
        const auto answer = order("k", Method::POST, std::string(foreign_path), "{}");
        EXPECT_EQ(answer.status, 200U) << answer.body;
    }
}

TEST(SqlOrders, WhatBeginsADayLaterForgetsWhatIsOlderThanADay) {
    const TemporaryDirectory folder;
    const auto database = open_sqlite(folder / "orders.db");
    server::SqlOrderStore store(*database);
    const base::Time start = base::from_milliseconds(1'800'000'000'000);
    const auto begin = [&](const std::string& id, base::Time at) {
        store.begin_request({id, "d", "n", at, false, 0, "x"});
    };
    begin("a", start);
    begin("b", start + server::idempotency_memory);
    EXPECT_TRUE(store.find_request("a")) << "a day is not over before its last moment";
    EXPECT_ERROR(already_exists, begin("b", start));
    begin("c", start + server::idempotency_memory + std::chrono::milliseconds(1));
    EXPECT_FALSE(store.find_request("a"));
    EXPECT_TRUE(store.find_request("b"));
}

TEST(SqlOrders, WhatADeadProcessWasAtIsFreeAtTheNextStart) {
    const TemporaryDirectory folder;
    const auto database = open_sqlite(folder / "orders.db");
    {
        server::SqlOrderStore store(*database);
        store.begin_request({"a", "d", "dead", base::from_milliseconds(1), false, 0, "x"});
        EXPECT_EQ(store.find_request("a")->node, "dead");
    }
    EXPECT_EQ(server::SqlOrderStore(*database).find_request("a")->node, "");
}

}  // namespace
}  // namespace tests
