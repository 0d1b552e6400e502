// Whether a caller acts for its own owner or, as an administrator, for whichever: by the rule that
// allowed it, and how that stands in the audit record.
#include <gtest/gtest.h>

#include "server/audit.h"
#include "server/audit_record.h"
#include "server/authorizer.h"
#include "server/policy.h"

namespace {

constexpr server::Action owner_action{"read"};

constexpr std::string_view owner_policy = R"({
    "version": 1,
    "roles": {
        "own": [{"id": "own", "effect": "allow", "actions": ["read"], "resources": ["thing:{caller_name}/*"]}],
        "claimed": [{"id": "claimed", "effect": "allow", "actions": ["read"], "resources": ["thing:{claim:team}/*"]}],
        "named": [{"id": "named", "effect": "allow", "actions": ["read"], "resources": ["thing:acme/*"]}],
        "when": [{"id": "when", "effect": "allow", "actions": ["read"], "resources": ["*"],
                  "when": {"owner": ["{caller_name}"]}}],
        "any": [{"id": "any", "effect": "allow", "actions": ["read"], "resources": ["*"]}],
        "kind": [{"id": "kind", "effect": "allow", "actions": ["read"], "resources": ["thing:*"]}],
        "wild": [{"id": "wild", "effect": "allow", "actions": ["read"], "resources": ["thing:ac*/*"]}],
        "both": [{"id": "first", "effect": "allow", "actions": ["read"], "resources": ["*"]},
                 {"id": "second", "effect": "allow", "actions": ["read"], "resources": ["thing:acme/*"]}]
    },
    "bindings": [
        {"caller": "own/acme", "roles": ["own"]},
        {"caller": "claimed/x", "roles": ["claimed"]},
        {"caller": "named/x", "roles": ["named"]},
        {"caller": "when/acme", "roles": ["when"]},
        {"caller": "any/x", "roles": ["any"]},
        {"caller": "kind/x", "roles": ["kind"]},
        {"caller": "wild/x", "roles": ["wild"]},
        {"caller": "both/x", "roles": ["both"]}
    ]
})";

class PolicyOwner : public testing::Test {
protected:
    server::Operation operation(const std::string& id) const {
        server::Caller caller;
        caller.id = id;
        caller.method = server::AuthenticationMethod::client_certificate;
        caller.claims["team"] = {"acme"};
        return {base::Uuid::random(), base::from_milliseconds(1), std::move(caller)};
    }
    static server::Resource thing(const std::string& owner) {
        return {.kind = "thing", .id = "t", .owner = owner, .aliases = {}, .tags = {}};
    }
    // Whether the record of the operation says that it was for another owner.
    bool marked(const std::string& id, const server::Resource& resource) const {
        auto asked = operation(id);
        static_cast<void>(authorizer_.authorize(asked, owner_action, resource));
        const base::WipedString fields = server::audit_fields(
            {.directory = "unused", .daemon = "d", .node = "n"}, asked, {}, asked.started());
        return fields.find("\"for_another_owner\":true") != std::string::npos;
    }
    const server::Authorizer authorizer_{server::parse_policy(owner_policy, {"read"})};
};

TEST_F(PolicyOwner, WhoseOwnerTheRuleNamesActsForItsOwn) {
    for (const auto* caller : {"own/acme", "claimed/x", "named/x", "when/acme"}) {
        EXPECT_FALSE(marked(caller, thing("acme"))) << caller;
    }
}

TEST_F(PolicyOwner, WhomAWildcardAllowsActsForAnother) {
    for (const auto* caller : {"any/x", "kind/x", "wild/x"}) {
        EXPECT_TRUE(marked(caller, thing("acme"))) << caller;
    }
}

TEST_F(PolicyOwner, AnyRuleThatNamesTheOwnerCountsAndTheFirstIsStillTheDecidingOne) {
    EXPECT_FALSE(marked("both/x", thing("acme")));
    EXPECT_TRUE(marked("both/x", thing("globex")));
    auto asked = operation("both/x");
    const auto grant = authorizer_.authorize(asked, owner_action, thing("acme"));
    EXPECT_EQ(grant.decision().rule, "first");
    EXPECT_FALSE(grant.decision().any_owner);
}

TEST_F(PolicyOwner, WhatHasNoOwnerOrOnlyTheCallersIsNotMarked) {
    EXPECT_FALSE(marked("any/x", thing("")));
    auto own = thing("acme");
    own.owner_from_caller = true;
    EXPECT_FALSE(marked("any/x", own));
}

}  // namespace
