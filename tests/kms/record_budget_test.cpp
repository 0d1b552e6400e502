// How many different records a stolen identity can open: counted on the routes that open them, each
// wrapped key and each ciphertext by itself, whatever key and context they share.
#include "server/budget.h"
#include "tests/kms/api_fixture.h"

namespace tests {
namespace {

class KmsRecordBudget : public ApiFixture {
protected:
    // Opened by the one caller that has all rights; two different records a day.
    unsigned open(const std::string& path, const std::string& body) {
        server::Operation operation = operation_of("root");
        server::Request request;
        request.method = server::Method::POST;
        request.path = path;
        request.body = body;
        try {
            return routes_.match(request.method, path).route->handler(operation, request).status;
        } catch (const base::Error& error) {
            return server::http_status(error.code());
        }
    }
    unsigned decrypt(const base::Bytes& ciphertext) {
        return open("/v1/decrypt", R"({"ciphertext":")" + base::to_base64(ciphertext) +
                                       R"(","context":{"a":"b"}})");
    }
    static std::string wrapped_item(const base::Bytes& wrapped) {
        return R"({"wrapped":")" + base::to_base64(wrapped) + R"(","context":{"a":"b"}})";
    }
    unsigned unwrap(const base::Bytes& wrapped) {
        return open("/v1/data-keys/unwrap", wrapped_item(wrapped));
    }

    std::unique_ptr<server::Database> database_ = open_sqlite(folder_ / "budget.db");
    server::Budgets budgets_{
        server::parse_budgets(R"({"version":1,"tiers":{"t":[{"id":"opened","actions":["*"],
            "records":{"per":"day","limit":2}}]},"bindings":[],"default":"t"})",
                              kms::known_actions()),
        server::BudgetParts{*database_, rig_.clock, [](std::string_view, const auto&) {}}};
    server::Authorizer authorizer_{server::parse_policy(rig_policy, kms::known_actions()),
                                   nullptr,
                                   {nullptr, nullptr, &budgets_}};
    kms::Api api_{{rig_.service, rig_.lifecycle, rig_.idempotency, rig_.signing, rig_.catalogue,
                   authorizer_, rig_.store, rig_.audit, rig_.metrics}};
    server::RouteTable routes_{api_.routes()};
    kms::KeyPointer key_ = rig_.create_key("credentials");
    const kms::EncryptionContext context_{{"a", "b"}};
};

TEST_F(KmsRecordBudget, EachCiphertextIsARecordThoughKeyAndContextAreTheSame) {
    const auto first = rig_.encrypt(key_->id, "one", context_);
    const auto second = rig_.encrypt(key_->id, "one", context_);
    const auto third = rig_.encrypt(key_->id, "one", context_);
    EXPECT_EQ(decrypt(first), 200U);
    EXPECT_EQ(decrypt(second), 200U);
    EXPECT_EQ(decrypt(third), 429U);
    EXPECT_EQ(decrypt(first), 200U) << "what was opened is opened";
}

TEST_F(KmsRecordBudget, EachWrappedKeyIsARecordAndABatchCountsAllOfItsOwn) {
    kms::NewDataKeys wanted;
    wanted.count = 3;
    const auto fresh = rig_.create_data_keys(key_->id, context_, wanted);
    std::string items;
    for (const auto& one : fresh.keys) {
        items += (items.empty() ? "" : ",") + wrapped_item(one.wrapped);
    }
    EXPECT_EQ(open("/v1/data-keys/unwrap", R"({"items":[)" + items + "]}"), 429U)
        << "three are more than two, and none is opened";
    EXPECT_EQ(unwrap(fresh.keys[0].wrapped), 200U);
    EXPECT_EQ(unwrap(fresh.keys[1].wrapped), 200U);
    EXPECT_EQ(unwrap(fresh.keys[2].wrapped), 429U);
    EXPECT_EQ(unwrap(fresh.keys[1].wrapped), 200U);
}

}  // namespace
}  // namespace tests
