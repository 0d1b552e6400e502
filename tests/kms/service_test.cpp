#include "kms/service.h"

#include <gtest/gtest.h>

#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using kms::KeyState;

kms::Envelope parse(const base::Bytes& wrapped) {
    return kms::parse_envelope(kms::EnvelopeKind::data_key, wrapped).value();
}

class SoftHsmServiceTest : public testing::Test {
protected:
    TemporaryDirectory folder_;
    SoftHsmToken fixture_;
    base::Log log_{"kmsd", base::LogLevel::error};
    std::unique_ptr<hsm::Token> token_ = hsm::open_token(fixture_.config(), fixture_.pin(), log_);
};

TEST_F(SoftHsmServiceTest, WhatIsWrappedOpensOnlyWithItsContext) {
    KeyServiceRig rig(*token_, folder_.path());
    const auto key = rig.create_key("credentials");
    const auto fresh = rig.create_data_keys(key->id, {{"owner", "acme"}}, {32, 3, true});
    ASSERT_EQ(fresh.keys.size(), 3U);
    for (const auto& one : fresh.keys) {
        EXPECT_EQ(one.wrapped.size(), 86U);
        EXPECT_TRUE(rig.unwrap(one.wrapped, {{"owner", "acme"}}).equals(one.plaintext.expose()));
        EXPECT_ERROR(integrity_failure, rig.unwrap(one.wrapped, {{"owner", "other"}}));
        EXPECT_ERROR(integrity_failure, rig.unwrap(one.wrapped));
    }
    EXPECT_FALSE(fresh.keys[0].plaintext.equals(fresh.keys[1].plaintext.expose()));
}

TEST_F(SoftHsmServiceTest, TheTokenSaysThatAMasterKeyCantLeaveIt) {
    KeyServiceRig rig(*token_, folder_.path());
    const auto key = rig.create_key();
    auto operation = operation_of("operator");
    const auto description = rig.lifecycle.describe(
        rig.grant(operation, kms::describe_key, key->id.to_string()), key->id);
    ASSERT_EQ(description.attributes.size(), 1U);
    ASSERT_TRUE(description.attributes[0]);
    EXPECT_TRUE(hsm::differences_from_profile(*description.attributes[0], hsm::KeyProfile::sealed,
                                              hsm::KeyKind::aes_256)
                    .empty());
    EXPECT_EQ(description.attributes[0]->never_extractable, true);
}

TEST_F(SoftHsmServiceTest, KeysAndWrappedDataKeysOutliveTheService) {
    base::Bytes wrapped;
    base::SecretBytes plaintext;
    {
        KeyServiceRig rig(*token_, folder_.path());
        auto fresh = rig.create_data_keys(rig.create_key("credentials")->id);
        wrapped = fresh.keys[0].wrapped;
        plaintext = std::move(fresh.keys[0].plaintext);
    }
    KeyServiceRig rig(*token_, folder_.path());
    EXPECT_TRUE(rig.reconciled.unproven.empty());
    EXPECT_EQ(rig.reconciled.unknown_objects, 0U);
    EXPECT_NE(rig.catalogue.snapshot()->find_alias("credentials"), nullptr);
    EXPECT_TRUE(rig.unwrap(wrapped).equals(plaintext.expose()));
}

TEST_F(SoftHsmServiceTest, EachItemOfABatchHasItsOwnAnswer) {
    KeyServiceRig rig(*token_, folder_.path());
    const auto first = rig.create_key("credentials");
    const auto second = rig.create_key("second");
    const auto a = rig.create_data_keys(first->id);
    const auto b = rig.create_data_keys(second->id, {{"k", "v"}}, {64, 1, true});
    auto operation = operation_of("root");
    const auto grant_a = rig.grant(operation, kms::unwrap_data_key, first->id.to_string());
    const auto grant_b = rig.grant(operation, kms::unwrap_data_key, second->id.to_string());
    const auto parsed_a = parse(a.keys[0].wrapped);
    const auto parsed_b = parse(b.keys[0].wrapped);
    const kms::Context none;
    const kms::Context k(kms::EncryptionContext{{"k", "v"}});
    const std::vector<kms::OpenJob> jobs = {{&grant_b, nullptr, &k, parsed_b},
                                            {&grant_b, nullptr, &none, parsed_b},
                                            {&grant_a, nullptr, &none, parsed_a}};
    const auto answers = rig.service.unwrap_many(jobs);
    ASSERT_EQ(answers.size(), 3U);
    EXPECT_TRUE(std::get<base::SecretBytes>(answers[0]).equals(b.keys[0].plaintext.expose()));
    EXPECT_EQ(std::get<base::Error>(answers[1]).code(), base::ErrorCode::integrity_failure);
    EXPECT_TRUE(std::get<base::SecretBytes>(answers[2]).equals(a.keys[0].plaintext.expose()));
}

