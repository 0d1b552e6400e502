// A server that calls for a user: what both may do, what both are charged, and what is recorded.
#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "server/gate.h"
#include "server/policy.h"
#include "tests/server/budget_house.h"

namespace tests {
namespace {

using server::AuthenticationMethod;
using server::Operation;
using server::Request;
using server::Response;

// Anybody who shows "<prefix><name>" is that.
class Trusting final : public server::CredentialVerifier {
public:
    Trusting(AuthenticationMethod method, std::string prefix)
        : method_(method), prefix_(std::move(prefix)) {}
    AuthenticationMethod method() const noexcept override { return method_; }
    bool recognizes(std::string_view /*credential*/) const override { return true; }
    server::Caller verify(std::string_view credential) override {
        server::Caller caller;
        caller.id = prefix_ + std::string(credential);
        caller.method = method_;
        return caller;
    }

private:
    AuthenticationMethod method_;
    std::string prefix_;
};

constexpr std::string_view user_policy = R"({"version":1,
  "roles":{"server":[{"id":"server-all","effect":"allow","actions":["read"],"resources":["key:*"]}],
           "user":[{"id":"user-own","effect":"allow","actions":["read"],"resources":["key:own-*"]}]},
  "bindings":[{"caller":"secret:sync","roles":["server"]},{"caller":"user:*","roles":["user"]}]})";

// Users have 2 reads an hour, servers 100.
constexpr std::string_view user_tiers = R"({"version":1,"tiers":{
    "user":[{"id":"all","actions":["*"],"quota":{"hour":2}}],
    "server":[{"id":"all","actions":["*"],"quota":{"hour":100}}]},
  "bindings":[{"caller":"secret:*","tier":"server"}],"default":"user"})";

class UserBesideServer : public BudgetsTest {
protected:
    std::vector<server::Route> rows() {
        const server::Handler read = [this](Operation& operation, const Request& request) {
            server::Resource resource = record(request.path_parameter("key"));
            may_ever_ = authorizer_.may_ever(operation, {"read"});
            static_cast<void>(authorizer_.authorize(operation, {"read"}, resource));
            return Response{};
        };
        server::Route with{server::Method::GET,
                           "/with/{key}",
                           {"read"},
                           server::Access::authenticated,
                           0,
                           "",
                           read};
        server::Route without = with;
        without.pattern = "/without/{key}";
        with.credential = server::Credential::shared_secret;
        return {with, without};
    }

    static server::AuthenticatorParts parts() {
        server::AuthenticatorParts parts;
        parts.shared_secrets =
            std::make_shared<Trusting>(AuthenticationMethod::shared_secret, "secret:");
        parts.bearers = {std::make_shared<Trusting>(AuthenticationMethod::jwt, "user:")};
        return parts;
    }

    Response ask(const std::string& path, const std::string& secret, const std::string& bearer) {
        Request request;
        request.path = path;
        request.peer_address = "192.0.2.7";
        request.received = std::chrono::steady_clock::now();
        if (!secret.empty()) request.headers["x-strongroom-secret"] = secret;
        if (!bearer.empty()) request.headers["authorization"] = "Bearer " + bearer;
        auto promise = std::make_shared<std::promise<Response>>();
        gate_.handle(std::move(request),
                     [promise](Response answer) { promise->set_value(std::move(answer)); });
        return promise->get_future().get();
    }
    unsigned status(const std::string& path, const std::string& secret, const std::string& bearer) {
        return ask(path, secret, bearer).status;
    }

    std::string last_record() const {
        std::ifstream file(folder_ / "audit/audit.jsonl");
        std::string line;
        std::string last;
        while (std::getline(file, line)) last = line;
        return last;
    }

    std::unique_ptr<server::Budgets> budgets_ = budgets(std::string(user_tiers));
    base::Log denials_{"test", base::LogLevel::info};
    server::Authorizer authorizer_{server::parse_policy(user_policy, budget_words),
                                   nullptr,
                                   {nullptr, &denials_, budgets_.get()}};
    bool may_ever_ = false;
    server::RouteTable routes_{rows()};
    server::Authenticator authenticator_{parts()};
    server::Metrics metrics_{"test"};
    server::AuditLog audit_{
        {folder_ / "audit", "test", "node", std::chrono::milliseconds(5000)}, clock_, log_};
    server::Gate gate_{{2, 64}, routes_,  authenticator_, authorizer_,
                       audit_,  metrics_, clock_,         log_};
};

