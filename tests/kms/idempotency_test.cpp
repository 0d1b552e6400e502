#include "kms/idempotency.h"

#include <gtest/gtest.h>

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
    kms::Idempotency idempotency(store, rig_.clock);
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
    EXPECT_EQ(post("k", "/v1/keys/alias/a/disable").status, 409U);
    EXPECT_EQ(rig_.store.find(second->id)->state, kms::KeyState::enabled);
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
    kms::Idempotency other_node(rig_.store, rig_.clock);
    int done = 0;
    const auto work = [&](const std::string&) {
        ++done;
        return server::Response();
    };
    const auto nested = [&](const std::string& id) {
        EXPECT_ERROR(failed_precondition, rig_.idempotency.once(operation, request, work));
        EXPECT_ERROR(failed_precondition, other_node.once(operation, request, work));
        rig_.clock.advance(kms::idempotency_lease);
        EXPECT_ERROR(failed_precondition, rig_.idempotency.once(operation, request, work));
        static_cast<void>(other_node.once(operation, request, work));
        return work(id);
    };
    static_cast<void>(rig_.idempotency.once(operation, request, nested));
    EXPECT_EQ(done, 2);
}

TEST_F(IdempotencyTest, AfterADayTheKeyIsForgotten) {
    const auto first = post("k", "/v1/keys", "{}");
    rig_.clock.advance(kms::idempotency_memory - std::chrono::milliseconds(1));
    EXPECT_EQ(post("k", "/v1/keys", "{}").body, first.body);
    rig_.clock.advance(std::chrono::milliseconds(1));
    const auto second = post("k", "/v1/keys", "{}");
    EXPECT_EQ(second.status, 201U);
    EXPECT_NE(text_in(json_of(second), "id"), text_in(json_of(first), "id"));
}

}  // namespace
}  // namespace tests
