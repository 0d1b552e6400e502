// What goes for orders with an Idempotency-Key on the routes that both daemons have, whatever store
// the daemon remembers orders in. Included by one file of a daemon's tests, which instantiates it:
//     INSTANTIATE_TEST_SUITE_P(Kmsd, CommonOrders, testing::Values(&make_daemon));
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <tuple>

#include "server/api_token_routes.h"
#include "server/authorizer.h"
#include "server/budget.h"
#include "server/common_routes.h"
#include "server/database.h"
#include "server/idempotency.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/route_calls.h"

namespace tests {

using server::Method;

// Rows whose orders are done once, and rows that refuse an order's key by name; a GET is neither.
struct OrderRows {
    std::set<std::string> once;
    std::set<std::string> refusing;
};

inline OrderRows order_rows(const std::vector<server::Route>& routes,
                            const std::function<server::Operation()>& operation_of_root) {
    OrderRows rows;
    for (const auto& route : routes) {
        if (route.method == Method::GET) continue;
        const std::string name =
            std::string(to_string(route.method)) + " " + std::string(route.pattern);
        server::Request request;
        request.headers["idempotency-key"] = "k";
        auto operation = operation_of_root();
        std::string refusal;
        try {
            route.handler(operation, request);
        } catch (const base::Error& error) {
            if (error.code() == base::ErrorCode::invalid_argument) refusal = error.message();
        }
        const bool refuses = refusal.find("takes no Idempotency-Key") != std::string::npos;
        (refuses ? rows.refusing : rows.once).insert(name);
    }
    return rows;
}

// Does the work and is not heard of any more, as long as `dies` is set.
class DyingOrders final : public server::OrdersOnce {
public:
    explicit DyingOrders(server::OrdersOnce& inner) : inner_(inner) {}
    server::Response do_once(server::Operation& operation, const server::Request& request,
                             const Work& work) override {
        return inner_.do_once(operation, request, [&](const Order& order) {
            Outcome outcome = work(order);
            if (dies) {
                throw base::Error(base::ErrorCode::unavailable, "the node died here");
            }
            return outcome;
        });
    }
    bool dies = false;

private:
    server::OrdersOnce& inner_;
};

// A daemon with its own store of orders and its own routes. Caller "root" may do everything, "app"
// nothing of what is tried.
class OrdersDaemon {
public:
    virtual ~OrdersDaemon() = default;
    virtual std::filesystem::path folder() const = 0;
    virtual FakeClock& clock() = 0;
    virtual const server::Authorizer& authorizer() = 0;
    virtual server::OrderStore& store() = 0;
    virtual server::Idempotency& orders() = 0;
    virtual server::PolicyWords words() const = 0;
    virtual server::Action back_up() const = 0;
    // Its whole table, with the rows that both daemons have.
    virtual std::vector<server::Route> routes(std::vector<server::Route> common) = 0;
};

using MakeOrdersDaemon = std::unique_ptr<OrdersDaemon> (*)();

class CommonOrders : public testing::TestWithParam<MakeOrdersDaemon> {
protected:
    server::Response order(const std::string& key, Method method, const std::string& path,
                           std::string_view body = {}, const std::string& caller = "root") {
        operation_ = std::make_unique<server::Operation>(of(caller));
        server::Request request;
        request.method = method;
        request.path = path;
        request.body = body;
        if (!key.empty()) request.headers["idempotency-key"] = key;
        return call_route(routes_, *operation_, std::move(request));
    }
    server::Response make_token(const std::string& key, std::string_view body = R"({"name":"ci"})",
                                const std::string& caller = "root") {
        return order(key, Method::POST, "/v1/api-tokens", body, caller);
    }
    server::Response lift(const std::string& key, const std::string& caller = "app") {
        return order(key, Method::POST, "/v1/budgets/lift", R"({"caller":")" + caller + "\"}");
    }
    server::Grant token_grant(server::Action action, const std::string& name) {
        token_operation_ = std::make_unique<server::Operation>(of("root"));
        server::Resource resource;
        resource.kind = "api_token";
        resource.id = name;
        return daemon_->authorizer().authorize(*token_operation_, action, std::move(resource));
    }
    bool is_told_before() const { return operation_->facts().count("repeated") != 0; }
    static std::string message_of(const server::Response& response) {
        return text_in(*json_of(response).find("error"), "message");
    }

    std::size_t tokens() {
        const auto answer = order("", Method::GET, "/v1/api-tokens");
        return json_of(answer).find("api_tokens")->array()->size();
    }
    std::size_t backups() const {
        std::size_t count = 0;
        for (const auto& each :
             std::filesystem::directory_iterator(daemon_->folder() / "backups")) {
            count += each.path().extension() == ".db" ? 1U : 0U;
        }
        return count;
    }
    void suspend_app() {
        server::Resource anything;
        anything.id = "*";
        for (int i = 0; i < 100 && budgets_.suspended().empty(); ++i) {
            auto operation = of("app");
            try {
                budgets_.charge(operation, daemon_->back_up(), anything, {});
            } catch (const base::Error& error) {
                continue;  // what is over the limit
            }
        }
        ASSERT_EQ(budgets_.suspended().size(), 1U);
    }

