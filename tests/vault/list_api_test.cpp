#include "vault/list_api.h"

#include <functional>

#include "base/encoding.h"
#include "tests/vault/api_house.h"

namespace tests {
namespace {

using server::Method;

class ListApiTest : public VaultApiHouse {
protected:
    void store(const std::string& name, std::int64_t after) {
        const auto expiry = base::to_rfc3339(world_.clock.now() + std::chrono::seconds(after));
        EXPECT_EQ(
            send(Method::PUT, all + "/" + name, R"({"secret":{},"expires_at":")" + expiry + "\"}")
                .status,
            201U);
    }
    std::string before(std::int64_t after) {
        return "expires_before=" +
               base::to_rfc3339(world_.clock.now() + std::chrono::seconds(after));
    }
    static std::string names(const Answer& page) {
        std::string joined;
        for (const auto& item : *page.json.find("credentials")->array()) {
            joined += *item.find("name")->string();
        }
        return joined;
    }
};

TEST_F(ListApiTest, WhatExpiresSoonOrHasExpiredComesByExpiry) {
    store("c", 10);
    store("a", 20);
    store("b", -5);
    store("late", 1000);
    put(R"({"secret":{}})");
    const auto soon = send(Method::GET, all + "?" + before(100));
    EXPECT_EQ(soon.status, 200U) << soon.body;
    EXPECT_EQ(names(soon), "bca");
    EXPECT_EQ(soon.at({"next_cursor"}), "(none)");
    EXPECT_NE(soon.body.find("\"expired\":true"), std::string::npos);
    EXPECT_EQ(names(send(Method::GET, all + "?" + before(0))), "b") << "what has expired";
    std::string joined;
    std::string target = all + "?limit=1&" + before(100);
    for (int pages = 0; pages < 3; ++pages) {
        const auto page = send(Method::GET, target);
        joined += names(page);
        const auto* cursor = page.json.find("next_cursor");
        EXPECT_EQ(cursor == nullptr, pages == 2);
        if (cursor != nullptr) {
            target = all + "?limit=1&" + before(100) + "&cursor=" + std::string(*cursor->string());
        }
    }
    EXPECT_EQ(joined, "bca");
}

TEST_F(ListApiTest, AllOwnersTogetherAreForWhoMayListThemAll) {
    store("a", 20);
    EXPECT_EQ(send(Method::PUT, "/v1/owners/globex/credentials/g",
                   R"({"secret":{},"expires_at":"2001-01-31T12:00:00Z"})", "globex")
                  .status,
              201U);
    const auto soon = send(Method::GET, "/v1/credentials?" + before(100), {}, "operator");
    EXPECT_EQ(soon.status, 200U) << soon.body;
    EXPECT_EQ(names(soon), "ga");
    EXPECT_EQ(soon.body.find("\"secret\""), std::string::npos);
    const auto first = send(Method::GET, "/v1/credentials?limit=1&" + before(100), {}, "operator");
    const std::string cursor(*first.json.find("next_cursor")->string());
    EXPECT_EQ(names(send(Method::GET, "/v1/credentials?" + before(100) + "&cursor=" + cursor, {},
                         "operator")),
              "a");
    for (const auto* caller : {"acme", "reader", "globex", "stranger"}) {
        EXPECT_EQ(send(Method::GET, "/v1/credentials?" + before(100), {}, caller).status, 403U)
            << "a right on one owner's is none on all: " << caller;
    }
    EXPECT_EQ(send(Method::GET, "/v1/credentials", {}, "operator").status, 400U)
        << "not everything there is";
}

TEST_F(ListApiTest, ARowThatCantBeBelievedIsNamedRecordedAndHidesNoOther) {
    store("a", 10);
    store("b", 20);
    store("c", 30);
    store("d", 40);
    edit(
        "UPDATE credentials SET expires_at = expires_at + 1 WHERE name = 'b';"
        "UPDATE credentials SET metadata = '[]' WHERE name = 'c'");
    for (const auto& query : {"?" + before(100), std::string()}) {
        const auto page = send(Method::GET, all + query);
        EXPECT_EQ(page.status, 200U) << page.body;
        EXPECT_EQ(names(page), "ad");
        EXPECT_NE(page.body.find(R"("unsound":[{"owner":"acme","name":"b","error":{"code":)"
                                 R"("integrity_failure")"),
                  std::string::npos)
            << page.body;
        EXPECT_EQ(page.json.find("unsound")->array()->size(), 2U);
        EXPECT_EQ(facts_["unsound"], "2");
        ASSERT_EQ(items_.size(), 2U);
        EXPECT_EQ(items_.front().resource, "acme/b");
        EXPECT_EQ(items_.front().outcome, "integrity_failure");
    }
    const auto first = send(Method::GET, all + "?limit=2&" + before(100));
    EXPECT_EQ(names(first), "a");
    const std::string cursor(*first.json.find("next_cursor")->string());
    EXPECT_EQ(names(send(Method::GET, all + "?limit=2&" + before(100) + "&cursor=" + cursor)), "d")
        << "a page may end with a row that can't be shown";
    send(Method::GET, all + "?" + before(15));
    EXPECT_EQ(facts_.count("unsound"), 0U);
}

// The row at a page's end is the one that the next page's cursor tells the place of.
TEST_F(ListApiTest, ANameThatNoneMayHaveIsShownAndEveryCursorIsTakenWhereverItStands) {
    for (const auto* edited :
         {"'b b'", "'b/c'", "'b' || char(10)", "CAST(x'62ff' AS TEXT)", "x'6200'", "'b#1'",
          "'b' || hex(zeroblob(20000))", "'b' || char(0) || 'x'", "'#1'"}) {
        SCOPED_TRACE(edited);
        edit("DELETE FROM versions; DELETE FROM credentials");
        for (const auto* name : {"a", "b", "c"}) store(name, 10);
        edit(std::string("UPDATE credentials SET name = ") + edited + " WHERE name = 'b'");
        for (const auto& [list, query, caller] :
             {std::tuple(all, std::string(), "acme"),
              {all, "&" + before(100), "acme"},
              {std::string("/v1/credentials"), "&" + before(100), "operator"}}) {
            std::string sound;
            std::size_t unsound = 0;
            std::string cursor;
            for (int pages = 0; pages < 5; ++pages) {
                const auto page = send(Method::GET, list + "?limit=1" + query + cursor, {}, caller);
                ASSERT_EQ(page.status, 200U) << page.body;
                EXPECT_LT(page.body.size(), 2000U);
                sound += names(page);
                const auto* shown = page.json.find("unsound");
                if (shown != nullptr) unsound += shown->array()->size();
                const auto* next = page.json.find("next_cursor");
                if (next == nullptr) break;
                cursor = "&cursor=" + std::string(*next->string());
            }
            EXPECT_EQ(sound, "ac");
            EXPECT_EQ(unsound, 1U);
        }
    }
}

TEST_F(ListApiTest, AnOwnerThatNoneMayHaveHidesNobodyFromTheListOfAll) {
    for (const auto* name : {"a", "b", "c"}) store(name, 10);
    edit("UPDATE credentials SET owner = 'ac me' WHERE name = 'b'");
    std::string sound;
    std::string cursor;
    for (int pages = 0; pages < 3; ++pages) {
        const auto page =
            send(Method::GET, "/v1/credentials?limit=1&" + before(100) + cursor, {}, "operator");
        ASSERT_EQ(page.status, 200U) << page.body;
        sound += names(page);
        const auto* next = page.json.find("next_cursor");
        cursor = "&cursor=" + (next == nullptr ? "" : std::string(*next->string()));
    }
    EXPECT_EQ(sound, "ac");
}

TEST_F(ListApiTest, ACursorOfARowIsForItsOwnersListAndWhileItIsThere) {
    store("a", 10);
    send(Method::PUT, "/v1/owners/globex/credentials/g", R"({"secret":{}})", "globex");
    const auto hex = [](std::string_view text) { return base::to_hex(base::as_bytes(text)); };
    EXPECT_EQ(send(Method::GET, all + "?cursor=" + hex("#1")).status, 200U);
    for (const auto* place : {"#2", "#3", "#0", "#-1", "#", "#1x", "#01", "#99999999999999999999"})
        EXPECT_EQ(send(Method::GET, all + "?cursor=" + hex(place)).status, 400U) << place;
    EXPECT_EQ(send(Method::GET, all + "?" + before(1) + "&cursor=" + hex("5//#2")).status, 400U);
    // Of one place there is one cursor.
    for (const auto* place : {"05/acme/a", "-0/acme/a"})
        EXPECT_EQ(send(Method::GET, all + "?" + before(1) + "&cursor=" + hex(place)).status, 400U);
}

TEST_F(ListApiTest, ADenyByTagHoldsForListsAndForTheErasureOfAnOwner) {
    put(R"({"secret":{},"tags":{"team":"payments"}})");
    EXPECT_EQ(send(Method::GET, all).status, 200U);
    std::string policy(vault_policy);
    const std::string rule = R"("acme": [)";
    policy.insert(policy.find(rule) + rule.size(),
                  R"({"id":"held","effect":"deny","actions":["*"],)"
                  R"("resources":["credential:*/tag/team=payments"]},)");
    world_.authorizer.replace(server::parse_policy(policy, vault::known_actions()));
    EXPECT_EQ(send(Method::GET, one).status, 403U);
    EXPECT_EQ(send(Method::GET, all).status, 403U);
    EXPECT_EQ(send(Method::GET, all + "?" + before(1)).status, 403U);
    EXPECT_EQ(send(Method::POST, "/v1/owners/acme/erase").status, 403U);
    EXPECT_EQ(send(Method::GET, all, {}, "reader").status, 200U) << "of another role";
}

// Owners acme (a to d) and globex (g), which expire in turn; the operator may list them all but
// what a rule of these keeps from him.
class FilteredListTest : public ListApiTest {
protected:
    FilteredListTest() {
        std::int64_t after = 10;
        for (const auto* name : {"a", "b", "c", "d"}) store(name, after += 10);
        for (const auto* owner : {"globex", "vip"}) {
            const auto expiry = base::to_rfc3339(world_.clock.now() + std::chrono::seconds(15));
            world_.authorizer.replace(server::parse_policy(everything, vault::known_actions()));
            EXPECT_EQ(send(Method::PUT, "/v1/owners/" + std::string(owner) + "/credentials/g",
                           R"({"secret":{},"expires_at":")" + expiry + "\"}", "operator")
                          .status,
                      201U);
        }
    }
    void rule(const std::string& text) {
        std::string policy(everything);
        policy.insert(policy.find("[{") + 1, text + ",");
        world_.authorizer.replace(server::parse_policy(policy, vault::known_actions()));
    }
    // What the pages of `limit` show together, an owner's beginning behind each name; no word of a
    // page may have `hidden` in it, a cursor's least.
    std::string pages(const std::string& list, const std::string& limit,
                      const std::string& hidden) {
        std::string shown;
        std::string cursor;
        for (int page = 0; page < 10; ++page) {
            const auto answer = send(Method::GET,
                                     list + (list.find('?') == std::string::npos ? "?" : "&") +
                                         "limit=" + limit + cursor,
                                     {}, "operator");
            EXPECT_EQ(answer.status, 200U) << answer.body;
            for (const auto& item : *answer.json.find("credentials")->array())
                shown += std::string(*item.find("name")->string()) +
                         item.find("owner")->string()->front();
            const auto* next = answer.json.find("next_cursor");
            const auto place = next == nullptr ? base::Bytes() : *base::parse_hex(*next->string());
            EXPECT_EQ(base::as_text(place).find(hidden), std::string_view::npos)
                << base::as_text(place);
            EXPECT_EQ(answer.body.find("\"" + hidden + "\""), std::string::npos) << answer.body;
            if (next == nullptr) return shown;
            cursor = "&cursor=" + std::string(*next->string());
        }
        return shown + " and no end";
    }
    static constexpr std::string_view everything = R"({
        "version": 1,
        "roles": {"operator": [{"id": "all", "effect": "allow", "actions": ["*"], "resources": ["*"]}]},
        "bindings": [{"caller": "spiffe://strongroom/operator", "roles": ["operator"]}]})";
};

