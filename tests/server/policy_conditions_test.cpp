// What rules ask beside action and resource, and who is bound by claims.
#include <gtest/gtest.h>

#include "base/clock.h"
#include "server/policy.h"
#include "server/policy_conditions.h"
#include "tests/support/expect_error.h"

namespace {

using server::AuthenticationMethod;

const server::PolicyWords condition_actions =
    server::PolicyWords({"create_key", "unwrap_data_key"}).add_owned_and_tagged("credential");

// A question with everything in it; each test changes what it is about.
struct Asked {
    server::Caller caller;
    server::Resource resource;
    std::map<std::string, std::string> context;
    base::Time now = *base::parse_rfc3339("2026-11-25T10:00:00Z");  // a Wednesday

    Asked() {
        caller.id = "spiffe://s/app";
        caller.method = AuthenticationMethod::client_certificate;
        caller.address = "10.1.2.3";
        resource.kind = "key";
        resource.id = "k1";
        resource.tags = {{"team", "payments"}, {"env", "prod"}};
        context = {{"tenant", "t-9"}, {"purpose", "login"}};
    }
    server::Decision of(const std::string& text) const {
        return server::parse_policy(text, condition_actions)
            ->decide({caller, {"unwrap_data_key"}, resource, context, now});
    }
};

std::string with_rules(const std::string& rules,
                       const std::string& binding = R"({"caller":"*","roles":["r"]})") {
    return R"({"version":1,"roles":{"r":[)" + rules + R"(]},"bindings":[)" + binding + "]}";
}

std::string conditional(const std::string& when, const std::string& effect = "allow",
                        const std::string& name = "when", const std::string& resource = R"("*")") {
    return R"({"id":")" + effect + R"(-it","effect":")" + effect +
           R"(","actions":["*"],"resources":[)" + resource + R"(],")" + name + R"(":)" + when + "}";
}

constexpr const char* allow_all =
    R"({"id":"all","effect":"allow","actions":["*"],"resources":["*"]})";

bool allowed(const Asked& asked, const std::string& when) {
    return asked.of(with_rules(conditional(when))).allowed;
}

// Whether a deny rule with that condition lets the question through.
bool passes_deny(const Asked& asked, const std::string& when) {
    return asked.of(with_rules(std::string(allow_all) + "," + conditional(when, "deny"))).allowed;
}

bool by_resource(const Asked& asked, const std::string& pattern) {
    return asked
        .of(with_rules(conditional(R"({"authentication":["client_certificate"]})", "allow", "when",
                                   '"' + pattern + '"')))
        .allowed;
}

TEST(PolicyConditions, ContextEntriesMustBeThereAndFit) {
    const Asked asked;
    EXPECT_TRUE(allowed(asked, R"({"context":{"tenant":["t-9"]}})"));
    EXPECT_TRUE(allowed(asked, R"({"context":{"tenant":["x","t-*"],"purpose":["login"]}})"));
    EXPECT_FALSE(allowed(asked, R"({"context":{"tenant":["t-8"]}})"));
    EXPECT_FALSE(allowed(asked, R"({"context":{"tenant":["t-9"],"purpose":["export"]}})"));
    EXPECT_FALSE(allowed(asked, R"({"context":{"missing":["*"]}})"));
    EXPECT_FALSE(passes_deny(asked, R"({"context":{"tenant":["t-*"]}})"));
    EXPECT_TRUE(passes_deny(asked, R"({"context":{"missing":["*"]}})"));
}

TEST(PolicyConditions, ContextKeysCanBeRequiredAndLimited) {
    const Asked asked;
    EXPECT_TRUE(allowed(asked, R"({"context_required":["tenant","purpose"]})"));
    EXPECT_FALSE(allowed(asked, R"({"context_required":["tenant","user"]})"));
    EXPECT_TRUE(allowed(asked, R"({"context_only":["tenant","pur*"]})"));
    EXPECT_FALSE(allowed(asked, R"({"context_only":["tenant"]})"));
    Asked empty;
    empty.context.clear();
    EXPECT_TRUE(allowed(empty, R"({"context_only":["tenant"]})"));
    EXPECT_FALSE(allowed(empty, R"({"context_required":["tenant"]})"));
}

