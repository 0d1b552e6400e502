// What those hear who are nobody, or may do nothing, over real connections: the whole way from the
// edge through admit() to the answer. A route that is there must look like one that is not.
#include <gtest/gtest.h>

#include "server/answer.h"
#include "server/gate.h"
#include "server/policy.h"
#include "server/shared_secret.h"
#include "tests/server/edge_house.h"
#include "tests/support/fake_clock.h"

namespace tests {
namespace {

using server::Access;
using server::Method;

constexpr server::Action use_thing{"use_thing"};

// Recognizes every bearer and accepts none.
class NoBearer final : public server::CredentialVerifier {
public:
    server::AuthenticationMethod method() const noexcept override {
        return server::AuthenticationMethod::introspection;
    }
    bool recognizes(std::string_view /*credential*/) const override { return true; }
    server::Caller verify(std::string_view /*credential*/) override {
        throw base::Error(base::ErrorCode::unauthenticated, "the credential is not accepted",
                          "token_unknown");
    }
};

class StrangerTest : public testing::Test {
protected:
    StrangerTest() {
        house_.config.head_deadline = std::chrono::seconds(20);
        house_.config.request_deadline = std::chrono::seconds(20);
        edge_.emplace(house_.config, gate_, house_.metrics, house_.log);
        edge_->start();
    }

    std::vector<server::Route> rows() {
        const server::Handler fine = [](server::Operation&, const server::Request&) {
            return server::Response{};
        };
        const server::Handler asking = [this](server::Operation& operation,
                                              const server::Request&) {
            static_cast<void>(authorizer_.authorize(operation, use_thing, {}));
            return server::Response{};
        };
        return {{Method::GET, "/open", use_thing, Access::open, 0, "", fine},
                {Method::GET, "/watch", use_thing, Access::observed, 0, "", asking},
                {Method::POST, "/things/{name}", use_thing, Access::authenticated, 10, "", asking},
                {Method::PUT, "/large", use_thing, Access::authenticated, 5000, "", asking}};
    }

    static server::Authenticator authenticator() {
        server::AuthenticatorParts parts;
        parts.bearers = {std::make_shared<NoBearer>()};
        const auto secret = server::make_shared_secret();
        parts.shared_secrets =
            std::make_shared<server::SharedSecrets>(std::vector<server::SharedSecretCaller>{
                {"sync",
                 {server::parse_shared_secret_hash(
                     server::shared_secret_hash(secret.expose_text()))}}});
        parts.secret_headers = {"x-secret"};
        return server::Authenticator(std::move(parts));
    }

    // Sends it on a connection of its own.
    WireAnswer ask(const std::string& bytes, const std::optional<CertificateFiles>& who = {}) {
        RawClient peer(edge_->port(), ClientOptions{house_.pki.ca(), who, 0, {}});
        return peer.ask(bytes);
    }

    static std::string request(std::string_view line, std::string_view header = {},
                               std::size_t body = 0) {
        std::string text = std::string(line) + " HTTP/1.1\r\nHost: h\r\n" + std::string(header);
        if (body > 0) {
            text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body) +
                    "\r\n";
        }
        return text + "\r\n" + std::string(body, ' ');
    }

    // Known and unknown paths, with right and wrong methods and bodies of all sizes.
    static std::vector<std::string> everything(std::string_view header) {
        return {request("GET /watch", header),
                request("POST /things/a", header, 5),
                request("GET /things/a", header),
                request("DELETE /things/a", header),
                request("POST /things/a", header, 4999),
                request("PUT /large", header, 5000),
                request("POST /large", header, 11),
                request("GET /nothing", header),
                request("POST /nothing", header, 5000),
                request("PUT /things/a/b/c", header, 1),
                request("GET /things/a%2Fb", header),
                request("POST /things/%zz", header),
                request("GET /", header),
                request("POST /watch", header, 1),
                request("GET /watch?x=1", header),
                request("POST /things/..", header)};
    }

    // An answer without what differs from request to request.
    static std::string same_part(const WireAnswer& answer) {
        std::string text = std::to_string(answer.status) + "\n" + answer.head + answer.body;
        const std::string name = "X-Request-Id: ";
        const auto at = answer.head.find(name);
        EXPECT_NE(at, std::string::npos) << answer.head;
        const std::string id = answer.head.substr(at + name.size(), 36);
        for (std::size_t found = 0; (found = text.find(id)) != std::string::npos;) {
            text.replace(found, id.size(), "-");
        }
        for (const char* line : {"Date: ", "Connection: "}) {
            const auto begin = text.find(line);
            if (begin != std::string::npos) text.erase(begin, text.find('\n', begin) - begin + 1);
        }
        return text;
    }