class FakeServiceTest : public testing::Test {
protected:
    std::unique_ptr<KeyServiceRig> start() {
        return std::make_unique<KeyServiceRig>(token_, folder_.path());
    }
    TemporaryDirectory folder_;
    FakeToken token_;
};

TEST_F(FakeServiceTest, ATakenOrMalformedAliasMakesNoKey) {
    const auto rig = start();
    rig->create_key("a");
    EXPECT_ERROR(already_exists, rig->create_key("a"));
    EXPECT_ERROR(invalid_argument, rig->create_key("No Alias"));
    EXPECT_EQ(token_.list_keys(nullptr).size(), 1U);
    EXPECT_EQ(rig->store.load().size(), 1U);
}

TEST_F(FakeServiceTest, AGrantForSomethingElseIsRefused) {
    const auto rig = start();
    const auto key = rig->create_key();
    const auto other = rig->create_key();
    auto operation = operation_of("root");
    const auto grant = rig->grant(operation, kms::create_data_key, other->id.to_string());
    EXPECT_ERROR(internal, rig->service.create_data_keys(grant, key->id, kms::Context(), {}));
    EXPECT_ERROR(internal, rig->lifecycle.describe(grant, other->id));
    EXPECT_ERROR(internal, rig->lifecycle.create(grant, {}));
    EXPECT_ERROR(internal, rig->lifecycle.list(grant, std::nullopt, 1));
}

TEST_F(FakeServiceTest, CreationThatFailsInTheTokenIsMarkedDestroyedAtTheNextStart) {
    {
        const auto rig = start();
        token_.fails_to_generate = true;
        EXPECT_ERROR(unavailable, rig->create_key("a"));
        token_.fails_to_generate = false;
        EXPECT_NO_THROW(rig->create_key("a")) << "a failed creation must not hold the alias";
    }
    const auto rig = start();
    EXPECT_EQ(rig->reconciled.abandoned, 1U);
    EXPECT_EQ(rig->reconciled.finished, 0U);
    for (const auto& key : rig->reconciled.keys) {
        const std::string tombstone = rig->store.tombstone(key.id);
        if (key.state == KeyState::enabled) {
            EXPECT_EQ(tombstone, "");
            continue;
        }
        EXPECT_NE(tombstone.find("\"given_up_in_making\":\"the token has no such key\""),
                  std::string::npos)
            << tombstone;
        EXPECT_NE(tombstone.find("\"proven_absent\":true"), std::string::npos) << tombstone;
    }
}

TEST_F(FakeServiceTest, CreationCutShortAfterTheTokenCallIsFinishedAtTheNextStart) {
    {
        const auto rig = start();
        token_.dies_after_generate = true;
        EXPECT_ERROR(unavailable, rig->create_key("a"));
        token_.dies_after_generate = false;
    }
    const auto rig = start();
    EXPECT_EQ(rig->reconciled.finished, 1U);
    const auto key = rig->catalogue.snapshot()->find_alias("a");
    ASSERT_NE(key, nullptr);
    EXPECT_EQ(key->state, KeyState::enabled);
    const auto fresh = rig->create_data_keys(key->id);
    EXPECT_NO_THROW(rig->unwrap(fresh.keys[0].wrapped));
}