    server::Operation of(const std::string& caller) {
        server::Caller who;
        who.id = caller;
        who.method = server::AuthenticationMethod::client_certificate;
        return {base::Uuid::random(), clock().now(), who};
    }
    FakeClock& clock() { return daemon_->clock(); }

    std::unique_ptr<OrdersDaemon> daemon_ = GetParam()();
    base::Log log_{"tests", base::LogLevel::error};
    std::unique_ptr<server::Database> database_ = server::open_database(
        server::SqliteConfig{daemon_->folder() / "common.db", daemon_->folder() / "backups"}, log_);
    server::ApiTokens tokens_{*database_, base::SecretBytes(base::as_bytes(std::string(32, 'k'))),
                              clock()};
    server::Budgets budgets_{
        server::parse_budgets(R"({"version":1,"suspension":{"overruns":10,"within_seconds":600},
            "tiers":{"t":[{"id":"l","actions":["*"],"quota":{"hour":1}}]},
            "bindings":[{"caller":"app","tier":"t"}]})",
                              daemon_->words()),
        server::BudgetParts{*database_, clock(), [](std::string_view, const auto&) {}}};
    DyingOrders orders_{daemon_->orders()};
    server::RouteTable routes_{daemon_->routes(server::common_routes(
        {server::api_token_routes(tokens_, daemon_->authorizer(), std::chrono::hours(24), &orders_),
         nullptr, &budgets_, *database_, daemon_->authorizer(), clock(), daemon_->back_up(),
         "tests", &orders_}))};
    std::unique_ptr<server::Operation> operation_;
    std::unique_ptr<server::Operation> token_operation_;
};

TEST_P(CommonOrders, ARepeatedLiftHasTheSameAnswerAndLiftsNothingElse) {
    EXPECT_EQ(lift("early").status, 404U);
    suspend_app();
    const auto first = lift("k");
    ASSERT_EQ(first.status, 200U) << first.body;
    EXPECT_FALSE(is_told_before());
    clock().advance(std::chrono::hours(1));
    suspend_app();
    const auto again = lift("k");
    EXPECT_EQ(again.status, 200U);
    EXPECT_EQ(again.body, first.body);
    EXPECT_TRUE(is_told_before());
    EXPECT_EQ(budgets_.suspended().size(), 1U) << "the new suspension stands";
    EXPECT_EQ(lift("early").status, 404U) << "a refusal is an answer, too";
    EXPECT_EQ(lift("k", "somebody").status, 409U);
    EXPECT_EQ(lift("k2").status, 200U);
    EXPECT_EQ(lift("").status, 404U);
}

TEST_P(CommonOrders, ALiftThatWasDoneButNotAnsweredIsAnsweredWhenItIsSentAgain) {
    suspend_app();
    orders_.dies = true;
    EXPECT_EQ(lift("k").status, 503U);
    EXPECT_TRUE(budgets_.suspended().empty());
    orders_.dies = false;
    const auto again = lift("k");
    EXPECT_EQ(again.status, 200U) << again.body;
    EXPECT_EQ(lift("k").body, again.body);
}

TEST_P(CommonOrders, ARepeatedBackupIsTheSameFile) {
    const auto back_up = [&](const std::string& key) {
        return order(key, Method::POST, "/v1/backups");
    };
    const auto first = back_up("k");
    ASSERT_EQ(first.status, 201U) << first.body;
    clock().advance(std::chrono::hours(1));
    const auto again = back_up("k");
    EXPECT_EQ(again.status, 201U);
    EXPECT_EQ(again.body, first.body);
    EXPECT_EQ(backups(), 1U);
    EXPECT_EQ(lift("k").status, 409U) << "another order";
    EXPECT_EQ(back_up("k2").status, 201U);
    EXPECT_EQ(backups(), 2U);
}

TEST_P(CommonOrders, ARepeatedOrderOfATokenMakesNoSecondAndNamesTheFirst) {
    const auto made = make_token("k");
    ASSERT_EQ(made.status, 201U) << made.body;
    const std::string id = text_in(json_of(made), "id");
    const std::string secret = text_in(json_of(made), "token");
    EXPECT_EQ(tokens_.verify(secret).id, "token:ci");
    for (int i = 0; i < 2; ++i) {
        const auto again = make_token("k");
        EXPECT_EQ(again.status, 409U) << again.body;
        EXPECT_EQ(text_in(*json_of(again).find("error"), "code"), "failed_precondition");
        const std::string message = message_of(again);
        EXPECT_NE(message.find("token " + id + " was made by this order"), std::string::npos)
            << message;
        EXPECT_NE(message.find("shown only once"), std::string::npos) << message;
        EXPECT_NE(message.find("revoke"), std::string::npos) << message;
        EXPECT_EQ(message.find(secret.substr(21)), std::string::npos);
    }
    EXPECT_EQ(tokens(), 1U);
    const auto other = make_token("k", R"({"name":"ci-2"})");
    EXPECT_EQ(other.status, 409U);
    EXPECT_NE(message_of(other).find("another request"), std::string::npos) << other.body;
    EXPECT_EQ(make_token("k", R"({"name":"ci"})", "app").status, 403U)
        << "what another caller made is told to nobody";
    EXPECT_EQ(tokens(), 1U);
    EXPECT_EQ(make_token("k2").status, 201U);
    EXPECT_EQ(make_token("").status, 201U);
    EXPECT_EQ(make_token("").status, 201U);
    EXPECT_EQ(tokens(), 4U);
}