TEST(PolicyConditions, OwnerFitsOrThereIsNone) {
    Asked asked;
    EXPECT_FALSE(allowed(asked, R"({"owner":["*"]})"));
    asked.resource.owner = "app";
    EXPECT_TRUE(allowed(asked, R"({"owner":["other","a*"]})"));
    EXPECT_TRUE(allowed(asked, R"({"owner":["{caller_name}"]})"));
    EXPECT_FALSE(allowed(asked, R"({"owner":["other"]})"));
}

TEST(PolicyConditions, TagsMustBeThereAndFit) {
    const Asked asked;
    EXPECT_TRUE(allowed(asked, R"({"tags":{"team":["pay*"],"env":["test","prod"]}})"));
    EXPECT_FALSE(allowed(asked, R"({"tags":{"team":["search"]}})"));
    EXPECT_FALSE(allowed(asked, R"({"tags":{"cost":["*"]}})"));
}

TEST(PolicyConditions, ResourcesAreNamedByTag) {
    Asked asked;
    EXPECT_TRUE(by_resource(asked, "key:tag/team=payments"));
    EXPECT_TRUE(by_resource(asked, "key:tag/team=*"));
    EXPECT_TRUE(by_resource(asked, "key:tag/t*=pay*"));
    EXPECT_FALSE(by_resource(asked, "key:tag/team=prod"));
    EXPECT_FALSE(by_resource(asked, "key:tag/team=payments2"));
    EXPECT_FALSE(by_resource(asked, "credential:*/tag/team=payments"));
    // An id that looks like a tag is none, nor is an owner.
    asked.resource.tags.clear();
    asked.resource.id = "tag/team=payments";
    EXPECT_FALSE(by_resource(asked, "key:tag/team=payments"));
    Asked owned;
    owned.resource.owner = "somebody";
    EXPECT_FALSE(by_resource(owned, "key:tag/team=payments"));
}

TEST(PolicyConditions, CredentialsAreNamedByOwnerAndTag) {
    Asked asked;
    asked.resource.kind = "credential";
    asked.resource.owner = "acme";
    for (const auto* pattern : {"credential:acme/tag/team=payments", "credential:*/tag/team=*",
                                "credential:a*/tag/*=prod"}) {
        EXPECT_TRUE(by_resource(asked, pattern)) << pattern;
    }
    for (const auto* pattern :
         {"credential:globex/tag/team=payments", "credential:acme/tag/team=search",
          "credential:acme/tag/payments=team", "key:acme/tag/team=payments"}) {
        EXPECT_FALSE(by_resource(asked, pattern)) << pattern;
    }
    asked.resource.tags.clear();
    asked.resource.id = "team=payments";
    EXPECT_FALSE(by_resource(asked, "credential:acme/tag/team=payments")) << "a name is no tag";
    asked.resource.owner.clear();
    asked.resource.tags = {{"team", "payments"}};
    EXPECT_FALSE(by_resource(asked, "credential:*/tag/team=payments")) << "all owners together";
}

// A list, or the erasure of an owner, is about credentials of any tags.
TEST(PolicyConditions, OfManyCredentialsNobodyKnowsTheTagsSoTheyAllowNothingAndDeny) {
    Asked asked;
    asked.resource = {.kind = "credential", .id = "*", .owner = "acme", .aliases = {}, .tags = {}};
    const std::string all = R"("credential:*")";
    const std::string tags = R"({"tags":{"team":["payments"]}})";
    const auto denied = [&](const std::string& rule) {
        EXPECT_TRUE(asked.of(with_rules(allow_all)).allowed);
        return !asked.of(with_rules(std::string(allow_all) + "," + rule)).allowed;
    };
    const std::string always = R"({"authentication":["client_certificate"]})";
    for (const bool every_owner : {false, true}) {
        if (every_owner) asked.resource.owner.clear();
        EXPECT_TRUE(
            denied(conditional(always, "deny", "when", R"("credential:*/tag/team=payments")")));
        EXPECT_TRUE(denied(conditional(tags, "deny", "when", all)));
        EXPECT_TRUE(denied(conditional(tags, "deny", "unless", all)));
        EXPECT_FALSE(by_resource(asked, "credential:*/tag/team=payments"));
        EXPECT_FALSE(asked.of(with_rules(conditional(tags, "allow", "when", all))).allowed);
        EXPECT_FALSE(asked.of(with_rules(conditional(tags, "allow", "unless", all))).allowed);
    }
    asked.resource.owner = "globex";
    EXPECT_FALSE(
        denied(conditional(always, "deny", "when", R"("credential:acme/tag/team=payments")")));
    asked.resource.id = "name";
    EXPECT_FALSE(denied(conditional(tags, "deny", "when", all)));
}

