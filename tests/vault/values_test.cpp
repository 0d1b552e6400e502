#include "vault/values.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/encoding.h"
#include "tests/support/expect_error.h"
#include "tests/vault/api_calls.h"
#include "tests/vault/world.h"
#include "vault/sealed.h"
#include "vault/value_api.h"

namespace tests {
namespace {

class ValuesTest : public ::testing::Test {
protected:
    ValuesTest() { build({}); }

    void build(vault::Passthrough passthrough, vault::ValueOwners owners = {}) {
        service_ = std::make_unique<vault::ValueService>(world_.keys, world_.clock, passthrough);
        api_ = std::make_unique<vault::ValueApi>(
            vault::ValueApiParts{*service_, world_.authorizer, metrics_, std::move(owners)});
        routes_ = std::make_unique<server::RouteTable>(api_->routes());
    }

    Answer post(const std::string& path, const std::string& body,
                const std::string& caller = "acme") {
        auto operation = world_.operation(caller);
        operation.set_traceparent("00-trace-01");
        Answer answer = call(*routes_, operation, server::Method::POST, path, body);
        facts_ = operation.facts();
        items_ = operation.items();
        work_ = operation.work();
        decided_ = operation.decided();
        return answer;
    }
    static std::string body(const std::string& value, const std::string& context) {
        return "{\"value\":" + value + ",\"context\":\"" + context + "\"}";
    }
    static std::string items(const std::vector<std::string>& bodies) {
        std::string all;
        for (const auto& one : bodies) all += (all.empty() ? "" : ",") + one;
        return "{\"items\":[" + all + "]}";
    }
    // The sealed JSON of `value`.
    std::string seal(const std::string& value, const std::string& context = "c",
                     const std::string& caller = "acme") {
        const auto answer = post("/v1/seal", body(value, context), caller);
        EXPECT_EQ(answer.status, 200U) << answer.body;
        return answer.at({"value"});
    }
    Answer open(const std::string& sealed, const std::string& context = "c",
                const std::string& caller = "acme") {
        return post("/v1/open", body(sealed, context), caller);
    }
    static std::string at(const Answer& answer, std::size_t i,
                          std::initializer_list<std::string_view> path) {
        const base::JsonValue* value = &(*answer.json.find("results")->array()).at(i);
        for (const auto name : path) value = value == nullptr ? nullptr : value->find(name);
        return value == nullptr ? "(none)" : std::string(base::to_json(*value));
    }
    void expect_integrity_failure(const Answer& answer) {
        EXPECT_EQ(answer.status, 422U) << answer.body;
        EXPECT_EQ(answer.error_code(), "integrity_failure");
        EXPECT_EQ(answer.message(), base::decryption_failed().message());
    }