TEST_P(CommonOrders, TheTextOfATokenIsStoredNowhere) {
    const std::string secret = text_in(json_of(make_token("k")), "token").substr(21);
    make_token("k");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(daemon_->folder())) {
        if (!entry.is_regular_file()) continue;
        std::ifstream in(entry.path(), std::ios::binary);
        const std::string all{std::istreambuf_iterator<char>(in), {}};
        EXPECT_EQ(all.find(secret), std::string::npos) << entry.path();
    }
}

TEST_P(CommonOrders, ATokenThatWasMadeButNotAnsweredIsNotMadeAgain) {
    orders_.dies = true;
    EXPECT_EQ(make_token("k").status, 503U);
    orders_.dies = false;
    ASSERT_EQ(tokens(), 1U);
    const std::string id =
        tokens_.list(token_grant(server::list_api_tokens, "*"), "", 10).front().id;
    for (int i = 0; i < 2; ++i) {
        const auto again = make_token("k");
        EXPECT_EQ(again.status, 409U) << again.body;
        EXPECT_NE(message_of(again).find("token " + id + " was made"), std::string::npos)
            << again.body;
    }
    EXPECT_EQ(make_token("k", R"({"name":"other"})").status, 409U);
    EXPECT_EQ(tokens(), 1U);
}

TEST_P(CommonOrders, ANodeThatIsHeldDeadAndTheOneInItsPlaceMakeOneTokenTogether) {
    server::Idempotency other_node(daemon_->store(), clock());
    server::Request request;
    request.method = Method::POST;
    request.path = "/v1/api-tokens";
    request.headers["idempotency-key"] = "k";
    auto operation = of("root");
    const auto make = [&](const server::OrdersOnce::Order& name) {
        tokens_.create(token_grant(server::create_api_token, "ci"), "ci", {}, std::chrono::hours(1),
                       name.name);
        return server::OrdersOnce::Outcome{};
    };
    const auto slow = [&](const server::OrdersOnce::Order& name) {
        EXPECT_FALSE(name.begun_before);
        clock().advance(server::idempotency_lease);
        static_cast<void>(other_node.do_once(operation, request, make));
        return make(name);
    };
    EXPECT_ERROR_SAYING(failed_precondition, "was made by this order",
                        daemon_->orders().do_once(operation, request, slow));
    EXPECT_EQ(tokens(), 1U);
}

TEST_P(CommonOrders, AfterADayTheSameKeyOrdersAnotherToken) {
    EXPECT_EQ(make_token("k").status, 201U);
    clock().advance(server::idempotency_memory - std::chrono::milliseconds(1));
    EXPECT_EQ(make_token("k").status, 409U);
    clock().advance(std::chrono::milliseconds(1));
    EXPECT_EQ(make_token("k").status, 201U);
    EXPECT_EQ(tokens(), 2U);
}

TEST_P(CommonOrders, ARepeatedRevocationHasTheSameAnswer) {
    const auto made = json_of(make_token("k"));
    const std::string path = "/v1/api-tokens/" + text_in(made, "id");
    const auto first = order("r", Method::DELETE, path);
    ASSERT_EQ(first.status, 200U) << first.body;
    clock().advance(std::chrono::hours(1));
    const auto again = order("r", Method::DELETE, path);
    EXPECT_EQ(again.body, first.body);
    EXPECT_TRUE(is_told_before());
    EXPECT_EQ(order("k", Method::DELETE, path).status, 409U);
    EXPECT_ERROR(unauthenticated, tokens_.verify(text_in(made, "token")));
}

TEST_P(CommonOrders, WhoMayNotLeavesNoOrderBehind) {
    for (const auto& [method, path, body] :
         {std::tuple(Method::POST, "/v1/api-tokens", R"({"name":"ci"})"),
          std::tuple(Method::DELETE, "/v1/api-tokens/0123456789abcdef", ""),
          std::tuple(Method::POST, "/v1/budgets/lift", R"({"caller":"x"})"),
          std::tuple(Method::POST, "/v1/backups", "")}) {
        EXPECT_EQ(order("k", method, path, body, "app").status, 403U) << path;
    }
    EXPECT_EQ(daemon_->store().forget_requests(clock().now() + std::chrono::hours(1)), 0U);
}

}  // namespace tests