TEST(PolicyConditions, AnOwnerNamedTagIsAnOwnerAndWhatCouldMeanEitherIsRefused) {
    Asked asked;
    asked.resource.kind = "credential";
    asked.resource.owner = "tag";
    asked.resource.id = "team";
    EXPECT_TRUE(by_resource(asked, "credential:tag/team"));
    EXPECT_TRUE(by_resource(asked, "credential:tag/*"));
    EXPECT_TRUE(by_resource(asked, "credential:tag/tag/team=payments"));
    asked.resource.owner = "acme";
    EXPECT_FALSE(by_resource(asked, "credential:tag/*"));
    for (const auto* pattern : {"credential:tag/team=payments", "credential:tag/*=*"}) {
        EXPECT_ERROR_SAYING(invalid_argument, "credential:*/tag/name=value",
                            by_resource(asked, pattern));
    }
    EXPECT_ERROR_SAYING(invalid_argument, "must name a tag",
                        by_resource(asked, "credential:acme/tag/team"));
}

TEST(PolicyConditions, APolicySaysWhetherItAsksForTags) {
    const auto asks = [](const std::string& rule) {
        return server::parse_policy(with_rules(rule), condition_actions)->asks_for_tags();
    };
    EXPECT_FALSE(asks(allow_all));
    EXPECT_FALSE(asks(conditional(R"({"owner":["a"]})", "allow", "when", R"("credential:tag/a")")));
    EXPECT_TRUE(asks(conditional(R"({"tags":{"a":["b"]}})")));
    EXPECT_TRUE(asks(conditional(R"({"tags":{"a":["b"]}})", "deny", "unless")));
    EXPECT_TRUE(
        asks(conditional(R"({"owner":["a"]})", "deny", "when", R"("credential:*/tag/a=b")")));
}

TEST(PolicyConditions, NetworksAreIPv4AndIPv6) {
    Asked asked;
    const auto from = [&asked](const std::string& address, const std::string& network) {
        asked.caller.address = address;
        return allowed(asked, R"({"network":[)" + network + "]}");
    };
    EXPECT_TRUE(from("10.1.2.3", R"("10.0.0.0/8")"));
    EXPECT_FALSE(from("11.1.2.3", R"("10.0.0.0/8")"));
    EXPECT_TRUE(from("192.168.1.127", R"("192.168.1.0/25")"));
    EXPECT_FALSE(from("192.168.1.128", R"("192.168.1.0/25")"));
    EXPECT_TRUE(from("192.168.1.128", R"("10.0.0.0/8","192.168.1.128/32")"));
    EXPECT_TRUE(from("8.8.8.8", R"("0.0.0.0/0")"));
    EXPECT_FALSE(from("::1", R"("0.0.0.0/0")"));
    EXPECT_TRUE(from("fd12::1", R"("fd00::/8")"));
    EXPECT_FALSE(from("fe80::1", R"("fd00::/8")"));
    EXPECT_TRUE(from("fe80::1%eth0", R"("fe80::/10")"));
    EXPECT_TRUE(from("2001:db8:0:1::5", R"("2001:db8:0:1::/64")"));
    EXPECT_FALSE(from("2001:db8:0:2::5", R"("2001:db8:0:1::/64")"));
    EXPECT_TRUE(from("::ffff:10.9.9.9", R"("10.0.0.0/8")"));
}

TEST(PolicyConditions, PeerWithoutAddressIsInNoNetworkAndPassesNoDeny) {
    Asked asked;
    asked.caller.address.clear();
    EXPECT_FALSE(allowed(asked, R"({"network":["0.0.0.0/0","::/0"]})"));
    EXPECT_FALSE(passes_deny(asked, R"({"network":["10.0.0.0/8"]})"));
    asked.caller.address = "192.0.2.1";
    EXPECT_TRUE(passes_deny(asked, R"({"network":["10.0.0.0/8"]})"));
}