TEST_F(UserBesideServer, IsAllowedOnlyWhatBothAre) {
    EXPECT_EQ(status("/with/own-1", "sync", "ann"), 200U);
    EXPECT_EQ(status("/with/other", "sync", "ann"), 403U);  // the server alone might
    EXPECT_EQ(status("/with/other", "sync", {}), 200U);
    EXPECT_EQ(status("/with/own-1", "stranger", "ann"), 403U);  // the user alone might
    EXPECT_EQ(status("/with/own-1", {}, "ann"), 401U);          // a user needs the server
    EXPECT_EQ(status("/with/own-1", "sync", "bob"), 200U);
    EXPECT_TRUE(may_ever_);
    EXPECT_EQ(status("/with/own-1", "stranger", "bob"), 403U);
    EXPECT_FALSE(may_ever_);
}

TEST_F(UserBesideServer, IsRefusedWhereTheRouteTakesNone) {
    EXPECT_EQ(status("/without/own-1", "sync", "ann"), 401U);
    EXPECT_EQ(status("/without/own-1", "sync", {}), 200U);
}

TEST_F(UserBesideServer, IsChargedAsTheServerIs) {
    EXPECT_EQ(status("/with/own-1", "sync", "ann"), 200U);
    EXPECT_EQ(status("/with/own-2", "sync", "ann"), 200U);
    EXPECT_EQ(status("/with/own-3", "sync", "ann"), 429U);
    EXPECT_EQ(status("/with/own-3", "sync", "bob"), 200U);
    const auto used = [this](const std::string& caller) {
        const auto usage = budgets_->usage(caller);
        return usage.empty() ? 0U : usage.front().used;
    };
    EXPECT_EQ(used("user:ann"), 2U);
    EXPECT_EQ(used("user:bob"), 1U);
    EXPECT_EQ(used("secret:sync"), 3U);  // one user's overrun costs it nothing
}

TEST_F(UserBesideServer, IsRefusedWhenTheUsersBudgetCannotBeChecked) {
    EXPECT_EQ(status("/with/own-1", "sync", "ann"), 200U);
    database_.writes_fail = true;
    const Response answer = ask("/with/own-1", "sync", "bob");
    EXPECT_EQ(answer.status, 503U);
    EXPECT_NE(std::string_view(answer.body).find("quota_check_failed"), std::string_view::npos);
}

TEST_F(UserBesideServer, StandsInTheLogBesideTheServerEachWithItsRule) {
    const auto line_of = [this](const std::string& secret, const std::string& bearer) {
        testing::internal::CaptureStderr();
        EXPECT_EQ(status("/with/other", secret, bearer), 403U);
        return testing::internal::GetCapturedStderr();
    };
    const std::string line = line_of("sync", "ann");
    for (const auto* part : {R"("caller":"secret:sync")", R"("rule":"server-all")",
                             R"("user":"user:ann")", R"("user_rule":"default-deny")"}) {
        EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
    }
    const std::string of_server = line_of("stranger", "ann");
    for (const auto* part :
         {R"("caller":"secret:stranger")", R"("rule":"default-deny")", R"("user":"user:ann")"}) {
        EXPECT_NE(of_server.find(part), std::string::npos) << part << " in " << of_server;
    }
    EXPECT_EQ(of_server.find("user_rule"), std::string::npos) << of_server;
}

TEST_F(UserBesideServer, StandsInTheRecordWithBothDecisions) {
    EXPECT_EQ(status("/with/other", "sync", "ann"), 403U);
    const std::string record = last_record();
    EXPECT_NE(record.find(R"("caller":{"id":"secret:sync")"), std::string::npos) << record;
    EXPECT_NE(record.find(R"("user":{"id":"user:ann")"), std::string::npos) << record;
    EXPECT_NE(record.find(R"("allowed":true,"rule":"server-all")"), std::string::npos) << record;
    EXPECT_NE(record.find(R"("allowed":false,"rule":"default-deny")"), std::string::npos) << record;
    EXPECT_NE(record.find(R"("of":"user")"), std::string::npos) << record;
}

}  // namespace
}  // namespace tests