    World world_;
    server::Metrics metrics_{"vaultd"};
    std::unique_ptr<vault::ValueService> service_;
    std::unique_ptr<vault::ValueApi> api_;
    std::unique_ptr<server::RouteTable> routes_;
    std::map<std::string, std::string> facts_;
    std::vector<server::ItemOutcome> items_;
    std::vector<server::DecidedAccess> decided_;
    std::uint64_t work_ = 0;  // what budgets count
};

const std::string token = R"({"access_token":"an-unmistakable-secret"})";

TEST_F(ValuesTest, OpensToWhatWasSealedAsItWasSpelled) {
    for (const std::string& value :
         {std::string("{}"), token, std::string(R"({"z":1.0e2,"a":[18446744073709551616,-0]})"),
          std::string("\"text\""), std::string("\"{}\""), std::string("1.50"), std::string("null"),
          std::string("true"), std::string("[]"), std::string("\"\"")}) {
        const auto sealed = post("/v1/seal", body(value, "accounts:42"));
        EXPECT_EQ(sealed.status, 200U) << sealed.body;
        EXPECT_EQ(sealed.at({"state"}), "\"sealed\"");
        EXPECT_EQ(sealed.at({"value", "__enc"}), "2");
        EXPECT_EQ(sealed.at({"key_id"}), "\"" + world_.keys.key_id().to_string() + "\"");
        EXPECT_EQ(sealed.at({"key_version"}), "3");
        EXPECT_EQ(facts_.at("made"), world_.keys.key_id().to_string() + "/3");
        EXPECT_EQ(sealed.body.find("unmistakable"), std::string::npos);
        const auto opened = open(sealed.at({"value"}), "accounts:42");
        EXPECT_EQ(opened.status, 200U) << opened.body;
        EXPECT_EQ(opened.at({"value"}), value);
        EXPECT_EQ(opened.at({"sealed"}), "true");
        EXPECT_EQ(opened.at({"reseal"}), "false");
        EXPECT_EQ(opened.at({"key_version"}), "3");
        EXPECT_EQ(facts_.at("key_id"), world_.keys.key_id().to_string());
        EXPECT_EQ(facts_.at("key_version"), "3");
        EXPECT_EQ(facts_.count("made"), 0U);
    }
    EXPECT_EQ(world_.keys.last_traceparent, "00-trace-01");
    ASSERT_EQ(decided_.size(), 1U);
    EXPECT_EQ(decided_[0].action, "open");
    EXPECT_EQ(decided_[0].resource.kind, "value");
    EXPECT_EQ(decided_[0].resource.owner, "spiffe://strongroom/acme");
    EXPECT_EQ(decided_[0].resource.id, "accounts:42");
}

TEST_F(ValuesTest, HowManySoeverTheKeyServiceIsAskedOnceToMakeAndOnceToUnwrap) {
    std::vector<std::string> plain;
    for (int i = 0; i < 100; ++i) {
        plain.push_back(body("{\"n\":" + std::to_string(i) + "}", "row:" + std::to_string(i)));
    }
    const auto sealed = post("/v1/seal", items(plain));
    EXPECT_EQ(sealed.status, 200U) << sealed.body;
    EXPECT_EQ(work_, 100U);
    EXPECT_EQ(world_.keys.calls, 2) << "made, and opened again before they are given back";
    std::vector<std::string> given;
    for (std::size_t i = 0; i < 100; ++i) {
        given.push_back(body(at(sealed, i, {"value"}), "row:" + std::to_string(i)));
    }
    world_.keys.calls = 0;
    const auto opened = post("/v1/open", items(given));
    EXPECT_EQ(world_.keys.calls, 1);
    for (std::size_t i = 0; i < 100; ++i) {
        EXPECT_EQ(at(opened, i, {"value", "n"}), std::to_string(i));
    }
    world_.keys.calls = 0;
    const auto again = post("/v1/seal", items(given));
    EXPECT_EQ(world_.keys.calls, 2) << "rewrapped, and opened";
    EXPECT_EQ(at(again, 99, {"value"}), at(sealed, 99, {"value"}));
}

TEST_F(ValuesTest, WhatIsSealedIsNotSealedAgain) {
    const std::string sealed = seal(token);
    const auto again = post("/v1/seal", body(sealed, "c"));
    EXPECT_EQ(again.at({"value"}), sealed);
    EXPECT_EQ(again.at({"state"}), "\"unchanged\"");
    SCOPED_TRACE("nor when a database keeps it as text");
    base::JsonWriter text;
    text.string(sealed);
    const auto as_text = post("/v1/seal", body(std::string(text.text()), "c"));
    EXPECT_EQ(as_text.at({"value"}), std::string_view(text.text()));
    EXPECT_EQ(as_text.at({"state"}), "\"unchanged\"");
    base::JsonWriter padded;
    padded.string("\n  " + sealed + "\n");
    EXPECT_EQ(post("/v1/seal", body(std::string(padded.text()), "c")).at({"state"}),
              "\"unchanged\"");
    EXPECT_EQ(open(std::string(padded.text())).at({"value"}), token);
    EXPECT_EQ(open(std::string(text.text())).at({"value"}), token);
    base::JsonWriter spaced;
    spaced.string("{ \"kid\" : 1, \"__enc\" : 2 }");
    expect_integrity_failure(post("/v1/seal", body(std::string(spaced.text()), "c")));
    base::JsonWriter cut;
    cut.string(std::string_view(sealed).substr(0, sealed.size() / 2));
    expect_integrity_failure(post("/v1/seal", body(std::string(cut.text()), "c")));
    expect_integrity_failure(open(std::string(cut.text())));
    SCOPED_TRACE("a text that only looks like it is a secret as others");
    const std::string harmless = R"("{ not JSON, \"__enc\" }")";
    EXPECT_EQ(open(seal(harmless)).at({"value"}), harmless);
}

TEST_F(ValuesTest, AfterARotationSealRewrapsAndLeavesTheCiphertextAlone) {
    const auto before = post("/v1/seal", body(token, "c"));
    world_.keys.primary = FakeDataKeys::key_version + 1;
    const auto opened = open(before.at({"value"}));
    EXPECT_EQ(opened.at({"reseal"}), "true");
    EXPECT_EQ(opened.at({"key_version"}), "3");
    const auto anew = post("/v1/seal", body(before.at({"value"}), "c"));
    EXPECT_EQ(anew.at({"state"}), "\"rewrapped\"");
    EXPECT_EQ(anew.at({"key_version"}), "4");
    for (const auto* same : {"kc", "iv", "ct"}) {
        EXPECT_EQ(anew.at({"value", same}), before.at({"value", same})) << same;
    }
    EXPECT_NE(anew.at({"value", "dek"}), before.at({"value", "dek"}));
    const auto reopened = open(anew.at({"value"}));
    EXPECT_EQ(reopened.at({"value"}), token);
    EXPECT_EQ(reopened.at({"reseal"}), "false");
    EXPECT_EQ(open(before.at({"value"})).at({"value"}), token) << "the old one opens still";
}

TEST_F(ValuesTest, ValuesOfAnotherOwnerOrContextDoNotOpen) {
    const std::string sealed = seal(token, "accounts:42");
    expect_integrity_failure(open(sealed, "accounts:43"));
    expect_integrity_failure(open(sealed, "accounts:4"));
    expect_integrity_failure(open(sealed, "accounts:42", "globex"));
    SCOPED_TRACE("nor are they sealed anew there");
    expect_integrity_failure(post("/v1/seal", body(sealed, "accounts:43")));
    expect_integrity_failure(post("/v1/seal", body(sealed, "accounts:42"), "globex"));
    SCOPED_TRACE("nor is a stored credential a value");
    vault::StoreRequest stored;
    stored.secret = base::SecretBytes(base::as_bytes(token));
    auto operation = world_.operation();
    const vault::CredentialId id{"acme", "c"};
    world_.service->store(world_.authorizer.authorize(operation, vault::store_credential,
                                                      vault::credential_resource(id)),
                          stored, "");
    expect_integrity_failure(open(world_.store->find_version(id, std::nullopt)->sealed));
}

TEST_F(ValuesTest, CallersThatShareAnOwnerShareValues) {
    build({}, {{"spiffe://strongroom/acme", "shop"}, {"spiffe://strongroom/globex", "shop"}});
    const std::string sealed = seal(token);
    EXPECT_EQ(open(sealed, "c", "globex").at({"value"}), token);
    EXPECT_EQ(decided_.at(0).resource.owner, "shop");
    build({}, {{"spiffe://strongroom/globex", "shop"}});
    EXPECT_EQ(open(sealed, "c", "globex").at({"value"}), token);
    expect_integrity_failure(open(sealed, "c", "acme"));
}

TEST_F(ValuesTest, EveryFlippedBitIsTheSameIntegrityFailure) {
    const auto sealed = post("/v1/seal", body("1", "c"));
    const std::string text = sealed.at({"value"});
    std::vector<std::string> flipped;
    for (const auto* field : {"dek", "kc", "iv", "ct"}) {
        const std::string quoted = sealed.at({"value", field});
        const std::string encoded = quoted.substr(1, quoted.size() - 2);
        base::Bytes bytes = *base::parse_base64(encoded);
        for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
            const auto mask = static_cast<std::uint8_t>(1U << (bit % 8));
            bytes[bit / 8] ^= mask;
            std::string changed = text;
            changed.replace(changed.find(encoded), encoded.size(), base::to_base64(bytes));
            bytes[bit / 8] ^= mask;
            flipped.push_back(body(changed, "c"));
        }
    }
    EXPECT_EQ(flipped.size(), (86U + 32U + 12U + 17U) * 8U);
    const std::string failure =
        R"({"code":"integrity_failure","message":")" + base::decryption_failed().message() + "\"}";
    for (std::size_t first = 0; first < flipped.size(); first += vault::max_values) {
        const auto last = std::min(flipped.size(), first + vault::max_values);
        const auto answer = post("/v1/open", items({flipped.begin() + static_cast<long>(first),
                                                    flipped.begin() + static_cast<long>(last)}));
        for (std::size_t i = 0; i < last - first; ++i) {
            ASSERT_EQ(at(answer, i, {"error"}), failure) << "bit " << first + i;
        }
    }
    for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
             {"/3\"", "/4\""},
             {"\"kid\"", "\"kie\""},
             {"\"ct\":\"", "\"ct\":\"*"},
             {"\"__enc\":2,", "\"__enc\":2,\"more\":1,"}}) {
        std::string changed = text;
        changed.replace(changed.find(from), from.size(), to);
        expect_integrity_failure(open(changed));
        expect_integrity_failure(post("/v1/seal", body(changed, "c")));
    }
}

