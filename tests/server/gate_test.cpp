// The way of every request through the gate, without a network.
#include "tests/server/gate_house.h"

#include "server/gate_trace.h"

namespace tests {
namespace {

// The identity provider does not answer.
class UnreachableVerifier final : public server::CredentialVerifier {
public:
    server::AuthenticationMethod method() const noexcept override {
        return server::AuthenticationMethod::introspection;
    }
    bool recognizes(std::string_view /*credential*/) const override { return true; }
    server::Caller verify(std::string_view /*credential*/) override {
        throw base::Error(base::ErrorCode::unavailable, "try again");
    }
};

bool says(const Response& response, std::string_view text) {
    return std::string_view(response.body).find(text) != std::string_view::npos;
}

TEST_F(GateTest, AdmitTakesBodiesOfAllRoutesAlikeButOfWhoShowsNothing) {
    const auto admit = [this](Method method, std::string_view path, bool with_certificate = true) {
        return gate_->admit(request(method, path, with_certificate));
    };
    EXPECT_EQ(std::get<std::size_t>(admit(Method::POST, "/things/a")), 100U);
    EXPECT_EQ(std::get<std::size_t>(admit(Method::GET, "/watch")), 100U);
    EXPECT_EQ(std::get<std::size_t>(admit(Method::GET, "/nothing")), 100U);
    EXPECT_EQ(std::get<std::size_t>(admit(Method::GET, "/open", false)), 0U);
    // What is larger than all others' is taken on its own path only.
    EXPECT_EQ(std::get<std::size_t>(admit(Method::POST, "/large")),
              server::ordinary_body_bytes + 1);
    EXPECT_EQ(std::get<Response>(admit(Method::POST, "/large", false)).status, 401U);
    for (const char* path : {"/things/a", "/nothing", "/things/a%2Fb", "/things/.."}) {
        const auto refused = std::get<Response>(admit(Method::POST, path, false));
        EXPECT_EQ(refused.status, 401U) << path;
        EXPECT_FALSE(header_of(refused, "WWW-Authenticate").empty());
        EXPECT_FALSE(header_of(refused, "X-Request-Id").empty());
    }
    EXPECT_TRUE(recorded(R"("authentication":"no_credential")"));
}

TEST_F(GateTest, WhatIsNoRouteIsToldAndRecorded) {
    const Response unknown = ask(request(Method::GET, "/nothing"));
    EXPECT_EQ(unknown.status, 404U);
    EXPECT_TRUE(says(unknown, "not_found"));
    const Response method = ask(request(Method::GET, "/things/a"));
    EXPECT_EQ(method.status, 405U);
    EXPECT_EQ(header_of(method, "Allow"), "POST");
    for (const char* path : {"/things/a%2Fb", "/things/a%00", "/things/%zz", "/things/.."}) {
        EXPECT_EQ(ask(request(Method::POST, path)).status, 400U);
    }
    Request large = request(Method::POST, "/things/a");
    large.body = std::string(101, ' ');
    const Response too_large = ask(std::move(large));
    EXPECT_EQ(too_large.status, 413U);
    EXPECT_TRUE(says(too_large, "larger than 100 bytes"));
    EXPECT_TRUE(name_.empty());
    for (const char* word : {"not_found", "method_not_allowed", "payload_too_large"}) {
        EXPECT_NE(records().find(word), std::string::npos) << word;
    }
}

TEST_F(GateTest, AnAnswerComesWithItsRecordAndItsRequestId) {
    const Response answer = ask(request(Method::POST, "/things/some%20thing"));
    EXPECT_EQ(answer.status, 200U);
    EXPECT_EQ(name_, "some thing");
    const std::string id = header_of(answer, "X-Request-Id");
    EXPECT_EQ(id.size(), 36U);
    const std::string all = records();
    EXPECT_NE(all.find(id), std::string::npos);
    EXPECT_NE(all.find("read_thing"), std::string::npos);
    EXPECT_NE(all.find("spiffe://t/app"), std::string::npos);
}

TEST_F(GateTest, WhomTheConnectionShowedIsTheCallerOfItsRequests) {
    Request of_connection = request(Method::POST, "/things/a");
    auto shown = *gate_->recognize(of_connection);
    EXPECT_EQ(shown.id, "spiffe://t/app");
    shown.address = "192.0.2.7";
    of_connection.connected = std::make_shared<const server::Caller>(shown);
    EXPECT_EQ(ask(std::move(of_connection)).status, 200U);
    EXPECT_TRUE(recorded(R"("address":"192.0.2.7")"));
}

TEST_F(GateTest, TheCallersOwnRequestIdIsNotTaken) {
    Request with_id = request(Method::POST, "/things/a");
    with_id.headers["x-request-id"] = "11111111-1111-4111-8111-111111111111";
    EXPECT_NE(header_of(ask(std::move(with_id)), "X-Request-Id"),
              "11111111-1111-4111-8111-111111111111");
}

TEST_F(GateTest, NobodyIsRefusedWithARecordWhereACallerIsNeeded) {
    const Response answer = ask(request(Method::POST, "/things/a", false));
    EXPECT_EQ(answer.status, 401U);
    EXPECT_TRUE(says(answer, "unauthenticated"));
    EXPECT_TRUE(name_.empty());
    EXPECT_EQ(header_of(answer, "WWW-Authenticate"),
              R"(TLS-Client-Certificate realm="strongroom")");
    EXPECT_NE(records().find("unauthenticated"), std::string::npos);
    EXPECT_NE(records().find(R"("authentication":"no_credential")"), std::string::npos);
    EXPECT_EQ(ask(request(Method::GET, "/watch", false)).status, 401U);
}

TEST_F(GateTest, AWrongBearerIsRefusedOnAGoodConnectionAndQuotedNowhere) {
    Request with_bearer = request(Method::POST, "/things/a");
    with_bearer.headers["authorization"] = "Bearer not-a-good-one";
    const Response answer = ask(std::move(with_bearer));
    EXPECT_EQ(answer.status, 401U);
    EXPECT_TRUE(name_.empty());
    EXPECT_FALSE(says(answer, "not-a-good-one"));
    const std::string all = records();
    EXPECT_NE(all.find("spiffe://t/app"), std::string::npos);  // whose connection it was
    EXPECT_NE(all.find(R"("authentication":"unknown_form")"), std::string::npos);
    EXPECT_EQ(all.find("not-a-good-one"), std::string::npos);
}

TEST_F(GateTest, OpenAndObservedAreNotRecordedUnlessRefused) {
    EXPECT_EQ(ask(request(Method::GET, "/open", false)).status, 200U);
    EXPECT_EQ(ask(request(Method::GET, "/watch")).status, 200U);
    EXPECT_EQ(records().find("observe"), std::string::npos);
    EXPECT_EQ(ask(request(Method::GET, "/watch", false)).status, 401U);
    EXPECT_NE(records().find("observe"), std::string::npos);
}

TEST_F(GateTest, EveryErrorOfARouteWithAShapeHasTheShape) {
    const Response over = ask(request(Method::POST, "/shaped/over"));
    EXPECT_EQ(over.status, 429U);
    EXPECT_EQ(over.body, R"({"success":false,"why":"too much"})");
    EXPECT_EQ(header_of(over, "Retry-After"), "9");
    const Response nobody = ask(request(Method::POST, "/shaped/over", false));
    EXPECT_EQ(nobody.status, 401U);
    EXPECT_TRUE(says(nobody, R"({"success":false,"why":)"));
    EXPECT_FALSE(header_of(nobody, "WWW-Authenticate").empty());
    Request text = request(Method::POST, "/shaped/over");
    text.body = "x";
    text.headers["content-type"] = "text/plain";
    const Response media = ask(std::move(text));
    EXPECT_EQ(media.status, 415U);
    EXPECT_TRUE(says(media, R"({"success":false)"));
    // What the edge refuses by itself.
    const Response large = gate_->refuse(request(Method::POST, "/shaped/over"),
                                         {base::ErrorCode::payload_too_large, "too large"});
    EXPECT_EQ(large.status, 413U);
    EXPECT_EQ(large.body, R"({"success":false,"why":"too large"})");
    EXPECT_FALSE(header_of(large, "X-Request-Id").empty());
    // The record has the status that was answered.
    EXPECT_EQ(ask(request(Method::POST, "/shaped/broken")).status, 418U);
    EXPECT_NE(records().find(R"("status":418)"), std::string::npos);
}

TEST_F(GateTest, EveryErrorIsAnsweredAndRecordedWithoutItsDetail) {
    const Response denied = ask(request(Method::POST, "/fail/denied"));
    EXPECT_EQ(denied.status, 403U);
    EXPECT_NE(records().find("denied"), std::string::npos);
    const Response unavailable = ask(request(Method::POST, "/fail/unavailable"));
    EXPECT_EQ(unavailable.status, 503U);
    EXPECT_EQ(header_of(unavailable, "Retry-After"), "1");
    const Response strange = ask(request(Method::POST, "/fail/strange"));
    EXPECT_EQ(strange.status, 500U);
    for (const Response* answer : {&denied, &unavailable, &strange}) {
        EXPECT_FALSE(says(*answer, "inner detail"));
        for (const auto& [name, value] : answer->headers) {
            EXPECT_EQ((name + value).find("detail"), std::string::npos) << name;
        }
        EXPECT_TRUE(says(*answer, header_of(*answer, "X-Request-Id")));
    }
    const std::string all = records();
    EXPECT_NE(all.find("internal"), std::string::npos);
    EXPECT_EQ(all.find("inner detail"), std::string::npos);
}

TEST_F(GateTest, WithoutItsRecordAnAnswerIsWithheld) {
    ASSERT_EQ(ask(request(Method::POST, "/things/a")).status, 200U);
    const FullDisk disk = full_disk();
    const Response answer = ask(request(Method::POST, "/things/a"));
    disk.make_room();
    EXPECT_EQ(answer.status, 503U);
    EXPECT_TRUE(says(answer, "the audit log can't be written"));
    EXPECT_FALSE(says(answer, "\"status\":\"ok\""));
    EXPECT_TRUE(recorded("withheld"));
    EXPECT_EQ(ask(request(Method::POST, "/things/a")).status, 200U);
}

TEST_F(GateTest, WhoAsksForAReceiptLearnsTheLeafOfItsRecord) {
    auto asking = request(Method::POST, "/things/a");
    asking.headers["strongroom-receipt"] = "yes";
    const std::string first = header_of(ask(asking), "Strongroom-Receipt");
    EXPECT_EQ(first, "node/strongroom/test 0");
    EXPECT_EQ(header_of(ask(request(Method::POST, "/things/a")), "Strongroom-Receipt"), "");
    asking.path = "/fail/denied";
    EXPECT_EQ(header_of(ask(asking), "Strongroom-Receipt"), "node/strongroom/test 2")
        << "a refusal is a record as well";
    asking.path = "/watch";
    asking.method = Method::GET;
    EXPECT_EQ(header_of(ask(asking), "Strongroom-Receipt"), "") << "nothing is recorded";
    auto nobody = request(Method::POST, "/things/a", false);
    nobody.headers["strongroom-receipt"] = "yes";
    EXPECT_EQ(header_of(ask(nobody), "Strongroom-Receipt"), "");
}

TEST_F(GateTest, GoodAnswersToKnownCallersNameTheLatestCheckpoint) {
    gate_.reset();
    gate_ = std::make_unique<server::Gate>(server::GateConfig{}, routes_, authenticator_,
                                           authorizer_, audit_, metrics_, clock_, log_,
                                           [] { return std::string("log 1 root"); });
    const auto named = [&](Request request) {
        return header_of(ask(std::move(request)), "Strongroom-Checkpoint");
    };
    EXPECT_EQ(named(request(Method::POST, "/things/a")), "log 1 root");
    EXPECT_EQ(named(request(Method::GET, "/open", false)), "");
    EXPECT_EQ(named(request(Method::POST, "/fail/denied")), "");
}

TEST_F(GateTest, WhileTheLogIsBrokenNothingIsDone) {
    ASSERT_EQ(ask(request(Method::POST, "/things/before")).status, 200U);
    const FullDisk disk = full_disk();
    // The first finds it out when its work is done, the next are not worked on.
    const Response first = ask(request(Method::POST, "/things/first"));
    const Response second = ask(request(Method::POST, "/things/second"));
    const Response open = ask(request(Method::GET, "/open", false));
    const Response watch = ask(request(Method::GET, "/watch"));
    const std::string last_name = name_;
    disk.make_room();
    EXPECT_EQ(first.status, 503U);
    EXPECT_EQ(second.status, 503U);
    EXPECT_TRUE(says(second, "the audit log can't be written"));
    EXPECT_EQ(last_name, "first");
    EXPECT_EQ(open.status, 200U);
    EXPECT_EQ(watch.status, 200U);
    // With space again it heals by itself, without a request.
    EXPECT_TRUE(recorded(header_of(second, "X-Request-Id")));
    EXPECT_TRUE(log_heals());
    EXPECT_EQ(ask(request(Method::POST, "/things/after")).status, 200U);
    EXPECT_EQ(name_, "after");
}

// The queue of records that wait holds 16,384; refusals may take a quarter of it.
TEST_F(GateTest, WhileTheLogIsBrokenRefusalsLeaveRoomForTheRecordOfWhatWasBegun) {
    auto held = begin(request(Method::POST, "/hold"));
    wait_for_held(1);
    const FullDisk disk = full_disk();
    std::vector<std::future<Response>> refused;
    for (int i = 0; i < 17'000; ++i) refused.push_back(begin(request(Method::POST, "/nowhere")));
    for (auto& answer : refused) EXPECT_NE(answer.get().status, 200U);
    release();
    const Response answer = held.get();
    disk.make_room();
    EXPECT_EQ(answer.status, 503U);
    EXPECT_TRUE(recorded("drop_records")) << "there was more than fits";
    EXPECT_TRUE(recorded(header_of(answer, "X-Request-Id")));
}

TEST_F(GateTest, ABodyMustBeJson) {
    for (const char* type :
         {"", "text/plain", "application/jsonx", "application/xml;a=application/json"}) {
        Request with_body = request(Method::POST, "/things/a");
        with_body.body = "{}";
        with_body.headers["content-type"] = type;
        EXPECT_EQ(ask(std::move(with_body)).status, 415U) << type;
    }
    for (const char* type : {"application/json", "Application/JSON; charset=utf-8"}) {
        Request with_body = request(Method::POST, "/things/a");
        with_body.body = "{}";
        with_body.headers["content-type"] = type;
        EXPECT_EQ(ask(std::move(with_body)).status, 200U) << type;
    }
}

TEST_F(GateTest, AWellFormedTraceIsPassedOnAndAnythingElseReplaced) {
    const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    Request traced = request(Method::POST, "/things/a");
    traced.headers["traceparent"] = good;
    ask(std::move(traced));
    EXPECT_EQ(traceparent_, good);
    for (const std::string& bad :
         std::vector<std::string>{"", "junk", "01" + good.substr(2), good + "0",
                                  "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                  "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                                  "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}) {
        std::array<std::uint8_t, server::trace_random_bytes> drawn{};
        const std::string made = server::traceparent_for(bad, drawn);
        EXPECT_NE(made, bad);
        EXPECT_EQ(made, server::traceparent_for(made, drawn)) << made;
        drawn.fill(0xA5);
        EXPECT_EQ(server::traceparent_for(bad, drawn),
                  "00-a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5-a5a5a5a5a5a5a5a5-00");
    }
}

TEST_F(GateTest, BeyondTheQueueRequestsAreRefusedAtOnce) {
    make_gate({1, 1});
    auto running = begin(request(Method::POST, "/hold"));
    wait_for_held(1);
    auto queued = begin(request(Method::POST, "/hold"));
    const Response refused = ask(request(Method::POST, "/things/a"));
    EXPECT_EQ(refused.status, 503U);
    EXPECT_TRUE(says(refused, "unavailable"));
    release();
    EXPECT_EQ(running.get().status, 200U);
    EXPECT_EQ(queued.get().status, 200U);
}

TEST_F(GateTest, WhatWaitedTooLongIsRefusedAndNotDone) {
    EXPECT_EQ(server::GateConfig().longest_wait, std::chrono::seconds(10));
    make_gate({1, 10, std::chrono::milliseconds(0)});
    const Response refused = ask(request(Method::POST, "/things/late"));
    EXPECT_EQ(refused.status, 503U);
    EXPECT_TRUE(says(refused, "try again later"));
    EXPECT_EQ(name_, "") << "the handler was called";
    EXPECT_TRUE(recorded(R"("unavailable")"));
    EXPECT_EQ(ask(request(Method::GET, "/open")).status, 200U);
}

// A worker that has nothing more to do keeps what it worked on, but not who asked.
TEST_F(GateTest, WhoWasAnsweredIsLetGo) {
    auto connection = std::make_shared<std::promise<void>>();
    const std::weak_ptr<std::promise<void>> left = connection;
    auto answered = connection->get_future();
    gate_->handle(request(Method::POST, "/things/a"),
                  [connection = std::move(connection)](const Response& /*response*/) {
                      connection->set_value();
                  });
    answered.get();
    ASSERT_TRUE(gate_->drain(std::chrono::seconds(10)));
    EXPECT_TRUE(left.expired());
}

TEST_F(GateTest, DrainWaitsForWhatRunsAndRefusesNewWork) {
    auto running = begin(request(Method::POST, "/hold"));
    wait_for_held(1);
    EXPECT_FALSE(gate_->drain(std::chrono::milliseconds(20)));
    EXPECT_EQ(ask(request(Method::POST, "/things/a")).status, 503U);
    release();
    EXPECT_TRUE(gate_->drain(std::chrono::seconds(10)));
    EXPECT_EQ(running.get().status, 200U);
}

TEST_F(GateTest, WhatIsQueuedAtTheEndIsAnsweredNotRun) {
    make_gate({1, 10});
    auto running = begin(request(Method::POST, "/hold"));
    wait_for_held(1);
    auto queued = begin(request(Method::POST, "/things/never"));
    auto ending = std::async(std::launch::async, [this] { gate_.reset(); });
    while (queued.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) release();
    EXPECT_EQ(running.get().status, 200U);
    ending.get();
}

// Requests that wait while the only worker is held, then released.
class JointGateTest : public GateTest {
protected:
    std::vector<Response> ask_together(const std::vector<std::string>& bodies) {
        make_gate({1, 10});
        auto running = begin(request(Method::POST, "/hold"));
        wait_for_held(1);
        std::vector<std::future<Response>> begun;
        for (const auto& body : bodies) {
            Request wanted = request(Method::POST, "/joint", body != "stranger");
            wanted.body = body;
            wanted.headers["content-type"] = "application/json";
            begun.push_back(begin(std::move(wanted)));
        }
        release();
        running.get();
        std::vector<Response> answers;
        for (auto& each : begun) answers.push_back(each.get());
        return answers;
    }

    std::size_t count_records(std::string_view text) const {
        std::ifstream log(directory_.path() / "audit.jsonl");
        const std::string all(std::istreambuf_iterator<char>(log), {});
        std::size_t count = 0;
        for (auto at = all.find(text); at != std::string::npos; at = all.find(text, at + 1))
            ++count;
        return count;
    }
};

TEST_F(JointGateTest, RequestsHandledTogetherEachHaveTheirAnswerAndTheirRecord) {
    const auto answers = ask_together({R"("a")", R"("fail")", R"("b")", R"("strange")"});
    EXPECT_EQ(groups_, std::vector<std::size_t>{4});
    EXPECT_EQ(answers[0].status, 200U);
    EXPECT_EQ(answers[1].status, 409U);
    EXPECT_EQ(answers[2].status, 200U);
    EXPECT_EQ(answers[3].status, 500U);
    EXPECT_FALSE(says(answers[3], "inner detail"));
    for (const Response& answer : answers) {
        EXPECT_EQ(count_records(header_of(answer, "X-Request-Id")), 1U);
    }
}

TEST_F(JointGateTest, WhoIsRefusedBeforeIsNoPartOfTheGroup) {
    const auto answers = ask_together({R"("a")", "stranger", R"("b")"});
    EXPECT_EQ(groups_, std::vector<std::size_t>{2});
    EXPECT_EQ(answers[0].status, 200U);
    EXPECT_EQ(answers[1].status, 401U);
    EXPECT_EQ(answers[2].status, 200U);
}

TEST_F(JointGateTest, WhatMeetsAllIsToldToAll) {
    for (const Response& answer : ask_together({R"("a")", R"("all")"})) {
        EXPECT_EQ(answer.status, 503U);
        EXPECT_FALSE(says(answer, "inner detail"));
    }
}

TEST_F(JointGateTest, WhatWasFoundOfOneStandsWhateverMeetsTheOthers) {
    const auto answers = ask_together({R"("fail")", R"("all")"});
    EXPECT_EQ(answers[0].status, 409U);
    EXPECT_EQ(answers[1].status, 503U);
}

TEST_F(JointGateTest, WhomTheJointHandlerForgetsHearsOfOurMistake) {
    const auto answers = ask_together({R"("none")", R"("a")"});
    EXPECT_EQ(answers[0].status, 500U);
    EXPECT_EQ(answers[1].status, 200U);
}

TEST_F(GateTest, TheEdgesRefusalsAreRecordedWithWhatIsKnown) {
    const Response answer = gate_->refuse(request(Method::POST, "/things/a"),
                                          {base::ErrorCode::payload_too_large, "too large"});
    EXPECT_EQ(answer.status, 413U);
    EXPECT_EQ(header_of(answer, "X-Request-Id").size(), 36U);
    EXPECT_TRUE(recorded("payload_too_large"));
    EXPECT_NE(records().find("read_thing"), std::string::npos);
    gate_->refuse(Request(), {base::ErrorCode::request_timeout, "too slow"});
    EXPECT_TRUE(recorded("request_timeout"));
    EXPECT_NE(records().find("unknown"), std::string::npos);
}

// 415 is for callers with a right; who has none is refused by the policy, on record.
TEST_F(GateTest, WhatIsWrongWithARequestIsNotForWhoMayDoNothing) {
    Request with_body = request(Method::POST, "/things/a");
    with_body.certificate = std::make_shared<const server::PeerCertificate>(
        server::PeerCertificate{"CN=x", {"spiffe://t/stranger"}, "ab"});
    with_body.body = "{}";
    with_body.headers["content-type"] = "text/plain";
    EXPECT_EQ(ask(std::move(with_body)).status, 403U);
    EXPECT_TRUE(recorded(R"("rule":"default-deny")"));
    EXPECT_TRUE(recorded(R"("error":"permission_denied")"));
    // Our own trouble is told: it says nothing of what there is.
    Request failing = request(Method::POST, "/fail/later");
    failing.certificate = std::make_shared<const server::PeerCertificate>(
        server::PeerCertificate{"CN=x", {"spiffe://t/stranger"}, "ab"});
    EXPECT_EQ(ask(std::move(failing)).status, 503U);
}

TEST_F(GateTest, WhatStrangersMakeFailIsLoggedUpToARate) {
    server::AuthenticatorParts parts;
    parts.bearers.push_back(std::make_shared<UnreachableVerifier>());
    const server::Authenticator unreachable(std::move(parts));
    gate_ = std::make_unique<server::Gate>(server::GateConfig{}, routes_, unreachable, authorizer_,
                                           audit_, metrics_, clock_, log_);
    testing::internal::CaptureStderr();
    for (int i = 0; i < 200; ++i) {
        Request asking = request(Method::POST, "/things/a", false);
        asking.headers["authorization"] = "Bearer anything";
        EXPECT_EQ(ask(std::move(asking)).status, 503U);
    }
    gate_.reset();
    const std::string lines = testing::internal::GetCapturedStderr();
    const auto count = std::count(lines.begin(), lines.end(), '\n');
    EXPECT_GE(count, 20);
    EXPECT_LT(count, 60) << "a burst, and one in each second";
}

TEST_F(GateTest, AFloodOfStrangersIsRecordedUpToARateAndCounted) {
    for (int i = 0; i < 2000; ++i) {
        gate_->refuse(request(Method::GET, "/nothing", false),
                      {base::ErrorCode::not_found, "no such path"});
    }
    EXPECT_LT(audit_.records_written(), 1000U);
    EXPECT_NE(metrics_.text().find("refusals_not_recorded"), std::string::npos);
    // A caller is always recorded.
    const auto before = records().size();
    EXPECT_EQ(ask(request(Method::POST, "/things/a")).status, 200U);
    EXPECT_GT(records().size(), before);
}

}  // namespace
}  // namespace tests
