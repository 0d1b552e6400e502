#include "tests/kms/api_calls.h"
#include "tests/support/common_orders_contract.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

class KmsOrders final : public OrdersDaemon {
public:
    std::filesystem::path folder() const override { return folder_.path(); }
    FakeClock& clock() override { return rig_.clock; }
    const server::Authorizer& authorizer() override { return rig_.authorizer; }
    server::OrderStore& store() override { return rig_.store; }
    server::Idempotency& orders() override { return rig_.idempotency; }
    server::PolicyWords words() const override { return kms::known_actions(); }
    server::Action back_up() const override { return kms::back_up; }
    std::vector<server::Route> routes(std::vector<server::Route> common) override {
        api_ = std::make_unique<kms::Api>(kms::ApiParts{
            rig_.service, rig_.lifecycle, rig_.idempotency, rig_.signing, rig_.catalogue,
            rig_.authorizer, rig_.store, rig_.audit, rig_.metrics, std::move(common)});
        return api_->routes();
    }

private:
    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
    std::unique_ptr<kms::Api> api_;
};

std::unique_ptr<OrdersDaemon> make_kms_orders() { return std::make_unique<KmsOrders>(); }

INSTANTIATE_TEST_SUITE_P(Kmsd, CommonOrders, testing::Values(&make_kms_orders));

class KmsCommonOrders : public CommonOrders {};
INSTANTIATE_TEST_SUITE_P(Kmsd, KmsCommonOrders, testing::Values(&make_kms_orders));

TEST_P(KmsCommonOrders, EveryRouteThatChangesSomethingTakesAKeyAndAllOthersRefuseIt) {
    auto [of_keys, others] = order_rows(routes_.routes(), [this] { return of("root"); });
    const std::set<std::string> repeatable{"POST /v1/keys/{key}/data-keys",
                                           "POST /v1/keys/alias/{alias}/data-keys",
                                           "POST /v1/data-keys/unwrap",
                                           "POST /v1/data-keys/rewrap",
                                           "POST /v1/keys/{key}/encrypt",
                                           "POST /v1/keys/alias/{alias}/encrypt",
                                           "POST /v1/decrypt",
                                           "POST /v1/keys/{key}/sign",
                                           "POST /v1/keys/alias/{alias}/sign",
                                           "POST /v1/keys/{key}/verify",
                                           "POST /v1/keys/alias/{alias}/verify",
                                           "POST /v1/keys/{key}/mac",
                                           "POST /v1/keys/alias/{alias}/mac",
                                           "POST /v1/keys/{key}/verify-mac",
                                           "POST /v1/keys/alias/{alias}/verify-mac"};
    EXPECT_EQ(others, repeatable);
    for (const auto* name : {"POST /v1/api-tokens", "DELETE /v1/api-tokens/{id}",
                             "POST /v1/budgets/lift", "POST /v1/backups", "POST /v1/keys",
                             "PATCH /v1/keys/{key}", "DELETE /v1/aliases/{alias}"}) {
        EXPECT_EQ(of_keys.count(name), 1U) << name;
    }
    // The keys' own are tried in idempotency_test.cpp, these here.
    std::erase_if(of_keys, [](const std::string& name) {
        return name.find(" /v1/keys") != std::string::npos ||
               name.find(" /v1/aliases/") != std::string::npos;
    });
    EXPECT_EQ(of_keys.size(), 4U);
    const auto document = order("", Method::GET, "/openapi.json");
    EXPECT_NE(document.body.find("Idempotency-Key"), std::string::npos);
}

}  // namespace
}  // namespace tests