TEST_F(ValuesTest, EachOfManyHasItsOwnResultAndItsOwnRow) {
    const std::string mine = seal(token);
    const std::string others = seal(token, "c", "globex");
    const std::string hidden = seal(token, "sealed-only", "globex");
    const auto answer = post("/v1/open",
                             items({body(others, "c"), body(mine, "c"), body(hidden, "sealed-only"),
                                    body("{\"plain\":1}", "c"), body("{\"__enc\":1}", "c")}),
                             "globex");
    EXPECT_EQ(answer.status, 200U) << answer.body;
    EXPECT_EQ(at(answer, 0, {"value"}), token);
    EXPECT_EQ(at(answer, 1, {"error", "code"}), "\"integrity_failure\"");
    EXPECT_EQ(at(answer, 2, {"error", "code"}), "\"permission_denied\"");
    EXPECT_EQ(at(answer, 3, {"error", "message"}), R"("\"value\" is not sealed")");
    EXPECT_EQ(at(answer, 4, {"error", "code"}), "\"invalid_argument\"");
    ASSERT_EQ(items_.size(), 5U);
    const std::vector<std::string> outcomes = {"ok", "integrity_failure", "permission_denied",
                                               "invalid_argument", "invalid_argument"};
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(items_[i].outcome, outcomes[i]);
        EXPECT_EQ(items_[i].items, std::to_string(i));
        EXPECT_EQ(items_[i].resource, i == 2 ? "sealed-only" : "c");
        EXPECT_EQ(items_[i].key, i == 0 ? world_.keys.key_id().to_string() + "/3" : "");
        EXPECT_EQ(decided_.at(*items_[i].decision).resource.id, items_[i].resource);
    }
    EXPECT_EQ(decided_.size(), 2U) << "one decision for each context";

    const auto sealed =
        post("/v1/seal", items({body("1", "a"), body("{\"__enc\":4}", "a"), body(others, "c")}),
             "globex");
    EXPECT_EQ(at(sealed, 0, {"state"}), "\"sealed\"");
    EXPECT_EQ(at(sealed, 1, {"error", "code"}), "\"invalid_argument\"");
    EXPECT_EQ(at(sealed, 2, {"state"}), "\"unchanged\"");
    EXPECT_EQ(items_[0].made, world_.keys.key_id().to_string() + "/3");
}