TEST_F(FakeServiceTest, AKeyWhoseDurabilityCantBeAskedForStaysPendingUntilItCan) {
    token_.fails_to_be_durable = true;
    EXPECT_ERROR(unavailable, start()->create_key("a"));
    {
        const auto rig = start();
        EXPECT_EQ(rig->reconciled.finished, 0U);
        EXPECT_EQ(rig->reconciled.abandoned, 0U);
        ASSERT_EQ(rig->reconciled.keys.size(), 1U);
        EXPECT_EQ(rig->reconciled.keys[0].state, KeyState::pending);
        EXPECT_EQ(rig->catalogue.snapshot()->find_alias("a"), nullptr);
    }
    token_.fails_to_be_durable = false;
    const auto rig = start();
    EXPECT_EQ(rig->reconciled.finished, 1U);
    EXPECT_NE(rig->catalogue.snapshot()->find_alias("a"), nullptr);
}

TEST_F(FakeServiceTest, ATokenThatDoesNotAnswerGivesUpNoPendingKey) {
    token_.dies_after_generate = true;
    EXPECT_ERROR(unavailable, start()->create_key("a"));
    token_.dies_after_generate = false;
    token_.is_away = true;
    EXPECT_ERROR(unavailable, start());
    token_.is_away = false;
    EXPECT_EQ(start()->reconciled.finished, 1U);
}

TEST_F(FakeServiceTest, AKeyOfATokenThatCantTellWhoMadeItIsFinished) {
    token_.dies_after_generate = true;
    EXPECT_ERROR(unavailable, start()->create_key("a"));
    token_.attributes(token_.list_keys(nullptr).at(0)).local.reset();
    EXPECT_EQ(start()->reconciled.finished, 1U);
}

// A pending key that the token has, but that can't be put in service.
class GivenUpKeyTest : public FakeServiceTest {
protected:
    GivenUpKeyTest() {
        token_.dies_after_generate = true;
        EXPECT_ERROR(unavailable, start()->create_key("a"));
        token_.dies_after_generate = false;
        object_ = token_.list_keys(nullptr).at(0);
    }
    void expect_given_up(const std::string& why) {
        {
            const auto rig = start();
            EXPECT_EQ(rig->reconciled.finished, 0U);
            EXPECT_EQ(rig->reconciled.abandoned, 1U);
            ASSERT_EQ(rig->reconciled.keys.size(), 1U);
            const kms::Key& key = rig->reconciled.keys[0];
            EXPECT_EQ(key.state, KeyState::destroyed);
            const std::string tombstone = rig->store.tombstone(key.id);
            for (const auto& part :
                 {"\"key_id\":\"" + key.id.to_string(), "\"given_up_in_making\":\"" + why,
                  "\"token_key_id\":\"" + object_.to_string(),
                  std::string("\"proven_absent\":false")}) {
                EXPECT_NE(tombstone.find(part), std::string::npos) << part << tombstone;
            }
            EXPECT_EQ(rig->reconciled.unknown_objects, 0U);
            EXPECT_EQ(rig->reconciled.leftover_objects, 1U);
            EXPECT_EQ(token_.list_keys(nullptr).size(), 1U) << "nothing is deleted";
            token_.flips_a_bit = false;
            EXPECT_NO_THROW(rig->create_key("a"));
        }
        const auto rig = start();
        EXPECT_EQ(rig->reconciled.abandoned, 0U) << "it was settled before";
        EXPECT_EQ(rig->reconciled.leftover_objects, 1U) << "reported at each start";
    }
    hsm::KeyId object_;
};

TEST_F(GivenUpKeyTest, OneThatIsNotAsOrderedIsGivenUp) {
    token_.attributes(object_).never_extractable = false;  // it was once extractable
    expect_given_up("it is not as ordered: ");
}

TEST_F(GivenUpKeyTest, OneWhoseMakingWasCutShortWithinTheTokenIsGivenUp) {
    token_.attributes(object_).local = false;
    expect_given_up("it is not as ordered: local is false");
}

TEST_F(GivenUpKeyTest, OneThatASecondProcessDoesNotFindIsGivenUp) {
    token_.not_durable = object_;
    expect_given_up("a second process does not find the key");
}

TEST_F(GivenUpKeyTest, OneThatDoesNotOpenWhatItHasMadeIsGivenUp) {
    token_.flips_a_bit = true;
    expect_given_up("it does not prove itself: ");
}

TEST_F(GivenUpKeyTest, OneOfWhichTheTokenHasMoreThanOneIsGivenUp) {
    token_.several = object_;
    expect_given_up("");
}

