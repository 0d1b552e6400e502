#include "server/idempotency.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/kms/api_calls.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/shared_store.h"

namespace tests {
namespace {

using server::Method;

class IdempotencyTest : public testing::Test {
protected:
    server::Response order(const std::string& idempotency_key, Method method,
                           const std::string& path, std::string_view body = {},
                           const std::string& caller = "root") {
        server::Operation operation = operation_of(caller);
        return send(rig_, operation, method, path, body, {},
                    {{"idempotency-key", base::WipedString(idempotency_key)}});
    }
    server::Response post(const std::string& idempotency_key, const std::string& path,
                          std::string_view body = {}, const std::string& caller = "root") {
        return order(idempotency_key, Method::POST, path, body, caller);
    }
    std::size_t keys() { return rig_.store.load().size(); }

    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
};

TEST_F(IdempotencyTest, TheSameOrderIsDoneOnceAndAnsweredTheSame) {
    const auto first = post("k1", "/v1/keys", R"({"alias":"a"})");
    EXPECT_EQ(first.status, 201U) << first.body;
    const auto again = post("k1", "/v1/keys", R"({"alias":"a"})");
    EXPECT_EQ(again.status, 201U);
    EXPECT_EQ(again.body, first.body);
    EXPECT_EQ(keys(), 1U);
    const std::string key = "/v1/keys/" + text_in(json_of(first), "id");
    const auto rotated = post("k2", key + "/rotate");
    EXPECT_EQ(rotated.status, 200U);
    EXPECT_EQ(post("k2", key + "/rotate").body, rotated.body);
    EXPECT_EQ(post("k3", key + "/rotate").status, 200U);
    EXPECT_EQ(rig_.store.load().at(0).primary_version, 3U);
}

TEST_F(IdempotencyTest, AnotherOrderWithTheSameKeyIsRefused) {
    const auto made = post("k", "/v1/keys", "{}");
    const std::string key = "/v1/keys/" + text_in(json_of(made), "id");
    for (const auto& other : {post("k", "/v1/keys", R"({"description":"d"})"),
                              post("k", key + "/rotate"), order("k", Method::PATCH, key, "{}")}) {
        EXPECT_TRUE(other.status == 409 || other.status == 400) << other.body;
    }
    EXPECT_EQ(post("k", key + "/disable").status, 409U);
    EXPECT_EQ(keys(), 1U);
    EXPECT_EQ(rig_.store.load().at(0).state, kms::KeyState::enabled);
}

TEST_F(IdempotencyTest, EachCallerHasKeysOfHisOwn) {
    EXPECT_EQ(post("k", "/v1/keys", "{}", "root").status, 201U);
    EXPECT_EQ(post("k", "/v1/keys", "{}", "operator").status, 201U);
    EXPECT_EQ(keys(), 2U);
}

TEST_F(IdempotencyTest, WhoMayNotIsRefusedBeforeAnythingIsRemembered) {
    EXPECT_EQ(post("k", "/v1/keys", "{}", "app").status, 403U);
    EXPECT_EQ(post("k", "/v1/keys", "{}", "nobody at all").status, 403U);
    EXPECT_EQ(keys(), 0U);
}

TEST_F(IdempotencyTest, AKeyIsOneTo128VisibleCharacters) {
    for (const auto& bad : {std::string(), std::string("a b"), std::string("\x7f"),
                            std::string("\xC3\xA4"), std::string(129, 'a')}) {
        EXPECT_EQ(post(bad, "/v1/keys", "{}").status, 400U);
    }
    EXPECT_EQ(post(std::string(128, '~'), "/v1/keys", "{}").status, 201U);
}

TEST_F(IdempotencyTest, WhatMayBeRepeatedAnywayTakesNoKey) {
    const auto key = rig_.create_key("credentials");
    const std::string path = "/v1/keys/" + key->id.to_string();
    for (const auto& [where, body] : std::vector<std::pair<std::string, std::string>>{
             {path + "/data-keys", "{}"},
             {path + "/encrypt", R"({"plaintext":"aGVsbG8="})"},
             {"/v1/decrypt", R"({"ciphertext":"aGVsbG8="})"},
             {"/v1/data-keys/unwrap", R"({"wrapped":"aGVsbG8="})"},
             {"/v1/data-keys/rewrap", R"({"wrapped":"aGVsbG8="})"},
             {path + "/sign", R"({"message":"aGVsbG8="})"},
             {path + "/mac", R"({"message":"aGVsbG8="})"}}) {
        EXPECT_EQ(post("k", where, body).status, 400U) << where;
    }
}

TEST_F(IdempotencyTest, ACreationThatDiedIsFinishedByTheRetryAndMakesNoSecondKey) {
    token_.dies_after_generate = true;
    EXPECT_EQ(post("k", "/v1/keys", R"({"alias":"a"})").status, 503U);
    token_.dies_after_generate = false;
    const auto retry = post("k", "/v1/keys", R"({"alias":"a"})");
    EXPECT_EQ(retry.status, 201U) << retry.body;
    EXPECT_EQ(text_in(json_of(retry), "state"), "enabled");
    EXPECT_EQ(keys(), 1U);
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
    EXPECT_NE(rig_.catalogue.snapshot()->find_alias("a"), nullptr);
}

TEST_F(IdempotencyTest, TroubleOfOursIsNotRemembered) {
    token_.is_away = true;
    EXPECT_EQ(post("k", "/v1/keys", "{}").status, 503U);
    token_.is_away = false;
    EXPECT_EQ(post("k", "/v1/keys", "{}").status, 201U);
}

TEST_F(IdempotencyTest, ARefusalIsTheAnswerWhateverHappensLater) {
    const auto key = rig_.create_key();
    const std::string path = "/v1/keys/" + key->id.to_string() + "/cancel-deletion";
    const auto first = post("c", path);
    EXPECT_EQ(first.status, 409U);
    post("s", "/v1/keys/" + key->id.to_string() + "/schedule-deletion");
    const auto again = post("c", path);
    EXPECT_EQ(again.status, 409U);
    EXPECT_EQ(*json_of(again).find("error")->find("message")->string(),
              *json_of(first).find("error")->find("message")->string());
    EXPECT_EQ(post("d", path).status, 200U) << "another order";
}

TEST_F(IdempotencyTest, AnOrderThatWasAppliedButNotAnsweredIsAnsweredFromTheRecord) {
    const auto key = rig_.create_key();
    server::Request request;
    request.method = Method::POST;
    request.path = "/somewhere";
    request.headers["idempotency-key"] = "k";
    auto operation = operation_of("root");
    int applied = 0;
    const auto work = [&](const std::string& id) -> server::Response {
        kms::Key record = *rig_.store.find(key->id);
        record.description = "applied";
        EXPECT_TRUE(rig_.store.update(record, id));
        ++applied;
        throw base::Error(base::ErrorCode::unavailable, "the node died here");
    };
    const auto again = [] {
        server::Response response;
        response.body = "from the record";
        return response;
    };
    EXPECT_ERROR(unavailable, rig_.idempotency.once(operation, request, work, again));
    EXPECT_EQ(rig_.idempotency.once(operation, request, work, again).body, "from the record");
    EXPECT_EQ(rig_.idempotency.once(operation, request, work, again).body, "from the record");
    EXPECT_EQ(applied, 1);
}

TEST_F(IdempotencyTest, AStoreThatCouldNotNoteTheAnswerDoesNotBlockTheKey) {
    SharedStore store(rig_.store);
    server::Idempotency idempotency(store, rig_.clock);
    server::Request request;
    request.method = Method::POST;
    request.path = "/somewhere";
    request.headers["idempotency-key"] = "k";
    auto operation = operation_of("root");
    int done = 0;
    const auto work = [&](const std::string&) {
        store.is_away = ++done == 1;
        return server::Response();
    };
    EXPECT_ERROR(unavailable, idempotency.once(operation, request, work));
    store.is_away = false;
    EXPECT_NO_THROW(static_cast<void>(idempotency.once(operation, request, work)));
    EXPECT_EQ(done, 2);
}

TEST_F(IdempotencyTest, AnOrderIsForTheKeyThatItsAliasNamedThen) {
    const auto first = rig_.create_key("a");
    const auto second = rig_.create_key();
    EXPECT_EQ(post("k", "/v1/keys/alias/a/disable").status, 200U);
    EXPECT_EQ(order("", Method::PUT, "/v1/aliases/a", {}).status, 400U);
    server::Operation operation = operation_of("root");
    ASSERT_EQ(send(rig_, operation, Method::PUT, "/v1/aliases/a",
                   R"({"key":")" + second->id.to_string() + "\"}")
                  .status,
              200U);
    const auto again = post("k", "/v1/keys/alias/a/disable");
    EXPECT_EQ(text_in(json_of(again), "id"), first->id.to_string()) << again.body;
    EXPECT_EQ(rig_.store.find(second->id)->state, kms::KeyState::enabled);
}

TEST_F(IdempotencyTest, AnUnansweredOrderIsNotDoneToWhatItsNameHasComeToMean) {
    server::Request request;
    request.method = Method::POST;
    request.path = "/v1/keys/alias/a/disable";
    request.headers["idempotency-key"] = "k";
    auto operation = operation_of("root");
    const auto dies = [](const std::string&) -> server::Response {
        throw base::Error(base::ErrorCode::unavailable, "the node died here");
    };
    const auto works = [](const std::string&) { return server::Response(); };
    EXPECT_ERROR(unavailable, rig_.idempotency.once(operation, request, dies, {}, "first"));
    EXPECT_ERROR(failed_precondition,
                 rig_.idempotency.once(operation, request, works, {}, "second"));
    EXPECT_NO_THROW(
        static_cast<void>(rig_.idempotency.once(operation, request, works, {}, "first")));
}

// Each change there is, and all of them again when all are done: the same answers, and nothing
// changes any more.
TEST_F(IdempotencyTest, EveryKindOfChangeIsAnsweredTheSameWhenItIsSentAgain) {
    const auto made = post("create", "/v1/keys", R"({"alias":"a"})");
    const std::string id = text_in(json_of(made), "id");
    const std::string key = "/v1/keys/" + id;
    struct Order {
        Method method;
        std::string path;
        std::string body;
    };
    const std::vector<Order> orders{{Method::PATCH, key, R"({"if_revision":1,"description":"d"})"},
                                    {Method::POST, "/v1/keys/alias/a/rotate", ""},
                                    {Method::POST, key + "/disable", ""},
                                    {Method::POST, key + "/enable", ""},
                                    {Method::PUT, "/v1/aliases/b", R"({"key":")" + id + "\"}"},
                                    {Method::DELETE, "/v1/aliases/a", ""},
                                    {Method::DELETE, "/v1/aliases/b", ""},
                                    {Method::POST, key + "/schedule-deletion", R"({"days":7})"},
                                    {Method::POST, key + "/cancel-deletion", ""},
                                    {Method::POST, key + "/mark-compromised", ""}};
    std::vector<server::Response> answers;
    for (const auto& each : orders) {
        answers.push_back(
            order("k" + std::to_string(answers.size()), each.method, each.path, each.body));
        EXPECT_EQ(answers.back().status, 200U) << each.path << answers.back().body;
    }
    const auto changes = rig_.store.change_count();
    EXPECT_EQ(post("create", "/v1/keys", R"({"alias":"a"})").body, made.body);
    for (std::size_t i = 0; i < orders.size(); ++i) {
        const auto again =
            order("k" + std::to_string(i), orders[i].method, orders[i].path, orders[i].body);
        EXPECT_EQ(again.status, 200U) << orders[i].path << again.body;
        EXPECT_EQ(again.body, answers[i].body) << orders[i].path;
    }
    EXPECT_EQ(rig_.store.change_count(), changes);
}