TEST_F(FilteredListTest, ADenyByOwnerHoldsForTheListOfAllOwners) {
    const std::string list = "/v1/credentials?" + before(100);
    EXPECT_EQ(pages(list, "2", "nobody"), "gggvaabacada") << "as long as no rule hides any";
    EXPECT_EQ(facts_.count("left_out"), 0U);
    for (
        const auto* deny :
        {R"({"id":"d","effect":"deny","actions":["list_credentials"],"resources":["credential:vip/*"]})",
         R"({"id":"d","effect":"deny","actions":["*"],"resources":["*"],"when":{"owner":["v*"]}})"}) {
        rule(deny);
        for (const auto* limit : {"1", "2", "3", "100"})
            EXPECT_EQ(pages(list, limit, "vip"), "ggaabacada") << deny << limit;
        EXPECT_EQ(send(Method::GET, list, {}, "operator").json.find("next_cursor"), nullptr);
        EXPECT_EQ(facts_.at("left_out"), "1");
    }
    rule(
        R"({"id":"d","effect":"deny","actions":["*"],"resources":["*"],"unless":{"owner":["acme"]}})");
    EXPECT_EQ(send(Method::GET, list, {}, "operator").status, 403U) << "all but one's are denied";
    SCOPED_TRACE("an allow that leaves an owner out is none for its credentials in the list");
    world_.authorizer.replace(server::parse_policy(R"({
        "version": 1,
        "roles": {"operator": [{"id": "all", "effect": "allow", "actions": ["list_credentials"],
                                "resources": ["*"], "unless": {"owner": ["vip"]}}]},
        "bindings": [{"caller": "spiffe://strongroom/operator", "roles": ["operator"]}]})",
                                                   vault::known_actions()));
    EXPECT_EQ(pages(list, "1", "vip"), "ggaabacada");
}

TEST_F(FilteredListTest, ADenyByNameHoldsForEveryList) {
    rule(R"({"id":"d","effect":"deny","actions":["list_credentials"],)"
         R"("resources":["credential:acme/b","credential:*/d"]})");
    for (const auto* limit : {"1", "2", "3", "4"}) {
        EXPECT_EQ(pages(all, limit, "b"), "aaca");
        EXPECT_EQ(pages(all + "?" + before(100), limit, "d"), "aaca");
        EXPECT_EQ(pages("/v1/credentials?" + before(100), limit, "d"), "gggvaaca");
    }
}

TEST_F(FilteredListTest, ARowThatCantBeBelievedIsHiddenLikeAnyOtherButCountedAndLogged) {
    rule(R"({"id":"d","effect":"deny","actions":["*"],"resources":["credential:vip/*"]})");
    log_of_rows_ = &log_;
    build();
    const std::string list = "/v1/credentials?" + before(100);
    send(Method::GET, list, {}, "operator");
    EXPECT_EQ(facts_.at("left_out"), "1");
    EXPECT_EQ(facts_.count("left_out_unsound"), 0U) << "nothing is wrong with it yet";
    for (const auto* change : {"metadata = '[]'", "expires_at = expires_at + 1"}) {
        edit(std::string("UPDATE credentials SET ") + change + " WHERE owner = 'vip'");
        testing::internal::CaptureStderr();
        const auto page = send(Method::GET, list, {}, "operator");
        const std::string logged = testing::internal::GetCapturedStderr();
        EXPECT_EQ(page.json.find("unsound"), nullptr) << page.body;
        EXPECT_TRUE(items_.empty()) << "the record may be shown to its caller";
        EXPECT_EQ(facts_.count("unsound"), 0U);
        EXPECT_EQ(facts_.at("left_out"), "1");
        EXPECT_EQ(facts_.at("left_out_unsound"), "1") << change;
        EXPECT_NE(logged.find("vip/g"), std::string::npos) << logged;
    }
}

// The place is still known when what stood there expires at another time, or is destroyed.
TEST_F(FilteredListTest, ACursorAtSomethingHiddenGoesOnWhateverBecomesOfIt) {
    rule(
        R"({"id":"d","effect":"deny","actions":["list_credentials"],"resources":["credential:vip/*"]})");
    const std::string list = "/v1/credentials?" + before(100) + "&limit=1";
    const auto first = send(Method::GET, list, {}, "operator");
    const auto second = send(
        Method::GET, list + "&cursor=" + std::string(*first.json.find("next_cursor")->string()), {},
        "operator");
    EXPECT_EQ(names(second), "");
    const std::string hidden = "&cursor=" + std::string(*second.json.find("next_cursor")->string());
    const std::string vip = "/v1/owners/vip/credentials/g";
    for (const auto& change : std::vector<std::function<Answer()>>{
             [&] { return send(Method::PUT, vip, R"({"secret":{}})", "operator"); },
             [&] {
                 return send(Method::PUT, vip,
                             R"({"secret":{},"expires_at":"2100-01-31T12:00:00Z"})", "operator");
             },
             [&] { return send(Method::DELETE, vip, {}, "operator"); }}) {
        EXPECT_EQ(names(send(Method::GET, list + hidden, {}, "operator")), "a");
        EXPECT_EQ(change().status, 200U);
        EXPECT_EQ(names(send(Method::GET, list + hidden, {}, "operator")), "a");
    }
}

TEST_F(ListApiTest, BadParametersAreNamed) {
    const auto hex = [](std::string_view text) { return base::to_hex(base::as_bytes(text)); };
    for (const auto& query :
         {std::string("expires_before=soon"), std::string("expires_before="),
          before(1) + "&limit=0", before(1) + "&cursor=zz", before(1) + "&cursor=" + hex("name"),
          before(1) + "&cursor=" + hex("x/acme/a"), before(1) + "&cursor=" + hex("1/globex/a"),
          before(1) + "&cursor=" + hex("1/acme/a/b"), before(1) + "&cursor=" + hex("1/acme/"),
          before(1) + "&expires_after=1"}) {
        const auto answer = send(Method::GET, all + "?" + query);
        EXPECT_EQ(answer.status, 400U) << query;
    }
    EXPECT_NE(send(Method::GET, all + "?expires_before=soon").message().find("\"expires_before\""),
              std::string::npos);
}

}  // namespace
}  // namespace tests
