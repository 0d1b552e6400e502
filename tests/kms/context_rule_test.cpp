#include "kms/context_rule.h"

#include <gtest/gtest.h>

#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

using kms::ContextRule;
using kms::EncryptionContext;
using kms::require_context;

TEST(ContextRule, TheDefaultLetsEveryContextPass) {
    const ContextRule rule;
    EXPECT_NO_THROW(require_context(rule, {}));
    EXPECT_NO_THROW(require_context(rule, {{"any", "thing"}, {"", ""}}));
    EXPECT_NO_THROW(require_context(rule, {{"k", std::string(8191, 'v')}}));
}

TEST(ContextRule, AMissingKeyIsNamed) {
    ContextRule rule;
    rule.required = {"tenant", "user"};
    EXPECT_ERROR_SAYING(invalid_argument, "\"context.tenant\" is missing",
                        require_context(rule, {{"user", "u"}}));
    EXPECT_ERROR_SAYING(invalid_argument, "\"context.user\" is missing",
                        require_context(rule, {{"tenant", ""}, {"User", "u"}}));
    EXPECT_NO_THROW(require_context(rule, {{"tenant", ""}, {"user", ""}, {"more", "m"}}));
}

TEST(ContextRule, AnUnknownKeyIsNamedWhereOnlyKnownOnesMayBe) {
    ContextRule rule;
    rule.required = {"tenant"};
    rule.patterns = {{"path", "*"}};
    rule.allow_others = false;
    EXPECT_NO_THROW(require_context(rule, {{"tenant", "t"}}));
    EXPECT_NO_THROW(require_context(rule, {{"tenant", "t"}, {"path", "p"}}));
    EXPECT_ERROR_SAYING(invalid_argument, "\"context.pfad\" is not one that this key knows",
                        require_context(rule, {{"tenant", "t"}, {"pfad", "p"}}));
    rule.required.clear();
    rule.patterns.clear();
    EXPECT_NO_THROW(require_context(rule, {}));
    EXPECT_ERROR_SAYING(invalid_argument, "\"context.a\"", require_context(rule, {{"a", ""}}));
}

TEST(ContextRule, AValueAgainstItsPatternIsRefusedWithoutBeingRepeated) {
    ContextRule rule;
    rule.patterns = {{"tenant", "eu-*"}};
    EXPECT_NO_THROW(require_context(rule, {{"tenant", "eu-"}}));
    EXPECT_NO_THROW(require_context(rule, {{"tenant", "eu-west"}}));
    // A pattern demands nothing of a key that is not there.
    EXPECT_NO_THROW(require_context(rule, {{"other", "x"}}));
    try {
        require_context(rule, {{"tenant", "us-confidential"}});
        FAIL() << "nothing was thrown";
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::invalid_argument);
        EXPECT_EQ(error.message(), "\"context.tenant\" must match \"eu-*\"");
    }
}

TEST(ContextRule, SizeCountsEveryKeyAndValueAndIsExact) {
    ContextRule rule;
    rule.max_bytes = 10;
    EXPECT_NO_THROW(require_context(rule, {{"abc", "de"}, {"fg", "hij"}}));
    EXPECT_ERROR_SAYING(invalid_argument, "10",
                        require_context(rule, {{"abc", "de"}, {"fg", "hijk"}}));
    rule.max_bytes = 0;
    EXPECT_NO_THROW(require_context(rule, {}));
    EXPECT_ERROR(invalid_argument, require_context(rule, {{"a", ""}}));
}

// Every pattern and text of up to five letters over {a, b, *} and {a, b}, against the definition.
bool matches_by_definition(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern.front() == '*') {
        for (std::size_t skip = 0; skip <= text.size(); ++skip) {
            if (matches_by_definition(pattern.substr(1), text.substr(skip))) return true;
        }
        return false;
    }
    return !text.empty() && text.front() == pattern.front() &&
           matches_by_definition(pattern.substr(1), text.substr(1));
}

std::vector<std::string> words(std::string_view alphabet, std::size_t max) {
    std::vector<std::string> all = {""};
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i].size() == max) continue;
        for (const char letter : alphabet) all.push_back(all[i] + letter);
    }
    return all;
}

TEST(ContextRule, PatternsMatchAsDefined) {
    const auto texts = words("ab", 5);
    for (const auto& pattern : words("ab*", 5)) {
        for (const auto& text : texts) {
            ASSERT_EQ(kms::matches_pattern(pattern, text), matches_by_definition(pattern, text))
                << pattern << " " << text;
        }
    }
}

TEST(ContextRule, AHostilePatternIsNoWorseThanTextTimesPattern) {
    std::string pattern;
    for (int i = 0; i < 2000; ++i) pattern += "a*";
    EXPECT_FALSE(kms::matches_pattern(pattern + "b", std::string(8000, 'a')));
}

// Every operation that takes a context, under a key whose rule it breaks.
TEST(ContextRule, EveryOperationObeysTheKeysRule) {
    TemporaryDirectory folder;
    FakeToken token;
    KeyServiceRig rig(token, folder.path());
    const auto made = rig.create_key("credentials");
    const auto free = rig.create_key("second");
    const kms::EncryptionContext good = {{"tenant", "t"}};
    const auto wrapped = rig.create_data_keys(made->id).keys[0].wrapped;
    const auto obedient = rig.create_data_keys(made->id, good).keys[0].wrapped;
    const auto other = rig.create_data_keys(free->id).keys[0].wrapped;
    const auto text = rig.encrypt(made->id, "text");
    kms::Key key = *made;
    key.context_rule.required = {"tenant"};
    rig.catalogue.put(key);

    const char* const naming = "context.tenant";
    EXPECT_ERROR_SAYING(invalid_argument, naming, rig.create_data_keys(key.id));
    EXPECT_ERROR_SAYING(invalid_argument, naming, rig.unwrap(wrapped));
    EXPECT_ERROR_SAYING(invalid_argument, naming, rig.rewrap(wrapped, {}, free->id, {}));
    EXPECT_ERROR_SAYING(invalid_argument, naming, rig.rewrap(other, {}, key.id, {}));
    EXPECT_ERROR_SAYING(invalid_argument, naming, rig.encrypt(key.id, "text"));
    EXPECT_ERROR_SAYING(invalid_argument, naming, rig.decrypt(text));

    EXPECT_NO_THROW(rig.create_data_keys(key.id, good));
    EXPECT_NO_THROW(rig.unwrap(obedient, good));
    EXPECT_NO_THROW(rig.rewrap(obedient, good, free->id, {}));
    EXPECT_NO_THROW(rig.rewrap(other, {}, key.id, good));
    EXPECT_NO_THROW(rig.decrypt(rig.encrypt(key.id, "text", good), good));
}

}  // namespace
}  // namespace tests