TEST_F(IdempotencyTest, AnOrderThatTookTheKeyOutOfItsCallersReachIsAnsweredAgain) {
    const auto made = post("c", "/v1/keys", R"({"alias":"shop","tags":{"team":"ads"}})");
    const std::string key = "/v1/keys/" + text_in(json_of(made), "id");
    const auto as_tagged = [&](const std::string& word, Method method, const std::string& path,
                               std::string_view body = {}) {
        return order(word, method, path, body, "tagged");
    };
    const auto removed = as_tagged("d", Method::DELETE, "/v1/aliases/shop");
    ASSERT_EQ(removed.status, 200U) << removed.body;
    EXPECT_EQ(as_tagged("d", Method::DELETE, "/v1/aliases/shop").body, removed.body);
    EXPECT_EQ(as_tagged("e", Method::DELETE, "/v1/aliases/shop").status, 403U);
    const std::string body = R"({"if_revision":2,"tags":{}})";
    const auto changed = as_tagged("p", Method::PATCH, key, body);
    ASSERT_EQ(changed.status, 200U) << changed.body;
    EXPECT_EQ(as_tagged("p", Method::PATCH, key, body).body, changed.body);
    EXPECT_EQ(as_tagged("q", Method::PATCH, key, body).status, 403U);
    EXPECT_EQ(order("p", Method::PATCH, key, body, "namer").status, 403U)
        << "another caller's answer";
    // Whom a rule denies it on everything, and who may do it to nothing at all any more, is told
    // nothing.
    std::string locked_out(rig_policy);
    const std::string_view last_rule = R"("resources":["key:tag/team=ads"]})";
    locked_out.insert(locked_out.find(last_rule) + last_rule.size(),
                      R"(,{"id":"tagged-not","effect":"deny","actions":["*"],"resources":["*"]})");
    rig_.authorizer.replace(server::parse_policy(locked_out, kms::known_actions()));
    EXPECT_EQ(as_tagged("d", Method::DELETE, "/v1/aliases/shop").status, 403U);
    EXPECT_EQ(as_tagged("p", Method::PATCH, key, body).status, 403U);
    rig_.authorizer.replace(
        server::parse_policy(R"({"version":1,"roles":{},"bindings":[]})", kms::known_actions()));
    EXPECT_EQ(as_tagged("d", Method::DELETE, "/v1/aliases/shop").status, 403U);
    EXPECT_EQ(as_tagged("p", Method::PATCH, key, body).status, 403U);
}