TEST_F(ValuesTest, WhoMayNotIsRefused) {
    EXPECT_EQ(post("/v1/seal", body("1", "c"), "reader").status, 403U);
    EXPECT_EQ(post("/v1/open", body("1", "c"), "reader").status, 403U);
    EXPECT_EQ(post("/v1/seal", "not read at all", "reader").status, 403U);
    const std::string hidden = seal(token, "sealed-only", "globex");
    EXPECT_EQ(open(hidden, "sealed-only", "globex").status, 403U);
}

TEST_F(ValuesTest, EveryBadFieldIsNamed) {
    std::vector<std::string> too_many(101, body("1", "c"));
    const std::string long_context(vault::max_name_bytes + 1, 'c');
    for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "malformed"},
             {"[]", "must be an object"},
             {"{}", "\"value\" is missing"},
             {R"({"value":1})", "\"context\" is missing"},
             {R"({"value":1,"context":7})", "\"context\""},
             {R"({"value":1,"context":""})", "\"context\""},
             {body("1", "a/b"), "\"context\""},
             {body("1", ".."), "\"context\""},
             {body("1", long_context), "\"context\""},
             {R"({"value":1,"context":"c","owner":"globex"})", "\"owner\" is not a known field"},
             {R"({"items":[],"value":1})", "\"items\""},
             {R"({"items":[{"value":1,"context":"c"}],"context":"c"})", "\"context\""},
             {R"({"items":{}})", "\"items\""},
             {items({body("1", "c"), "{\"context\":\"c\"}"}), "\"items[1].value\" is missing"},
             {items({body("1", "c"), body("1", "*")}), "\"items[1].context\""},
             {items(too_many), "\"items\""},
         }) {
        for (const auto* path : {"/v1/seal", "/v1/open"}) {
            const auto answer = post(path, text);
            EXPECT_EQ(answer.status, 400U) << text.substr(0, 80);
            EXPECT_NE(answer.message().find(part), std::string::npos)
                << answer.message() << " for " << text.substr(0, 80);
        }
    }
    EXPECT_EQ(world_.keys.calls, 0);
}

TEST_F(ValuesTest, TheLargestValuePassesAndALargerOneIsNamed) {
    const std::string largest = "\"" + std::string(vault::max_plaintext_bytes - 2, 'x') + "\"";
    const std::string sealed = seal(largest);
    EXPECT_EQ(open(sealed).at({"value"}), largest);
    EXPECT_EQ(post("/v1/seal", body(sealed, "c")).at({"value"}), sealed);
    const auto refused = post("/v1/seal", body("\"x" + largest.substr(1), "c"));
    EXPECT_EQ(refused.status, 400U);
    EXPECT_NE(refused.message().find("\"value\" must have at most 65536 bytes"), std::string::npos);
}

