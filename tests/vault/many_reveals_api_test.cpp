// Up to 100 reveals in one call.
#include <gtest/gtest.h>

#include "tests/vault/api_house.h"

namespace tests {
namespace {

using server::Method;

using ManyRevealsApiTest = VaultApiHouse;

TEST_F(ManyRevealsApiTest, RevealsManyEachWithItsOwnResult) {
    const std::string many = "/v1/owners/acme/reveal";
    put(R"({"secret":{"n":1}})");
    put(R"({"secret":{"n":2}})");
    send(Method::PUT, all + "/facebook", R"({"secret":{"f":1},"metadata":{"m":1}})");
    const int before = world_.keys.calls;
    const auto answer = send(
        Method::POST, many,
        R"({"items":[{"name":"facebook"},{"name":"unknown"},{"name":"instagram","version":1},{"name":"instagram"}]})");
    EXPECT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(world_.keys.calls, before + 1);
    const auto* results = answer.json.find("results")->array();
    ASSERT_EQ(results->size(), 4U);
    const auto text = [&](std::size_t i, std::string_view name) {
        const auto* value = (*results)[i].find(name);
        return value == nullptr ? "(none)" : std::string(base::to_json(*value));
    };
    EXPECT_EQ(text(0, "secret"), R"({"f":1})");
    EXPECT_EQ(text(0, "metadata"), R"({"m":1})");
    EXPECT_EQ(text(1, "error"), R"({"code":"not_found","message":"there is no such credential"})");
    EXPECT_EQ(text(2, "secret"), R"({"n":1})");
    EXPECT_EQ(text(2, "version"), "1");
    EXPECT_EQ(text(3, "secret"), R"({"n":2})");
    EXPECT_EQ(text(3, "name"), "\"instagram\"");

    SCOPED_TRACE("the record has a row for each");
    ASSERT_EQ(items_.size(), 4U);
    EXPECT_EQ(items_[0].resource, "facebook/1");
    EXPECT_EQ(items_[0].outcome, "ok");
    EXPECT_EQ(items_[1].resource, "unknown");
    EXPECT_EQ(items_[1].outcome, "not_found");
    EXPECT_EQ(items_[2].resource, "instagram/1");
    EXPECT_EQ(items_[3].resource, "instagram/2");
    EXPECT_EQ(items_[3].items, "3");
    EXPECT_EQ(items_[3].decision, items_[2].decision) << "one decision for one credential";
    for (const std::size_t i : {0U, 2U, 3U}) {
        EXPECT_EQ(items_[i].key, world_.keys.key_id().to_string() + "/3") << i;
    }
    EXPECT_EQ(items_[1].key, "") << "nothing was opened";
    EXPECT_NE(items_[3].decision, items_[0].decision);

    EXPECT_EQ(send(Method::POST, many, R"({"items":[{"name":"instagram"}]})", "reader").status,
              403U);
    SCOPED_TRACE("who may reveal elsewhere is refused record by record, known or not");
    const auto other =
        send(Method::POST, many, R"({"items":[{"name":"instagram"},{"name":"x"}]})", "globex");
    EXPECT_EQ(other.status, 200U) << other.body;
    for (const auto& result : *other.json.find("results")->array()) {
        EXPECT_EQ(*result.find("error")->find("code")->string(), "permission_denied");
        EXPECT_EQ(result.find("secret"), nullptr);
    }
    EXPECT_EQ(items_[0].outcome, "permission_denied");

    world_.keys.unavailable = true;
    EXPECT_EQ(send(Method::POST, many, R"({"items":[{"name":"instagram"}]})").status, 503U);
}

TEST_F(ManyRevealsApiTest, AHundredAreOneCallToTheKeyService) {
    std::string items;
    for (int i = 0; i < 100; ++i) {
        const std::string name = "c" + std::to_string(i);
        send(Method::PUT, all + "/" + name, R"({"secret":)" + std::to_string(i) + "}");
        items += (i == 0 ? "" : ",") + (R"({"name":")" + name + "\"}");
    }
    const int before = world_.keys.calls;
    const auto answer =
        send(Method::POST, "/v1/owners/acme/reveal", R"({"items":[)" + items + "]}");
    EXPECT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(world_.keys.calls, before + 1);
    const auto* results = answer.json.find("results")->array();
    ASSERT_EQ(results->size(), 100U);
    for (std::size_t i = 0; i < results->size(); ++i) {
        const auto* secret = (*results)[i].find("secret");
        ASSERT_NE(secret, nullptr) << i;
        EXPECT_EQ(secret->integer(), static_cast<std::int64_t>(i));
    }
}

TEST_F(ManyRevealsApiTest, BadFieldsOfManyRevealsAreNamed) {
    std::string too_many = R"({"items":[{"name":"a"})";
    for (int i = 0; i < 100; ++i) too_many += R"(,{"name":"a"})";
    too_many += "]}";
    for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "malformed"},
             {"{}", "\"items\" is missing"},
             {R"({"items":[]})", "\"items\""},
             {R"({"items":[7]})", "\"items[0]\""},
             {R"({"items":[{"name":"a"},{}]})", "\"items[1].name\" is missing"},
             {R"({"items":[{"name":"a/b"}]})", "\"items[0].name\""},
             {R"({"items":[{"name":"*"}]})", "\"items[0].name\""},
             {R"({"items":[{"name":"a","version":0}]})", "\"items[0].version\""},
             {R"({"items":[{"name":"a","owner":"globex"}]})", "\"items[0].owner\""},
             {R"({"items":[{"name":"a"}],"owner":"globex"})", "\"owner\" is not a known field"},
             {too_many, "\"items\""},
         }) {
        const auto answer = send(Method::POST, "/v1/owners/acme/reveal", body);
        EXPECT_EQ(answer.status, 400U) << body.substr(0, 80);
        EXPECT_NE(answer.message().find(part), std::string::npos)
            << answer.message() << " for " << body.substr(0, 80);
    }
    EXPECT_EQ(world_.keys.calls, 0);
}

}  // namespace
}  // namespace tests