TEST_F(IdempotencyTest, WhomARuleDeniesItOnAllKeysGetsNoOldAnswerThoughAnotherAllowsItOnAnything) {
    const std::string key = "/v1/keys/" + text_in(json_of(post("c", "/v1/keys", "{}")), "id");
    const auto rotated = post("r", key + "/rotate", {}, "nearly");
    ASSERT_EQ(rotated.status, 200U) << rotated.body;
    EXPECT_EQ(post("r", key + "/rotate", {}, "nearly").body, rotated.body);
    std::string denied(rig_policy);
    const std::string_view hidden = R"("resources":["key:alias/hidden"])";
    denied.replace(denied.find(hidden), hidden.size(), R"("resources":["key:*"])");
    rig_.authorizer.replace(server::parse_policy(denied, kms::known_actions()));
    EXPECT_EQ(post("r", key + "/rotate", {}, "nearly").status, 403U);
}

// For what can't be marked as applied by the store: its maker knows it by the order's name.
TEST_F(IdempotencyTest, AnOrderHasANameOfItsOwnUntilItIsForgotten) {
    server::Request request;
    request.method = Method::POST;
    request.path = "/somewhere";
    request.headers["idempotency-key"] = "k";
    auto operation = operation_of("root");
    std::vector<server::OrdersOnce::Order> seen;
    const auto work = [&](const server::OrdersOnce::Order& order) {
        seen.push_back(order);
        if (seen.size() == 1) {
            throw base::Error(base::ErrorCode::unavailable, "the node died here");
        }
        return server::OrdersOnce::Outcome{};
    };
    EXPECT_ERROR(unavailable, rig_.idempotency.do_once(operation, request, work));
    server::Idempotency other_node(rig_.store, rig_.clock);
    for (int i = 0; i < 2; ++i) static_cast<void>(other_node.do_once(operation, request, work));
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_FALSE(seen[0].begun_before);
    EXPECT_TRUE(seen[1].begun_before);
    EXPECT_EQ(seen[0].name, seen[1].name);
    rig_.clock.advance(server::idempotency_memory);
    static_cast<void>(rig_.idempotency.do_once(operation, request, work));
    auto another = operation_of("operator");
    static_cast<void>(rig_.idempotency.do_once(another, request, work));
    request.headers.clear();
    static_cast<void>(rig_.idempotency.do_once(another, request, work));
    ASSERT_EQ(seen.size(), 5U);
    const std::set<std::string> names{seen[0].name, seen[2].name, seen[3].name, seen[4].name};
    EXPECT_EQ(names.size(), 4U);
    EXPECT_EQ(seen[4].name, "");
    EXPECT_FALSE(seen[2].begun_before || seen[3].begun_before || seen[4].begun_before);
}