TEST_F(ValuesTest, WithoutTheKeyServiceNothingIsSealedOrOpened) {
    const std::string sealed = seal(token);
    world_.keys.unavailable = true;
    EXPECT_EQ(open(sealed).status, 503U);
    EXPECT_EQ(post("/v1/seal", body(token, "c")).status, 503U);
    EXPECT_EQ(post("/v1/seal", body(sealed, "c")).status, 503U);
    EXPECT_EQ(post("/v1/open", items({body(sealed, "c"), body(sealed, "d")})).status, 503U);
    world_.keys.unavailable = false;
    EXPECT_EQ(open(sealed).at({"value"}), token);
}

TEST_F(ValuesTest, WhatDoesNotOpenIsNotGivenBack) {
    world_.keys.wraps_badly = true;
    const auto answer = post("/v1/seal", body(token, "c"));
    EXPECT_EQ(answer.status, 500U);
    EXPECT_EQ(answer.body.find("__enc"), std::string::npos);
    const auto many = post("/v1/seal", items({body(token, "c")}));
    EXPECT_EQ(at(many, 0, {"error", "code"}), "\"internal\"");
    EXPECT_EQ(at(many, 0, {"value"}), "(none)");
}

TEST_F(ValuesTest, PlaintextPassesOnlyWhereItMayAndIsMarkedAndCounted) {
    const auto off = open(token);
    EXPECT_EQ(off.status, 400U);
    EXPECT_EQ(off.message(), "\"value\" is not sealed");
    EXPECT_EQ(off.body.find("unmistakable"), std::string::npos);

    const base::Time end = world_.clock.now() + std::chrono::hours(1);
    build({.on = true, .until = end});
    const auto passed = open(token);
    EXPECT_EQ(passed.status, 200U) << passed.body;
    EXPECT_EQ(passed.at({"value"}), token);
    EXPECT_EQ(passed.at({"sealed"}), "false");
    EXPECT_EQ(passed.at({"reseal"}), "true");
    EXPECT_EQ(passed.at({"key_id"}), "(none)");
    EXPECT_EQ(facts_.at("plaintext"), "0");
    EXPECT_EQ(world_.keys.calls, 0);
    const std::string sealed = seal(token);
    const auto many = post("/v1/open", items({body("1", "c"), body(sealed, "c"), body("2", "c")}));
    EXPECT_EQ(at(many, 0, {"sealed"}), "false");
    EXPECT_EQ(at(many, 1, {"sealed"}), "true");
    EXPECT_EQ(facts_.at("plaintext"), "0,2");
    EXPECT_NE(metrics_.text().find("strongroom_plaintext_opened_total{daemon=\"vaultd\"} 3"),
              std::string::npos)
        << metrics_.text();
    SCOPED_TRACE("what is marked as sealed is no plaintext");
    EXPECT_EQ(open(R"({"__enc":1,"kid":"v1"})").status, 400U);
    expect_integrity_failure(open(R"({"__enc":2})"));

    world_.clock.advance(std::chrono::minutes(60));
    const auto late = open(token);
    EXPECT_EQ(late.status, 400U);
    EXPECT_EQ(late.message(),
              "\"value\" is not sealed; such values are refused since " + base::to_rfc3339(end));
    EXPECT_EQ(open(sealed).at({"value"}), token);
    build({.on = true, .until = {}});
    EXPECT_EQ(open(token).at({"sealed"}), "false") << "without a date it has no end";
}

TEST_F(ValuesTest, AGrantOfAnotherActionOrOwnerDoesNotServe) {
    auto operation = world_.operation();
    const auto grant = [&](server::Action action, const std::string& owner) {
        return world_.authorizer.authorize(operation, action, vault::value_resource(owner, "c"));
    };
    const auto seal_grant = grant(vault::seal_value, "a");
    const auto other_owner = grant(vault::seal_value, "b");
    const base::JsonValue value(true);
    const vault::ValueJob job{&seal_grant, &value};
    EXPECT_ERROR(internal, service_->open({&job, 1}, ""));
    const std::vector<vault::ValueJob> mixed = {job, {&other_owner, &value}};
    EXPECT_ERROR(internal, service_->seal(mixed, ""));
    EXPECT_TRUE(service_->seal({}, "").empty());
    EXPECT_TRUE(service_->open({}, "").empty());
}

}  // namespace
}  // namespace tests