TEST(PolicyConditions, HoursAndDaysAreInUtc) {
    Asked asked;
    const auto at = [&asked](const std::string& time, const std::string& window) {
        asked.now = *base::parse_rfc3339(time);
        return allowed(asked, R"({"time":[)" + window + "]}");
    };
    const std::string office =
        R"({"days":["monday","tuesday","wednesday","thursday","friday"],"from":"08:00","to":"18:00"})";
    EXPECT_TRUE(at("2026-11-25T08:00:00Z", office));
    EXPECT_TRUE(at("2026-11-25T17:59:59.999Z", office));
    EXPECT_FALSE(at("2026-11-25T07:59:59.999Z", office));
    EXPECT_FALSE(at("2026-11-25T18:00:00Z", office));
    EXPECT_TRUE(at("2026-11-25T18:30:00+01:00", office));
    EXPECT_FALSE(at("2026-11-28T10:00:00Z", office));  // a Saturday
    EXPECT_TRUE(at("2026-11-28T10:00:00Z", office + R"(,{"days":["saturday"]})"));
    EXPECT_TRUE(at("2026-11-29T23:59:59Z", R"({"days":["sunday"],"from":"23:00","to":"24:00"})"));
    EXPECT_FALSE(at("2026-11-30T00:00:00Z", R"({"days":["sunday"],"from":"23:00","to":"24:00"})"));
}

TEST(PolicyConditions, AuthenticationMethodIsAsked) {
    Asked asked;
    EXPECT_TRUE(allowed(asked, R"({"authentication":["jwt","client_certificate"]})"));
    EXPECT_FALSE(allowed(asked, R"({"authentication":["jwt","api_token"]})"));
    asked.caller.method = AuthenticationMethod::api_token;
    EXPECT_TRUE(allowed(asked, R"({"authentication":["jwt","api_token"]})"));
}

TEST(PolicyConditions, AllOfWhenMustHoldAndUnlessMustNot) {
    const Asked asked;
    EXPECT_FALSE(allowed(asked, R"({"network":["10.0.0.0/8"],"context":{"tenant":["t-8"]}})"));
    EXPECT_FALSE(allowed(asked, R"({"network":["11.0.0.0/8"],"context":{"tenant":["t-9"]}})"));
    const auto unless = [](const std::string& effect, const std::string& condition) {
        return conditional(condition, effect, "unless");
    };
    EXPECT_FALSE(asked.of(with_rules(unless("allow", R"({"network":["10.0.0.0/8"]})"))).allowed);
    EXPECT_TRUE(asked.of(with_rules(unless("allow", R"({"network":["11.0.0.0/8"]})"))).allowed);
    // Nobody from outside of a network, whatever else allows it; a peer whose address nobody knows
    // is outside.
    const auto inside_only =
        with_rules(std::string(allow_all) + "," + unless("deny", R"({"network":["10.0.0.0/8"]})"));
    EXPECT_TRUE(asked.of(inside_only).allowed);
    Asked outside;
    outside.caller.address = "192.0.2.1";
    EXPECT_EQ(outside.of(inside_only).rule, "deny-it");
    outside.caller.address.clear();
    EXPECT_EQ(outside.of(inside_only).rule, "deny-it");
}

