// The policy beside the one in force, and the change of both at a reload.
#include <gtest/gtest.h>

#include "server/authorizer.h"
#include "server/metrics.h"
#include "server/policy.h"
#include "server/reload.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

namespace {

std::string shadow_text(const std::string& resource) {
    return R"({"version":1,"roles":{"r":[{"id":"it","effect":"allow","actions":["use"],"resources":[")" +
           resource + R"("]}]},"bindings":[{"caller":"app","roles":["r"]}]})";
}

std::shared_ptr<const server::Policy> shadow_policy(const std::string& resource) {
    return server::parse_policy(shadow_text(resource), {"use"});
}

server::Operation shadowed_operation() {
    server::Caller caller;
    caller.id = "app";
    caller.method = server::AuthenticationMethod::client_certificate;
    return {base::Uuid::random(), base::Time(), caller};
}

server::Resource shadowed_key(std::string id) {
    server::Resource resource;
    resource.kind = "key";
    resource.id = std::move(id);
    return resource;
}

constexpr const char* differences = "strongroom_shadow_decisions_differ_total";

TEST(PolicyShadow, ChangesNoDecisionAndIsCountedWhereItDiffers) {
    server::Metrics metrics("test");
    const server::Authorizer authorizer(shadow_policy("key:k1"), shadow_policy("key:k2"),
                                        {&metrics, nullptr});
    auto operation = shadowed_operation();
    EXPECT_TRUE(authorizer.would_allow(operation, {"use"}, shadowed_key("k1")));
    EXPECT_ERROR(permission_denied, authorizer.authorize(operation, {"use"}, shadowed_key("k2")));
    EXPECT_FALSE(authorizer.would_allow(operation, {"use"}, shadowed_key("k3")));
    for (const auto& decided : operation.decided()) {
        EXPECT_EQ(decided.decision.policy_hash, authorizer.policy_hash());
    }
    EXPECT_NE(metrics.text().find(std::string(differences) + R"({daemon="test"} 2)"),
              std::string::npos)
        << metrics.text();
}

TEST(PolicyShadow, WhatItLooksUpIsLookedUpAfterTheDecisionAndItsFailureEndsNothing) {
    server::Metrics metrics("test");
    auto operation = shadowed_operation();
    std::size_t asked = 0;
    std::size_t decided = 0;
    bool fails = true;
    server::AuthorizerParts parts;
    parts.metrics = &metrics;
    parts.tags_for_shadow = [&](const server::Resource& resource) {
        ++asked;
        decided = operation.decided().size();
        EXPECT_EQ(resource.id, "k1");
        if (fails) throw base::Error(base::ErrorCode::unavailable, "no store");
        return std::map<std::string, std::string>{{"team", "payments"}};
    };
    server::Authorizer authorizer(shadow_policy("key:k1"), shadow_policy("key:tag/team=payments"),
                                  parts);
    EXPECT_FALSE(authorizer.asks_for_tags()) << "the one in force does not";
    server::Resource resource = shadowed_key("k1");
    resource.tags_left_out = true;
    EXPECT_NO_THROW(authorizer.authorize(operation, {"use"}, resource));
    EXPECT_EQ(asked, 1U);
    EXPECT_EQ(decided, 1U);
    const auto counted = [&](const std::string& name) {
        return metrics.text().find("strongroom_" + name + "_total") != std::string::npos;
    };
    EXPECT_TRUE(counted("shadow_not_asked")) << metrics.text();
    EXPECT_FALSE(counted("shadow_decisions_differ")) << metrics.text();
    fails = false;
    EXPECT_NO_THROW(authorizer.authorize(operation, {"use"}, resource));
    EXPECT_EQ(asked, 2U);
    EXPECT_FALSE(counted("shadow_decisions_differ")) << "the tags were asked about, too";
    EXPECT_TRUE(operation.decided().back().resource.tags.empty()) << "of the shadow alone";
    // Neither what is complete nor what the shadow does not go by is looked up.
    resource.tags_left_out = false;
    EXPECT_NO_THROW(authorizer.authorize(operation, {"use"}, resource));
    resource.tags_left_out = true;
    authorizer.replace(shadow_policy("key:k1"), shadow_policy("key:k2"));
    EXPECT_NO_THROW(authorizer.authorize(operation, {"use"}, resource));
    EXPECT_EQ(asked, 2U);
}

TEST(PolicyShadow, IsAskedAboutTheItemsOfAListAndHidesNone) {
    server::Metrics metrics("test");
    const server::Authorizer authorizer(shadow_policy("key:k1"), shadow_policy("key:k2"),
                                        {&metrics, nullptr});
    const auto operation = shadowed_operation();
    EXPECT_TRUE(authorizer.shows(operation, {"use"}, shadowed_key("k1")));
    EXPECT_FALSE(authorizer.shows(operation, {"use"}, shadowed_key("k2")));
    EXPECT_FALSE(authorizer.shows(operation, {"use"}, shadowed_key("k3")));
    EXPECT_NE(metrics.text().find(std::string(differences) + R"({daemon="test"} 2)"),
              std::string::npos)
        << metrics.text();
}

TEST(PolicyShadow, SamePolicyDiffersNowhere) {
    server::Metrics metrics("test");
    const server::Authorizer authorizer(shadow_policy("key:k1"), shadow_policy("key:k1"),
                                        {&metrics, nullptr});
    auto operation = shadowed_operation();
    EXPECT_TRUE(authorizer.would_allow(operation, {"use"}, shadowed_key("k1")));
    EXPECT_EQ(metrics.text().find(differences), std::string::npos);
}

TEST(PolicyReload, PutsBothInForceOrNeitherAndNamesBothHashes) {
    const tests::TemporaryDirectory folder;
    const server::PolicyFiles files{folder.write("p.json", shadow_text("key:k1"), 0600),
                                    folder.write("next.json", shadow_text("key:k2"), 0600)};
    server::Authorizer authorizer(server::load_policy(files.file, {"use"}));
    const std::string before = authorizer.policy_hash();
    EXPECT_EQ(authorizer.shadow_hash(), "");
    const auto step = server::policy_step(authorizer, files, {"use"});
    folder.write("p.json", shadow_text("key:k9"), 0600);
    const auto facts = step.run();
    EXPECT_EQ(facts.at("policy_hash_before"), before);
    EXPECT_EQ(facts.at("policy_hash"), authorizer.policy_hash());
    EXPECT_NE(authorizer.policy_hash(), before);
    EXPECT_EQ(facts.at("shadow_policy_hash"), shadow_policy("key:k2")->hash());
    const std::string in_force = authorizer.policy_hash();
    folder.write("p.json", shadow_text("key:k1"), 0600);
    folder.write("next.json", "{", 0600);
    EXPECT_ERROR_SAYING(invalid_argument, "next.json", step.run());
    EXPECT_EQ(authorizer.policy_hash(), in_force);
    EXPECT_EQ(authorizer.shadow_hash(), shadow_policy("key:k2")->hash());
}

}  // namespace
