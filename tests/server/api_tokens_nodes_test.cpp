// API tokens on several nodes that share a PostgreSQL database.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "server/api_token_routes.h"
#include "server/api_tokens.h"
#include "server/policy.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/postgresql.h"

namespace {

class ApiTokenNodes : public testing::Test {
protected:
    // With connections of its own, as each node has.
    struct Node {
        explicit Node(const tests::PostgresqlSchema& schema, const base::Clock& clock)
            : database(schema.open()),
              tokens(*database, base::SecretBytes(base::as_bytes(std::string(32, 'k'))), clock) {}
        std::unique_ptr<server::Database> database;
        server::ApiTokens tokens;
    };

    void SetUp() override { SKIP_WITHOUT_POSTGRESQL(); }

    server::Operation operation() const {
        server::Caller caller;
        caller.id = "root";
        caller.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock_.now(), caller};
    }
    server::Grant grant(server::Operation& operation, server::Action action) const {
        server::Resource resource;
        resource.kind = "api_token";
        resource.id = "ci";
        return authorizer_.authorize(operation, action, resource);
    }
    static std::string reason_of(server::ApiTokens& tokens, std::string_view credential) {
        try {
            tokens.verify(credential);
            return {};
        } catch (const base::Error& error) {
            return error.detail();
        }
    }

    tests::FakeClock clock_;
    server::Authorizer authorizer_{server::parse_policy(
        R"({"version":1,"roles":{"root":[{"id":"all","effect":"allow","actions":["*"],"resources":["*"]}]},
            "bindings":[{"caller":"root","roles":["root"]}]})",
        server::with_api_token_actions({}))};
};

TEST_F(ApiTokenNodes, OneOrderMakesOneTokenThoughBothNodesAreAtIt) {
    const tests::PostgresqlSchema schema;
    Node one(schema, clock_);
    Node two(schema, clock_);
    constexpr int orders = 20;
    std::atomic<int> made = 0;
    std::atomic<int> refused = 0;
    std::barrier start(2);
    const auto run = [&](server::ApiTokens& tokens) {
        auto by = operation();
        const server::Grant right = grant(by, server::create_api_token);
        for (int i = 0; i < orders; ++i) {
            start.arrive_and_wait();
            try {
                tokens.create(right, "ci", {}, std::chrono::hours(1), "order " + std::to_string(i));
                ++made;
            } catch (const base::Error& error) {
                EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition) << error.what();
                EXPECT_NE(error.message().find("was made by this order"), std::string::npos);
                ++refused;
            }
        }
    };
    std::thread other([&] { run(two.tokens); });
    run(one.tokens);
    other.join();
    EXPECT_EQ(made, orders);
    EXPECT_EQ(refused, orders);
    auto by = operation();
    EXPECT_EQ(one.tokens.list(grant(by, server::list_api_tokens), "", 100).size(), 20U);
}

TEST_F(ApiTokenNodes, WhatOneNodeMakesOrRevokesHoldsOnTheOtherAtOnce) {
    const tests::PostgresqlSchema schema;
    Node one(schema, clock_);
    Node two(schema, clock_);
    auto order = operation();
    const auto made = one.tokens.create(grant(order, server::create_api_token), "ci",
                                        {{"team", {"payments"}}}, std::chrono::hours(1));
    const std::string_view text = made.text.expose_text();
    // Asked more than once, so that statements kept by the connection are tried as well.
    for (int i = 0; i < 20; ++i) ASSERT_EQ(two.tokens.verify(text).id, "token:ci");
    EXPECT_EQ(two.tokens.list(grant(order, server::list_api_tokens), "", 10).size(), 1U);
    two.tokens.revoke(grant(order, server::revoke_api_token), made.token.id);
    for (int i = 0; i < 20; ++i) {
        ASSERT_EQ(reason_of(one.tokens, text), "token_revoked");
        ASSERT_EQ(reason_of(two.tokens, text), "token_revoked");
    }
    EXPECT_EQ(reason_of(one.tokens, "srt_0000000000000000_" + std::string(43, 'A')),
              "token_unknown");
}

}  // namespace
