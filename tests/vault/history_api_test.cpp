#include "vault/history_api.h"

#include "tests/vault/api_house.h"

namespace tests {
namespace {

using server::Method;

class HistoryApiTest : public VaultApiHouse {
protected:
    Answer restore(const std::string& body, const std::string& caller = "acme") {
        return send(Method::POST, one + "/restore", body, caller);
    }
    const std::string versions = one + "/versions";
};

TEST_F(HistoryApiTest, AnOlderVersionBecomesANewOne) {
    put(R"({"secret":{"n":1},"metadata":{"m":1},"expires_at":"2030-01-31T12:00:00Z"})");
    put(R"({"secret":{"n":2}})");
    const auto restored = restore(R"({"version":1,"if_version":2})");
    EXPECT_EQ(restored.status, 200U) << restored.body;
    EXPECT_EQ(restored.at({"version"}), "3");
    EXPECT_EQ(restored.at({"metadata"}), R"({"m":1})");
    EXPECT_EQ(restored.at({"expires_at"}), "\"2030-01-31T12:00:00.000Z\"");
    EXPECT_EQ(restored.at({"secret"}), "(none)") << "who may restore may not always reveal";
    EXPECT_EQ(facts_.at("restored_from"), "1");
    EXPECT_EQ(facts_.at("version"), "3");
    EXPECT_EQ(world_.keys.last_traceparent, traceparent);
    EXPECT_EQ(reveal().at({"secret"}), R"({"n":1})");
    EXPECT_EQ(restore(R"({"version":1,"if_version":2})").status, 409U);
    EXPECT_EQ(restore(R"({"version":2,"expires_at":"2031-01-31T12:00:00Z"})").at({"expires_at"}),
              "\"2031-01-31T12:00:00.000Z\"");
    EXPECT_EQ(restore(R"({"version":9})").status, 404U);
    EXPECT_EQ(send(Method::POST, all + "/unknown/restore", R"({"version":1})").status, 404U);
}

TEST_F(HistoryApiTest, TheHistoryIsShownPageByPage) {
    put(R"({"secret":{"n":1},"expires_at":"2000-01-31T12:00:00Z"})");
    send(Method::DELETE, one);
    put(R"({"secret":{"n":2}})");
    restore(R"({"version":2})");
    const auto first = send(Method::GET, versions + "?limit=2");
    EXPECT_EQ(first.status, 200U) << first.body;
    EXPECT_EQ(first.at({"owner"}), "\"acme\"");
    EXPECT_EQ(first.at({"name"}), "\"instagram\"");
    const std::string now = "\"" + base::to_rfc3339(world_.clock.now()) + "\"";
    const std::string key =
        ",\"key_id\":\"" + world_.keys.key_id().to_string() + "\",\"key_version\":3}";
    EXPECT_EQ(first.at({"versions"}), R"([{"version":3,"current":true,"created_at":)" + now +
                                          R"(,"expired":false,"restored_from":2)" + key +
                                          R"(,{"version":2,"current":false,"created_at":)" + now +
                                          R"(,"expired":false)" + key + "]");
    const std::string cursor(*first.json.find("next_cursor")->string());
    const auto second = send(Method::GET, versions + "?limit=2&cursor=" + cursor);
    EXPECT_EQ(second.at({"versions"}),
              R"([{"version":1,"current":false,"created_at":)" + now +
                  R"(,"expires_at":"2000-01-31T12:00:00.000Z","expired":true,"erased_at":)" + now +
                  key + "]");
    EXPECT_EQ(second.at({"next_cursor"}), "(none)");
}

TEST_F(HistoryApiTest, ADestroyedCredentialStillHasItsHistory) {
    put(R"({"secret":{"n":1}})");
    send(Method::DELETE, one);
    const auto history = send(Method::GET, versions);
    EXPECT_EQ(history.status, 200U);
    EXPECT_NE(history.body.find("\"erased_at\""), std::string::npos);
    EXPECT_EQ(history.body.find("\"current\":true"), std::string::npos);
    EXPECT_EQ(send(Method::GET, all + "/unknown/versions").status, 404U);
    edit("DELETE FROM versions");
    EXPECT_EQ(send(Method::GET, versions).status, 422U);
}

TEST_F(HistoryApiTest, BadFieldsAndParametersAreNamed) {
    for (const auto& [body, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "malformed"},
             {"{}", "\"version\" is missing"},
             {R"({"version":0})", "\"version\""},
             {R"({"version":"1"})", "\"version\""},
             {R"({"version":9007199254740993})", "\"version\""},
             {R"({"version":1,"if_version":0})", "\"if_version\""},
             {R"({"version":1,"expires_at":"soon"})", "\"expires_at\" must be a time"},
             {R"({"version":1,"secret":{}})", "\"secret\" is not a known field"},
         }) {
        const auto answer = restore(body);
        EXPECT_EQ(answer.status, 400U) << body;
        EXPECT_NE(answer.message().find(part), std::string::npos) << answer.message();
    }
    for (const auto& query : {"limit=0", "limit=101", "cursor=", "cursor=30", "cursor=2d31",
                              "cursor=3031", "cursor=zz", "before=1"}) {
        EXPECT_EQ(send(Method::GET, versions + "?" + query).status, 400U) << query;
    }
    EXPECT_EQ(send(Method::POST, one + "/restore?version=1", "{}").status, 400U);
    EXPECT_EQ(send(Method::GET, all + "/a*/versions").status, 400U);
}

TEST_F(HistoryApiTest, EachNeedsItsRight) {
    put(R"({"secret":{"n":1}})");
    for (const auto* caller : {"globex", "stranger"}) {
        EXPECT_EQ(send(Method::GET, versions, {}, caller).status, 403U);
        EXPECT_EQ(restore("not JSON", caller).status, 403U) << "no word on the body";
    }
    EXPECT_EQ(send(Method::GET, versions, {}, "reader").status, 200U);
    EXPECT_EQ(restore(R"({"version":1})", "reader").status, 403U);
    world_.keys.unavailable = true;
    EXPECT_EQ(restore(R"({"version":1})").status, 503U);
    EXPECT_EQ(send(Method::GET, versions).status, 200U) << "metadata needs no key";
}

}  // namespace
}  // namespace tests