TEST_F(FakeServiceTest, AKeyFinishedLateGetsNoAliasThatAnotherHasTaken) {
    {
        const auto rig = start();
        token_.dies_after_generate = true;
        EXPECT_ERROR(unavailable, rig->create_key("a"));
        token_.dies_after_generate = false;
        rig->create_key("a");
    }
    const auto rig = start();
    EXPECT_EQ(rig->reconciled.finished, 1U);
    EXPECT_EQ(rig->catalogue.snapshot()->keys().size(), 2U);
    EXPECT_NE(rig->catalogue.snapshot()->find_alias("a"), nullptr);
}

TEST_F(FakeServiceTest, StartUpDeletesNothingInTheToken) {
    const auto stranger = base::Uuid::random();
    token_.set_key(stranger, base::Bytes(32, 1));
    const auto rig = start();
    EXPECT_EQ(rig->reconciled.unknown_objects, 1U);
    EXPECT_EQ(kms::reconcile(rig->store, token_, rig->usage, rig->clock, rig->log, stranger)
                  .unknown_objects,
              0U);
    EXPECT_TRUE(token_.find_key(stranger));
}

TEST_F(FakeServiceTest, AnotherKeyUnderTheSameIdIsNeverUsed) {
    auto rig = start();
    const auto key = rig->create_key("a");
    const auto other = rig->create_key("b");
    const auto wrapped = rig->create_data_keys(key->id).keys[0].wrapped;
    token_.set_key(key->primary().token_key_id, base::Bytes(32, 1));
    // While it runs, as after a reconnect to the wrong token…
    EXPECT_ERROR(unavailable, rig->create_data_keys(key->id));
    EXPECT_ERROR(unavailable, rig->unwrap(wrapped));
    // … and at the start. The other key stays in service.
    rig.reset();
    rig = start();
    ASSERT_EQ(rig->reconciled.unproven.size(), 1U);
    EXPECT_EQ(rig->reconciled.unproven[0].key_id, key->id);
    EXPECT_ERROR_SAYING(unavailable, "1", rig->service.check_token());
    EXPECT_ERROR(unavailable, rig->create_data_keys(key->id));
    EXPECT_NO_THROW(rig->create_data_keys(other->id));
}

TEST_F(FakeServiceTest, AMissingMasterKeyIsUnavailableAndComesBackWithTheKey) {
    auto rig = start();
    const auto key = rig->create_key();
    const auto wrapped = rig->create_data_keys(key->id).keys[0].wrapped;
    const hsm::KeyId token_key = key->primary().token_key_id;
    const base::SecretBytes bytes = token_.key_bytes(token_key);
    token_.destroy_key(token_key);
    EXPECT_ERROR(unavailable, rig->unwrap(wrapped));
    EXPECT_ERROR(unavailable, rig->create_data_keys(key->id));
    auto operation = operation_of("root");
    const auto grant = rig->grant(operation, kms::unwrap_data_key, key->id.to_string());
    const kms::Context none;
    const std::vector<kms::OpenJob> jobs = {{&grant, nullptr, &none, parse(wrapped)}};
    EXPECT_EQ(std::get<base::Error>(rig->service.unwrap_many(jobs).at(0)).code(),
              base::ErrorCode::unavailable);
    rig.reset();
    rig = start();
    EXPECT_ERROR(unavailable, rig->service.check_token());
    token_.set_key(token_key, bytes.expose());
    EXPECT_NO_THROW(rig->service.check_token());
    EXPECT_NO_THROW(rig->unwrap(wrapped));
}

TEST_F(FakeServiceTest, AFlippedBitInAFreshDataKeyNeverLeaves) {
    const auto rig = start();
    const auto key = rig->create_key();
    token_.flips_a_bit = true;
    EXPECT_ERROR(unavailable, rig->create_data_keys(key->id, {}, {32, 5, false}));
    token_.flips_a_bit = false;
    EXPECT_NO_THROW(rig->create_data_keys(key->id));
}

TEST_F(FakeServiceTest, ATokenOutageIsUnavailableAndNotBadInput) {
    const auto rig = start();
    const auto key = rig->create_key();
    const auto wrapped = rig->create_data_keys(key->id).keys[0].wrapped;
    token_.is_away = true;
    EXPECT_ERROR(unavailable, rig->unwrap(wrapped));
    EXPECT_ERROR(unavailable, rig->create_data_keys(key->id));
    EXPECT_ERROR(unavailable, rig->service.check_token());
    token_.is_away = false;
    EXPECT_NO_THROW(rig->unwrap(wrapped));
}

