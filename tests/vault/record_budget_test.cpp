// How many different records a stolen identity can open: counted on the routes that open them, each
// sealed value and each credential by itself.
#include "server/budget.h"
#include "server/metrics.h"
#include "tests/vault/api_house.h"
#include "vault/value_api.h"
#include "vault/values.h"

namespace tests {
namespace {

class VaultRecordBudget : public VaultApiHouse {
protected:
    VaultRecordBudget() {
        limited_ = std::make_unique<vault::Api>(vault::ApiParts{*world_.service, authorizer_,
                                                                *world_.store, world_.keys, audit_,
                                                                metrics_, value_api_.routes()});
        table_ = std::make_unique<server::RouteTable>(limited_->routes());
    }

    Answer post(const std::string& path, const std::string& body) {
        auto operation = world_.operation("acme");
        return call(*table_, operation, server::Method::POST, path, body);
    }
    // All in one context.
    std::string seal(const std::string& value) {
        const auto sealed = post("/v1/seal", R"({"value":)" + value + R"(,"context":"c"})");
        EXPECT_EQ(sealed.status, 200U) << sealed.body;
        return sealed.at({"value"});
    }
    static std::string item(const std::string& sealed) {
        return R"({"value":)" + sealed + R"(,"context":"c"})";
    }
    unsigned open(const std::string& sealed) { return post("/v1/open", item(sealed)).status; }

    std::unique_ptr<server::Database> database_ = open_sqlite(world_.directory / "budget.db");
    server::Budgets budgets_{
        server::parse_budgets(R"({"version":1,"tiers":{"t":[{"id":"opened",
            "actions":["open","reveal_credential"],"records":{"per":"day","limit":2}}]},
            "bindings":[],"default":"t"})",
                              vault::known_actions()),
        server::BudgetParts{*database_, world_.clock, [](std::string_view, const auto&) {}}};
    server::Authorizer authorizer_{server::parse_policy(vault_policy, vault::known_actions()),
                                   nullptr,
                                   {nullptr, nullptr, &budgets_}};
    vault::ValueService values_{world_.keys, world_.clock, {}};
    vault::ValueApi value_api_{{values_, authorizer_, metrics_, {}}};
    std::unique_ptr<vault::Api> limited_;
    std::unique_ptr<server::RouteTable> table_;
};

TEST_F(VaultRecordBudget, EachSealedValueIsARecordThoughTheContextIsTheSame) {
    const std::string first = seal(R"("one")");
    const std::string second = seal(R"("one")");
    const std::string third = seal(R"("one")");
    EXPECT_EQ(open(first), 200U);
    EXPECT_EQ(open(second), 200U);
    EXPECT_EQ(open(third), 429U);
    EXPECT_EQ(open(first), 200U) << "what was opened is opened";
}

TEST_F(VaultRecordBudget, AValueOfABatchIsARecordLikeAnyOther) {
    const std::string first = seal(R"("one")");
    const std::string second = seal(R"("two")");
    const std::string third = seal(R"("three")");
    const auto both = post("/v1/open", R"({"items":[)" + item(first) + "," + item(second) + "]}");
    ASSERT_EQ(both.status, 200U) << both.body;
    EXPECT_EQ(both.body.find("resource_exhausted"), std::string::npos) << both.body;
    EXPECT_EQ(open(second), 200U);
    EXPECT_EQ(open(third), 429U);
}

TEST_F(VaultRecordBudget, EachRevealedCredentialIsARecord) {
    for (const char* name : {"a", "b", "c"}) {
        ASSERT_EQ(send(server::Method::PUT, all + "/" + name, R"({"secret":{"k":"v"}})").status,
                  201U);
    }
    const auto reveal = [this](const std::string& name) {
        return post(all + "/" + name + "/reveal", "").status;
    };
    EXPECT_EQ(reveal("a"), 200U);
    EXPECT_EQ(reveal("b"), 200U);
    EXPECT_EQ(reveal("c"), 429U);
    EXPECT_EQ(reveal("a"), 200U);
    const auto many = post("/v1/owners/acme/reveal", R"({"items":[{"name":"c"}]})");
    EXPECT_NE(many.body.find("resource_exhausted"), std::string::npos) << many.body;
}

}  // namespace
}  // namespace tests