TEST_F(IdempotencyTest, ARetriedCreationWhoseAliasIsGoneSaysSo) {
    token_.dies_after_generate = true;
    EXPECT_EQ(post("k", "/v1/keys", R"({"alias":"a"})").status, 503U);
    token_.dies_after_generate = false;
    rig_.create_key("a");
    EXPECT_EQ(post("k", "/v1/keys", R"({"alias":"a"})").status, 409U);
    EXPECT_EQ(post("k", "/v1/keys", R"({"alias":"a"})").status, 409U);
}

TEST_F(IdempotencyTest, WhatIsUnderWayIsNotBegunASecondTimeUnlessItsNodeIsDead) {
    server::Request request;
    request.method = Method::POST;
    request.path = "/somewhere";
    request.headers["idempotency-key"] = "k";
    auto operation = operation_of("root");
    server::Idempotency other_node(rig_.store, rig_.clock);
    int done = 0;
    const auto work = [&](const std::string&) {
        ++done;
        return server::Response();
    };
    const auto nested = [&](const std::string& id) {
        EXPECT_ERROR(failed_precondition, rig_.idempotency.once(operation, request, work));
        EXPECT_ERROR(failed_precondition, other_node.once(operation, request, work));
        rig_.clock.advance(server::idempotency_lease);
        EXPECT_ERROR(failed_precondition, rig_.idempotency.once(operation, request, work));
        static_cast<void>(other_node.once(operation, request, work));
        return work(id);
    };
    static_cast<void>(rig_.idempotency.once(operation, request, nested));
    EXPECT_EQ(done, 2);
}

TEST_F(IdempotencyTest, AfterADayTheKeyIsForgotten) {
    const auto first = post("k", "/v1/keys", "{}");
    rig_.clock.advance(server::idempotency_memory - std::chrono::milliseconds(1));
    EXPECT_EQ(post("k", "/v1/keys", "{}").body, first.body);
    rig_.clock.advance(std::chrono::milliseconds(1));
    const auto second = post("k", "/v1/keys", "{}");
    EXPECT_EQ(second.status, 201U);
    EXPECT_NE(text_in(json_of(second), "id"), text_in(json_of(first), "id"));
}

}  // namespace
}  // namespace tests