TEST_F(FakeServiceTest, AKeyThatIsNotEnabledNeitherWrapsNorUnwrapsAndSaysItsState) {
    const auto rig = start();
    const auto enabled = rig->create_key();
    const auto wrapped = rig->create_data_keys(enabled->id).keys[0].wrapped;
    for (const auto state : {KeyState::pending, KeyState::disabled, KeyState::pending_deletion,
                             KeyState::destroyed, KeyState::compromised}) {
        kms::Key key = *enabled;
        key.state = state;
        rig->catalogue.put(key);
        const std::string word(kms::to_string(state));
        EXPECT_ERROR_SAYING(failed_precondition, word, rig->create_data_keys(key.id));
        EXPECT_ERROR_SAYING(failed_precondition, word, rig->unwrap(wrapped));
    }
}

TEST_F(FakeServiceTest, SizesAndCountsOutsideTheLimitsAreRefused) {
    const auto rig = start();
    const auto key = rig->create_key();
    for (const auto& wanted : {kms::NewDataKeys{15, 1, true}, kms::NewDataKeys{65, 1, true},
                               kms::NewDataKeys{32, 0, true}, kms::NewDataKeys{32, 1001, true}}) {
        EXPECT_ERROR(invalid_argument, rig->create_data_keys(key->id, {}, wanted));
    }
    EXPECT_EQ(rig->create_data_keys(key->id, {}, {16, 1000, false}).keys.size(), 1000U);
    EXPECT_TRUE(rig->create_data_keys(key->id, {}, {16, 1, false}).keys[0].plaintext.empty());
}

TEST_F(FakeServiceTest, DescriptionAndListShowTheWrapsReservedByNow) {
    const auto rig = start();
    const auto key = rig->create_key();
    EXPECT_EQ(key->primary().wraps_reserved, kms::wrap_block);
    rig->usage.take(key->id, 1, kms::wrap_block);
    auto operation = operation_of("operator");
    const auto grant = rig->grant(operation, kms::describe_key, key->id.to_string());
    EXPECT_EQ(rig->lifecycle.describe(grant, key->id).key->primary().wraps_reserved,
              2 * kms::wrap_block);
    const auto list_grant = rig->grant(operation, kms::list_keys, "*");
    EXPECT_EQ(rig->lifecycle.list(list_grant, std::nullopt, 1).keys.at(0)->primary().wraps_reserved,
              2 * kms::wrap_block);
}

TEST_F(FakeServiceTest, PagesCoverEveryKeyOnceInOrderOfCreation) {
    const auto rig = start();
    std::vector<base::Uuid> created;
    for (int i = 0; i < 7; ++i) {
        created.push_back(rig->create_key()->id);
        rig->clock.advance(std::chrono::milliseconds(1));
    }
    auto operation = operation_of("operator");
    const auto grant = rig->grant(operation, kms::list_keys, "*");
    std::vector<base::Uuid> seen;
    std::optional<base::Uuid> after;
    do {
        const auto page = rig->lifecycle.list(grant, after, 3);
        EXPECT_LE(page.keys.size(), 3U);
        for (const auto& key : page.keys) seen.push_back(key->id);
        after = page.next;
    } while (after);
    EXPECT_EQ(seen, created);
}

TEST_F(FakeServiceTest, AnExhaustedVersionMakesNoMoreDataKeysButStillUnwraps) {
    const auto rig = start();
    const auto key = rig->create_key();
    const auto wrapped = rig->create_data_keys(key->id).keys[0].wrapped;
    rig->store.reserve_wraps(key->id, 1, kms::max_wraps_per_version);
    // What is left of the block that is in use.
    for (std::uint64_t left = kms::wrap_block - 2; left >= 100; left -= 100) {
        rig->usage.take(key->id, 1, 100);
    }
    EXPECT_ERROR(failed_precondition, rig->create_data_keys(key->id, {}, {32, 100, false}));
    EXPECT_NO_THROW(rig->unwrap(wrapped));
}

}  // namespace
}  // namespace tests
