#include "vault/reasons.h"

#include "base/json.h"
#include "tests/support/expect_error.h"
#include "tests/vault/api_house.h"

namespace tests {
namespace {

using server::Method;

vault::ReasonRules rules_of(const std::string& text) {
    const auto value = base::parse_json(R"({"reason_required":)" + text + "}");
    base::JsonReader reader(value, "reveal");
    auto rules = vault::read_reason_rules(reader, "reason_required");
    reader.refuse_unknown();
    return rules;
}

TEST(Reason, IsALineOfTextAsItStands) {
    EXPECT_TRUE(vault::is_reason("Ticket 4711: Jürgen's token, 承認済み"));
    EXPECT_TRUE(vault::is_reason(std::string(vault::max_reason_bytes, 'x')));
    for (const std::string& text :
         {std::string(), std::string("   "), std::string(vault::max_reason_bytes + 1, 'x'),
          std::string("a\nb"), std::string("a\tb"), std::string("a\0b", 3), std::string("a\x7f"),
          std::string("a\xc2\x85"), std::string("a\xe2\x80\xa8"), std::string("a\xe2\x80\xae"),
          std::string("a\xe2\x80\x8f"), std::string("a\xe2\x81\xa6"), std::string("a\xd8\x9c"),
          std::string("a\xb9"), std::string("a\xc3")}) {
        EXPECT_FALSE(vault::is_reason(text)) << text;
    }
}

TEST(ReasonRules, BindCallersToCredentialsAsPoliciesDo) {
    server::Caller anna;
    anna.id = "spiffe://strongroom/people/anna";
    server::Caller app;
    app.id = "spiffe://strongroom/app";
    const auto acme = vault::credential_resource({"acme", "a"});
    const auto globex = vault::credential_resource({"globex", "a"});
    const auto people = rules_of(R"([{"caller":"*/people/*","resources":["credential:acme/*"]}])");
    EXPECT_TRUE(people.ask(anna, acme));
    EXPECT_FALSE(people.ask(anna, globex));
    EXPECT_FALSE(people.ask(app, acme));
    EXPECT_FALSE(vault::ReasonRules().ask(anna, acme));
    const auto by_claim =
        rules_of(R"([{"claims":{"role":["support"]},"resources":["credential:*"]}])");
    EXPECT_FALSE(by_claim.ask(anna, acme));
    anna.claims["role"] = {"support"};
    EXPECT_TRUE(by_claim.ask(anna, acme));
    const auto unknown = rules_of(R"([{"caller":"*","resources":["credential:{claim:team}/*"]}])");
    EXPECT_TRUE(unknown.ask(app, acme)) << "nobody can say, so there must be one";
}

TEST(ReasonRules, MistakesAreNamed) {
    for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
             {R"([{}])", "reveal.reason_required[0].caller"},
             {R"([{"caller":"*"}])", "reveal.reason_required[0].resources"},
             {R"([{"caller":"*","resources":[]}])", "reveal.reason_required[0].resources"},
             {R"([{"caller":"*","resources":["acme"]}])", "reveal.reason_required[0].resources"},
             {R"([{"caller":"*","resources":["*"],"when":{}}])",
              "\"reveal.reason_required[0].when"},
             {R"({})", "reveal.reason_required"},
         }) {
        EXPECT_ERROR_SAYING(invalid_argument, part, rules_of(text));
    }
}

class ReasonApiTest : public VaultApiHouse {
protected:
    ReasonApiTest() {
        world_.reasons = rules_of(
            R"([{"caller":"spiffe://strongroom/acme","resources":["credential:acme/insta*"]}])");
        world_.start();
        build();
        put(R"({"secret":{"k":1}})");
        send(Method::PUT, all + "/facebook", R"({"secret":{"f":1}})");
    }
};

TEST_F(ReasonApiTest, WhereItIsAskedForNothingIsRevealedWithoutOne) {
    const int before = world_.keys.calls;
    for (const auto* body : {"", "{}", R"({"version":1})"}) {
        const auto refused = reveal(body);
        EXPECT_EQ(refused.status, 400U) << body;
        EXPECT_NE(refused.message().find("\"reason\" is missing"), std::string::npos)
            << refused.message();
    }
    EXPECT_EQ(world_.keys.calls, before);
    EXPECT_EQ(facts_.count("reason"), 0U);
    const auto revealed = reveal(R"({"reason":"ticket 4711"})");
    EXPECT_EQ(revealed.status, 200U) << revealed.body;
    EXPECT_EQ(facts_.at("reason"), "ticket 4711");
    EXPECT_EQ(revealed.body.find("ticket"), std::string::npos);
    EXPECT_EQ(send(Method::POST, all + "/facebook/reveal").status, 200U);
    EXPECT_EQ(reveal({}, "globex").status, 403U) << "the right comes first";
}

TEST_F(ReasonApiTest, AReasonThatIsNoneIsNamed) {
    for (const auto* body : {R"({"reason":""})", R"({"reason":"  "})", R"({"reason":"a\nb"})",
                             R"({"reason":7})", R"({"reason":"a\u202eb"})"}) {
        const auto refused = reveal(body);
        EXPECT_EQ(refused.status, 400U) << body;
        EXPECT_NE(refused.message().find("\"reason\""), std::string::npos) << refused.message();
    }
    EXPECT_EQ(reveal(R"({"reason":")" + std::string(257, 'x') + "\"}").status, 400U);
    EXPECT_EQ(facts_.count("reason"), 0U);
}

TEST_F(ReasonApiTest, OfManyOneReasonIsForAll) {
    const std::string many = "/v1/owners/acme/reveal";
    const auto without =
        send(Method::POST, many, R"({"items":[{"name":"instagram"},{"name":"facebook"}]})");
    EXPECT_EQ(without.status, 200U) << without.body;
    const auto& results = *without.json.find("results")->array();
    EXPECT_EQ(*results[0].find("error")->find("code")->string(), "invalid_argument");
    EXPECT_NE(results[0].find("error")->find("message")->string()->find("\"reason\""),
              std::string::npos);
    EXPECT_EQ(base::to_json(*results[1].find("secret")), R"({"f":1})");
    EXPECT_EQ(items_[0].outcome, "invalid_argument");
    const auto with =
        send(Method::POST, many,
             R"({"items":[{"name":"instagram"},{"name":"facebook"}],"reason":"ticket 4711"})");
    EXPECT_EQ(base::to_json(*(*with.json.find("results")->array())[0].find("secret")),
              R"({"k":1})");
    EXPECT_EQ(facts_.at("reason"), "ticket 4711");
    EXPECT_EQ(send(Method::POST, many, R"({"items":[{"name":"facebook"}],"reason":"a\tb"})").status,
              400U);
}

}  // namespace
}  // namespace tests