TEST(PolicyConditions, ClaimsFillPlaceholdersWithEachOfTheirValues) {
    Asked asked;
    asked.resource.owner = "u-17";
    const std::string rule =
        conditional(R"({"authentication":["jwt"]})", "allow", "when", R"("key:{claim:sub}/*")");
    asked.caller.method = AuthenticationMethod::jwt;
    EXPECT_FALSE(asked.of(with_rules(rule)).allowed);
    asked.caller.claims["sub"] = {"u-17"};
    EXPECT_TRUE(asked.of(with_rules(rule)).allowed);
    asked.caller.claims["sub"] = {"u-1", "u-17"};
    EXPECT_TRUE(asked.of(with_rules(rule)).allowed);
    for (const char* other : {"u-1", "*", "u-17/", ""}) {
        asked.caller.claims["sub"] = {other};
        EXPECT_FALSE(asked.of(with_rules(rule)).allowed) << other;
    }
    // In a deny, what can't be filled counts as fitting, unless the fixed part says otherwise.
    const auto deny = [](const std::string& resource) {
        return with_rules(std::string(allow_all) + "," +
                          conditional(R"({"authentication":["jwt"]})", "deny", "when", resource));
    };
    asked.caller.claims.clear();
    EXPECT_FALSE(asked.of(deny(R"("key:{claim:sub}/*")")).allowed);
    EXPECT_TRUE(asked.of(deny(R"("key:team-{claim:sub}/*")")).allowed);
    asked.caller.claims["sub"] = {"u-18"};
    EXPECT_TRUE(asked.of(deny(R"("key:{claim:sub}/*")")).allowed);
}

TEST(PolicyConditions, ConditionsTakePlaceholders) {
    Asked asked;
    asked.context["user"] = "u-17";
    asked.caller.claims["sub"] = {"u-17"};
    EXPECT_TRUE(allowed(asked, R"({"context":{"user":["{claim:sub}"]}})"));
    asked.caller.claims["sub"] = {"u-18"};
    EXPECT_FALSE(allowed(asked, R"({"context":{"user":["{claim:sub}"]}})"));
}

TEST(PolicyBindings, ClaimsGiveRoles) {
    Asked asked;
    const auto bound = [&asked](const std::string& binding) {
        return asked.of(with_rules(allow_all, binding)).allowed;
    };
    EXPECT_FALSE(bound(R"({"claims":{"role":["editor"]},"roles":["r"]})"));
    asked.caller.claims["role"] = {"viewer", "editor"};
    EXPECT_TRUE(bound(R"({"claims":{"role":["editor"]},"roles":["r"]})"));
    EXPECT_TRUE(bound(R"({"claims":{"role":["admin","edit*"]},"roles":["r"]})"));
    EXPECT_FALSE(bound(R"({"claims":{"role":["admin"]},"roles":["r"]})"));
    EXPECT_FALSE(bound(R"({"claims":{"role":["editor"],"org":["a"]},"roles":["r"]})"));
    asked.caller.claims["org"] = {"a"};
    EXPECT_TRUE(bound(R"({"claims":{"role":["editor"],"org":["a"]},"roles":["r"]})"));
    EXPECT_TRUE(bound(R"({"caller":"spiffe://s/*","claims":{"org":["a"]},"roles":["r"]})"));
    EXPECT_FALSE(bound(R"({"caller":"spiffe://t/*","claims":{"org":["a"]},"roles":["r"]})"));
}

TEST(PolicyBindings, AuthenticationMethodCanBePartOfThem) {
    Asked asked;
    const auto text = with_rules(
        allow_all, R"({"caller":"spiffe://s/app","authentication":["jwt"],"roles":["r"]})");
    EXPECT_FALSE(asked.of(text).allowed);
    asked.caller.method = AuthenticationMethod::jwt;
    EXPECT_TRUE(asked.of(text).allowed);
}

std::string two_roles(const std::string& bindings) {
    return R"({"version":1,"exclusive":[["operator","auditor"]],
        "roles":{"operator":[{"id":"o","effect":"allow","actions":["*"],"resources":["*"]}],
                 "auditor":[{"id":"a","effect":"allow","actions":["*"],"resources":["*"]}]},
        "bindings":[)" +
           bindings + "]}";
}

TEST(PolicyBindings, FileThatGivesExclusiveRolesToOneCallerIsRefused) {
    for (const char* bindings :
         {R"({"caller":"x","roles":["operator","auditor"]})",
          R"({"claims":{"a":["b"]},"roles":["auditor","operator"]})",
          R"({"caller":"x","roles":["operator"]},{"caller":"*","roles":["auditor"]})",
          R"({"caller":"x*","roles":["operator"]},{"caller":"xy","roles":["auditor"]})"}) {
        SCOPED_TRACE(bindings);
        EXPECT_ERROR_SAYING(invalid_argument, "exclude each other",
                            server::parse_policy(two_roles(bindings), condition_actions));
    }
    EXPECT_NO_THROW(server::parse_policy(
        two_roles(R"({"caller":"x","roles":["operator"]},{"caller":"y","roles":["auditor"]})"),
        condition_actions));
}

TEST(PolicyBindings, CallerWhomClaimsGiveExclusiveRolesMayNothing) {
    Asked asked;
    const auto text = two_roles(R"({"caller":"spiffe://s/*","roles":["operator"]},
                                   {"claims":{"group":["audit"]},"roles":["auditor"]})");
    EXPECT_EQ(asked.of(text).rule, "o");
    asked.caller.claims["group"] = {"audit"};
    EXPECT_EQ(asked.of(text).rule, "exclusive-roles");
    EXPECT_FALSE(asked.of(text).allowed);
    EXPECT_FALSE(server::parse_policy(text, condition_actions)
                     ->may_ever(asked.caller, {"unwrap_data_key"}, asked.now));
}

TEST(PolicyConditions, MayEverKnowsWhatHangsOnTheCallerAlone) {
    Asked asked;
    const auto ever = [&asked](const std::string& when) {
        return server::parse_policy(with_rules(conditional(when)), condition_actions)
            ->may_ever(asked.caller, {"unwrap_data_key"}, asked.now);
    };
    EXPECT_TRUE(ever(R"({"network":["10.0.0.0/8"],"context":{"tenant":["t-1"]}})"));
    EXPECT_FALSE(ever(R"({"network":["11.0.0.0/8"]})"));
    EXPECT_FALSE(ever(R"({"authentication":["jwt"]})"));
    EXPECT_FALSE(ever(R"({"time":[{"days":["sunday"]}]})"));
}

TEST(PolicyConditions, EveryMistakeIsNamed) {
    const auto mistake = [](const std::string& when, const std::string& part) {
        SCOPED_TRACE(when);
        EXPECT_ERROR_SAYING(invalid_argument, part,
                            server::parse_policy(with_rules(conditional(when)), condition_actions));
    };
    mistake("{}", "roles.r[0].when");
    mistake(R"({"weather":["rain"]})", "roles.r[0].when.weather");
    mistake(R"({"context":{}})", "roles.r[0].when.context");
    mistake(R"({"context":{"a":[]}})", "roles.r[0].when.context.a");
    mistake(R"({"context":{"a":["{x}"]}})", "{claim:NAME}");
    mistake(R"({"context_required":[]})", "when.context_required");
    mistake(R"({"context_only":[]})", "when.context_only");
    mistake(R"({"owner":["{claim:a}{claim:b}"]})", "one claim");
    mistake(R"({"owner":["{claim:}"]})", "{claim:NAME}");
    mistake(R"({"tags":{"a":"b"}})", "when.tags.a");
    for (const char* network : {"10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8/8", "x/8",
                                "10.0.0.0/-1", "10.0.0.0/", "fd00::/129", "fe80::%1/64"}) {
        mistake(R"({"network":[")" + std::string(network) + R"("]})", "roles.r[0].when.network");
    }
    mistake(R"({"time":[]})", "when.time");
    mistake(R"({"time":[{"days":["caturday"]}]})", "when.time[0].days");
    mistake(R"({"time":[{"from":"8:00"}]})", "when.time[0].from");
    mistake(R"({"time":[{"from":"08:60"}]})", "when.time[0].from");
    mistake(R"({"time":[{"to":"24:01"}]})", "when.time[0].to");
    mistake(R"({"time":[{"from":"22:00","to":"06:00"}]})", "two windows");
    mistake(R"({"time":[{"zone":"CET"}]})", "when.time[0].zone");
    mistake(R"({"authentication":["password"]})", "when.authentication");
    mistake(R"({"authentication":["none"]})", "when.authentication");
    const auto bad_binding = [](const std::string& binding, const std::string& part) {
        SCOPED_TRACE(binding);
        EXPECT_ERROR_SAYING(
            invalid_argument, part,
            server::parse_policy(with_rules(allow_all, binding), condition_actions));
    };
    bad_binding(R"({"roles":["r"]})", "bindings[0].caller");
    bad_binding(R"({"claims":{},"roles":["r"]})", "bindings[0].claims");
    bad_binding(R"({"claims":{"a":["{caller}"]},"roles":["r"]})", "bindings[0].claims.a");
    bad_binding(R"({"claims":{"a":["b"]},"roles":["r"]},{"claims":{"a":["b"]},"roles":["r"]})",
                "bindings[1].claims");
    EXPECT_ERROR_SAYING(
        invalid_argument, "exclusive",
        server::parse_policy(R"({"version":1,"exclusive":[["r"]],"roles":{"r":[]},"bindings":[]})",
                             condition_actions));
    EXPECT_ERROR_SAYING(
        invalid_argument, "ghost",
        server::parse_policy(
            R"({"version":1,"exclusive":[["r","ghost"]],"roles":{"r":[]},"bindings":[]})",
            condition_actions));
}

}  // namespace