    EdgeHouse house_;
    FakeClock clock_;
    server::RouteTable routes_{rows()};
    server::Authenticator authenticator_ = authenticator();
    server::Authorizer authorizer_{server::parse_policy(
        R"({"version":1,"roles":{"user":[{"id":"use","effect":"allow","actions":["use_thing"],
            "resources":["*"]}]},
            "bindings":[{"caller":"spiffe://strongroom/app","roles":["user"]}]})",
        {use_thing.word})};
    server::AuditLog audit_{
        {house_.directory / "audit", "test", "node", std::chrono::milliseconds(5000)},
        clock_,
        house_.log};
    server::Gate gate_{{2, 64}, routes_,        authenticator_, authorizer_,
                       audit_,  house_.metrics, clock_,         house_.log};
    std::optional<server::Edge> edge_;
};

TEST_F(StrangerTest, WhoIsNobodyHearsOneAndTheSame401FromEveryPathMethodAndSize) {
    const std::string secret = "X-Secret: " + std::string(43, 'x') + "\r\n";
    for (const std::string& header : {std::string(), std::string("Authorization: Bearer abc\r\n"),
                                      std::string("Authorization: Basic abc\r\n"), secret}) {
        std::string first;
        for (const std::string& bytes : everything(header)) {
            SCOPED_TRACE(bytes.substr(0, 100));
            const WireAnswer answer = ask(bytes);
            EXPECT_EQ(answer.status, 401);
            EXPECT_TRUE(answer.has("WWW-Authenticate: Bearer "));
            EXPECT_FALSE(answer.has("Allow"));
            if (first.empty()) first = same_part(answer);
            EXPECT_EQ(same_part(answer), first);
        }
    }
    EXPECT_EQ(ask(request("GET /open")).status, 200);
}

TEST_F(StrangerTest, WhoShowsNothingIsRefusedBeforeABodyIsRead) {
    for (const char* line : {"POST /things/a", "PUT /large", "POST /nothing"}) {
        const std::string head = std::string(line) + " HTTP/1.1\r\nHost: h\r\nContent-Length: 5000";
        EXPECT_EQ(ask(head + "\r\n\r\n").status, 401);
        EXPECT_EQ(ask(head + "\r\nExpect: 100-continue\r\n\r\n").status, 401);
        EXPECT_EQ(ask(head + "000000\r\n\r\n").status, 401);
    }
}

// The one bound that is told to who may be nobody is the same for every path.
TEST_F(StrangerTest, ABodyAboveTheLargestRoutesIsCutWithoutSayingWhatARouteTakes) {
    std::string first;
    for (const char* line : {"POST /things/a", "PUT /large", "POST /nothing", "POST /watch"}) {
        const WireAnswer answer = ask(
            std::string(line) +
            " HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer abc\r\nContent-Length: 5001\r\n\r\n");
        EXPECT_EQ(answer.status, 413) << line;
        if (first.empty()) first = same_part(answer);
        EXPECT_EQ(same_part(answer), first) << line;
    }
}

TEST_F(StrangerTest, WhoMayDoNothingHears403FromEveryPathMethodAndSize) {
    const auto stranger = house_.pki.client("stranger", "spiffe://strongroom/stranger");
    for (const std::string& bytes : everything({})) {
        SCOPED_TRACE(bytes.substr(0, 100));
        const WireAnswer answer = ask(bytes, stranger);
        EXPECT_EQ(answer.status, 403) << answer.body;
        EXPECT_FALSE(answer.has("Allow"));
    }
}

TEST_F(StrangerTest, WhoMayDoSomethingHearsWhatIsWrong) {
    const auto status = [this](const std::string& bytes) { return ask(bytes, house_.app).status; };
    EXPECT_EQ(status(request("GET /nothing")), 404);
    EXPECT_EQ(status(request("POST /nothing", {}, 5000)), 404);
    EXPECT_EQ(status(request("POST /things/a%2Fb")), 400);
    const WireAnswer method = ask(request("GET /things/a"), house_.app);
    EXPECT_EQ(method.status, 405);
    EXPECT_TRUE(method.has("Allow: POST\r\n"));
    const WireAnswer large = ask(request("POST /things/a", {}, 11), house_.app);
    EXPECT_EQ(large.status, 413);
    EXPECT_NE(large.body.find("larger than 10 bytes"), std::string::npos) << large.body;
    EXPECT_EQ(status(request("POST /watch", {}, 1)), 405);
    EXPECT_EQ(status(request("POST /things/a", {}, 10)), 200);
}

}  // namespace
}  // namespace tests
