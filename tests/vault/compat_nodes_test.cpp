// One token, several nodes on one PostgreSQL: the provider is asked once.
#include <gtest/gtest.h>

#include <future>

#include "server/policy.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/postgresql.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"
#include "tests/vault/fake_data_keys.h"
#include "vault/actions.h"
#include "vault/compat/token_refresh.h"
#include "vault/sql_store.h"

namespace tests {
namespace {

constexpr std::string_view node_policy = R"({"version":1,"roles":{"all":[
    {"id":"all","effect":"allow","actions":["*"],"resources":["*"]}]},
  "bindings":[{"caller":"app","roles":["all"]}]})";

// What nodes of one store have in common beside it.
struct NodesWorld {
    FakeClock clock;
    FakeDataKeys keys;
    server::Authorizer authorizer{server::parse_policy(node_policy, vault::known_actions())};

    server::Operation operation() const {
        server::Caller caller;
        caller.id = "app";
        caller.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock.now(), caller};
    }
    server::Grant grant(server::Operation& operation, server::Action action) const {
        return authorizer.authorize(operation, action,
                                    vault::credential_resource({"broker", "shop"}));
    }
};

class RefreshNode {
public:
    RefreshNode(const PostgresqlSchema& schema, NodesWorld& world,
                const vault::compat::RefreshConfig& config)
        : world_(world),
          database_(schema.open()),
          store_(*database_),
          service_(store_, world.keys, world.clock),
          refresh_(config, {service_, *database_, world.clock, metrics_}) {}

    void store(const std::string& text) {
        auto operation = world_.operation();
        vault::StoreRequest wanted;
        wanted.secret = base::SecretBytes(base::as_bytes(text));
        service_.store(world_.grant(operation, vault::store_credential), wanted, {});
    }

    std::string fetch() {
        auto operation = world_.operation();
        const auto reveal = world_.grant(operation, vault::reveal_credential);
        const auto right = world_.grant(operation, vault::refresh_credential);
        const auto found = service_.reveal(reveal, std::nullopt, {});
        base::JsonWriter out;
        out.begin_object();
        refresh_.fresh(operation, {reveal, right}, found).write_token(out);
        out.end_object();
        return std::string(out.text());
    }

private:
    NodesWorld& world_;
    std::unique_ptr<server::Database> database_;
    vault::SqlStore store_;
    vault::CredentialService service_;
    server::Metrics metrics_{"vaultd"};
    vault::compat::TokenRefresh refresh_;
};

class PostgresqlTokenRefresh : public testing::Test {
protected:
    void SetUp() override {
        SKIP_WITHOUT_POSTGRESQL();
        schema_ = std::make_unique<PostgresqlSchema>();
        config_.endpoints.resize(1);
        config_.endpoints[0].https.url = peer_.url();
        config_.endpoints[0].https.ca = pki_.ca();
        config_.deadline = std::chrono::milliseconds(20'000);
    }
    std::string record() const {
        return R"({"client_id":"shop","access_token":"old","token_expires_at":"2020-01-01T00:00:00Z",)"
               R"("refresh":{"token_endpoint":")" +
               peer_.url() + R"(","client_id":"c","client_secret":"s","refresh_token":"r"}})";
    }

    TemporaryDirectory directory_;
    TestPki pki_{directory_ / "pki"};
    TlsPeer peer_{pki_.server("provider"), {}, [](const std::string& /*request*/) {
                      return PeerReply{http_answer(
                          200, R"({"access_token":"new","expires_in":3600,"refresh_token":"r2"})")};
                  }};
    vault::compat::RefreshConfig config_;
    NodesWorld world_;
    std::unique_ptr<PostgresqlSchema> schema_;
};

TEST_F(PostgresqlTokenRefresh, TwoNodesAskTheProviderOnce) {
    RefreshNode first(*schema_, world_, config_);
    RefreshNode second(*schema_, world_, config_);
    first.store(record());
    std::vector<std::future<std::string>> fetches;
    for (int i = 0; i < 8; ++i) {
        fetches.push_back(std::async(std::launch::async, [&first, &second, i] {
            return (i % 2 == 0 ? first : second).fetch();
        }));
    }
    for (auto& each : fetches) {
        const std::string got = each.get();
        EXPECT_NE(got.find(R"("access_token":"new")"), std::string::npos) << got;
    }
    EXPECT_EQ(peer_.requests(), 1);
}

TEST_F(PostgresqlTokenRefresh, ANodeThatDiedWithTheLeaseHoldsItForItsTimeOnly) {
    config_.deadline = std::chrono::milliseconds(100);
    RefreshNode node(*schema_, world_, config_);
    node.store(record());
    {
        const auto database = schema_->open();
        vault::compat::RefreshLeases dead(*database);
        const auto now = world_.clock.now();
        ASSERT_EQ(dead.take({"broker", "shop"}, 1, "dead", now, now + std::chrono::seconds(30)),
                  vault::compat::RefreshLeases::Taken::yes);
    }
    EXPECT_ERROR(unavailable, node.fetch());
    EXPECT_EQ(peer_.requests(), 0);
    world_.clock.advance(std::chrono::seconds(30));
    config_.deadline = std::chrono::milliseconds(20'000);
    RefreshNode patient(*schema_, world_, config_);
    EXPECT_NE(patient.fetch().find(R"("access_token":"new")"), std::string::npos);
}

}  // namespace
}  // namespace tests
