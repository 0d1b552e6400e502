// Wrapping anew, small texts, and what is common to everything that is encrypted: counted, opened
// again, compared.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "kms/sealing.h"
#include "tests/hsm/fake_set.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using kms::KeyState;

constexpr auto data_key = kms::EnvelopeKind::data_key;

kms::KeyPointer rotate(KeyServiceRig& rig, const base::Uuid& key) {
    auto operation = operation_of("root");
    return rig.lifecycle.rotate(rig.grant(operation, kms::rotate_key, key.to_string()), key, {});
}

void put_in_state(KeyServiceRig& rig, const base::Uuid& id, KeyState state) {
    kms::Key key = *rig.catalogue.snapshot()->find(id);
    key.state = state;
    rig.catalogue.put(key);
}

kms::UsageFigures figures(const KeyServiceRig& rig, const base::Uuid& id, std::uint32_t version) {
    const auto key = rig.catalogue.snapshot()->find(id);
    return rig.usage.figures(id, *key->find_version(version));
}

// On both kinds of token: the fake one for what breaks, SoftHSM for what must work on a real one.
class SoftHsmRewrap : public testing::Test {
protected:
    TemporaryDirectory folder_;
    SoftHsmToken fixture_;
    base::Log log_{"kmsd", base::LogLevel::error};
    std::unique_ptr<hsm::Token> token_ = hsm::open_token(fixture_.config(), fixture_.pin(), log_);
    KeyServiceRig rig_{*token_, folder_.path()};
};

TEST_F(SoftHsmRewrap, TheSameDataKeyComesBackUnderTheNewVersion) {
    const auto key = rig_.create_key("credentials");
    const kms::EncryptionContext context = {{"owner", "acme"}};
    const auto fresh = rig_.create_data_keys(key->id, context);
    rotate(rig_, key->id);
    const auto anew = rig_.rewrap(fresh.keys[0].wrapped, context, key->id, context);
    const auto parsed = kms::parse_envelope(data_key, anew);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->key_version, 2U);
    EXPECT_TRUE(rig_.unwrap(anew, context).equals(fresh.keys[0].plaintext.expose()));
    // The old one still opens: nothing was taken away.
    EXPECT_TRUE(
        rig_.unwrap(fresh.keys[0].wrapped, context).equals(fresh.keys[0].plaintext.expose()));
}

TEST_F(SoftHsmRewrap, KeyAndContextMayChangeTogether) {
    const auto from = rig_.create_key("credentials");
    const auto to = rig_.create_key("second");
    for (const std::size_t bytes : {16U, 32U, 64U}) {
        const auto fresh = rig_.create_data_keys(from->id, {{"a", "1"}}, {bytes, 1, true});
        const auto anew = rig_.rewrap(fresh.keys[0].wrapped, {{"a", "1"}}, to->id, {{"b", "2"}});
        EXPECT_TRUE(rig_.unwrap(anew, {{"b", "2"}}).equals(fresh.keys[0].plaintext.expose()));
        EXPECT_ERROR(integrity_failure, rig_.unwrap(anew, {{"a", "1"}}));
        EXPECT_EQ(kms::parse_envelope(data_key, anew)->key_id, to->id);
    }
}

TEST_F(SoftHsmRewrap, TextsOfEveryLengthComeBackAndOnlyInTheirContext) {
    const auto key = rig_.create_key("credentials");
    for (const std::size_t bytes : {1U, 16U, 17U, 1000U, 4096U}) {
        const std::string text(bytes, 't');
        const auto made = rig_.encrypt(key->id, text, {{"a", "b"}});
        EXPECT_EQ(made.size(), bytes + kms::wrapped_overhead_bytes);
        EXPECT_EQ(rig_.decrypt(made, {{"a", "b"}}).expose_text(), text);
        EXPECT_ERROR(integrity_failure, rig_.decrypt(made));
    }
    const auto old = rig_.encrypt(key->id, "old");
    rotate(rig_, key->id);
    EXPECT_EQ(rig_.decrypt(old).expose_text(), "old");
    EXPECT_EQ(
        kms::parse_envelope(kms::EnvelopeKind::small_text, rig_.encrypt(key->id, "x"))->key_version,
        2U);
}

TEST_F(SoftHsmRewrap, AThousandUnderThreeKeysAndTwoVersionsAreEachAnswered) {
    std::vector<kms::KeyPointer> keys;
    for (const auto* alias : {"a", "b", "c"}) keys.push_back(rig_.create_key(alias));
    std::vector<kms::FreshDataKeys> made;
    for (int round = 0; round < 2; ++round) {
        for (const auto& key : keys) {
            made.push_back(rig_.create_data_keys(key->id, {}, {32, 166, true}));
        }
        if (round == 0) rotate(rig_, keys[1]->id);
    }
    auto operation = operation_of("root");
    std::vector<server::Grant> grants;
    for (const auto& each : made) {
        grants.push_back(rig_.grant(operation, kms::unwrap_data_key, each.key_id.to_string()));
    }
    const kms::Context none;
    std::vector<kms::OpenJob> jobs;
    for (std::size_t i = 0; i < 166; ++i) {
        for (std::size_t k = 0; k < made.size(); ++k) {
            jobs.push_back({&grants[k], nullptr, &none,
                            *kms::parse_envelope(data_key, made[k].keys[i].wrapped)});
        }
    }
    ASSERT_EQ(jobs.size(), 996U);
    jobs[500].envelope.ciphertext.back() ^= 1U;
    const auto answers = rig_.service.unwrap_many(jobs);
    for (std::size_t i = 0; i < answers.size(); ++i) {
        if (i == 500) {
            EXPECT_EQ(std::get<base::Error>(answers[i]).code(), base::ErrorCode::integrity_failure);
            continue;
        }
        const auto& expected = made[i % made.size()].keys[i / made.size()].plaintext;
        ASSERT_TRUE(std::get<base::SecretBytes>(answers[i]).equals(expected.expose())) << i;
    }
}

class FakeRewrap : public testing::Test {
protected:
    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
    kms::KeyPointer key_ = rig_.create_key("credentials");
    kms::KeyPointer other_ = rig_.create_key("second");
};

TEST_F(FakeRewrap, WhatIsAsAskedAlreadyComesBackAsItIsOnceItHasOpened) {
    const auto wrapped = rig_.create_data_keys(key_->id, {{"a", "b"}}).keys[0].wrapped;
    const std::size_t encryptions = token_.encrypt_calls;
    EXPECT_EQ(rig_.rewrap(wrapped, {{"a", "b"}}, key_->id, {{"a", "b"}}), wrapped);
    EXPECT_EQ(token_.encrypt_calls, encryptions);
    EXPECT_EQ(figures(rig_, key_->id, 1).rewrapped_away, 0U);
    auto bad = wrapped;
    bad.back() ^= 1U;
    EXPECT_ERROR(integrity_failure, rig_.rewrap(bad, {{"a", "b"}}, key_->id, {{"a", "b"}}));
}

TEST_F(FakeRewrap, TheOldContextIsProvenBeforeAnythingIsSaidOfTheTarget) {
    const auto wrapped = rig_.create_data_keys(key_->id, {{"a", "b"}}).keys[0].wrapped;
    put_in_state(rig_, other_->id, KeyState::disabled);
    EXPECT_ERROR(integrity_failure, rig_.rewrap(wrapped, {{"a", "c"}}, other_->id, {}));
    EXPECT_ERROR_SAYING(failed_precondition, "rewrap_to",
                        rig_.rewrap(wrapped, {{"a", "b"}}, other_->id, {}));
    EXPECT_ERROR(not_found, rig_.rewrap(wrapped, {{"a", "b"}}, base::Uuid::random(), {}));
}

TEST_F(FakeRewrap, EveryFlippedBitOfTheOldOneIsAnIntegrityFailure) {
    const auto wrapped = rig_.create_data_keys(key_->id).keys[0].wrapped;
    auto operation = operation_of("root");
    const auto grant = rig_.grant(operation, kms::rewrap_data_key, key_->id.to_string());
    const kms::Context none;
    std::vector<kms::RewrapJob> jobs;
    // Key id and version are left as they are: they choose the key.
    for (std::size_t bit = 26UL * 8; bit < wrapped.size() * 8; ++bit) {
        auto bad = wrapped;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        jobs.push_back({{&grant, nullptr, &none, *kms::parse_envelope(data_key, bad)},
                        &grant,
                        key_->id,
                        &none});
    }
    for (const auto& answer : rig_.service.rewrap_many(jobs)) {
        EXPECT_EQ(std::get<base::Error>(answer).code(), base::ErrorCode::integrity_failure);
    }
}

TEST_F(FakeRewrap, AGrantForSomethingElseIsRefused) {
    const auto wrapped =
        *kms::parse_envelope(data_key, rig_.create_data_keys(key_->id).keys[0].wrapped);
    const auto text =
        *kms::parse_envelope(kms::EnvelopeKind::small_text, rig_.encrypt(key_->id, "text"));
    auto operation = operation_of("root");
    const std::string id = key_->id.to_string();
    const auto unwraps = rig_.grant(operation, kms::unwrap_data_key, id);
    const auto rewraps = rig_.grant(operation, kms::rewrap_data_key, id);
    const auto elsewhere = rig_.grant(operation, kms::rewrap_data_key, other_->id.to_string());
    const kms::Context none;
    EXPECT_ERROR(internal, rig_.service.rewrap(
                               {{&unwraps, nullptr, &none, wrapped}, &rewraps, key_->id, &none}));
    EXPECT_ERROR(internal, rig_.service.rewrap(
                               {{&rewraps, nullptr, &none, wrapped}, &elsewhere, key_->id, &none}));
    EXPECT_ERROR(internal, rig_.service.unwrap({&rewraps, nullptr, &none, wrapped}));
    EXPECT_ERROR(internal, rig_.service.unwrap({&unwraps, &rewraps, &none, wrapped}));
    EXPECT_ERROR(internal, rig_.service.decrypt({&unwraps, nullptr, &none, text}));
    EXPECT_ERROR(internal, rig_.service.encrypt(unwraps, key_->id, none, base::as_bytes("x")));
    // Who may unwrap data keys can't open texts with that, nor the other way round.
    EXPECT_ERROR(integrity_failure, rig_.service.unwrap({&unwraps, nullptr, &none, text}));
}

TEST_F(FakeRewrap, TheTableOfStatesDecidesEveryOperation) {
    const auto wrapped = rig_.create_data_keys(key_->id).keys[0].wrapped;
    const auto elsewhere = rig_.create_data_keys(other_->id).keys[0].wrapped;
    const auto text = rig_.encrypt(key_->id, "text");
    for (const KeyState state : kms::key_states) {
        put_in_state(rig_, key_->id, state);
        const auto expect = [&](kms::KeyOperation operation, const auto& act) {
            if (kms::permits(state, operation)) {
                EXPECT_NO_THROW(act()) << kms::to_string(operation);
            } else {
                EXPECT_ERROR_SAYING(failed_precondition, std::string(kms::to_string(state)), act());
            }
        };
        using kms::KeyOperation;
        expect(KeyOperation::wrap, [&] { rig_.create_data_keys(key_->id); });
        expect(KeyOperation::unwrap, [&] { rig_.unwrap(wrapped); });
        expect(KeyOperation::rewrap_from, [&] { rig_.rewrap(wrapped, {}, other_->id, {}); });
        expect(KeyOperation::rewrap_to, [&] { rig_.rewrap(elsewhere, {}, key_->id, {}); });
        expect(KeyOperation::encrypt, [&] { rig_.encrypt(key_->id, "text"); });
        expect(KeyOperation::decrypt, [&] { rig_.decrypt(text); });
    }
}

TEST_F(FakeRewrap, ACompromisedKeyOpensWithItsOwnRightAndMakesNothingNew) {
    const auto wrapped =
        *kms::parse_envelope(data_key, rig_.create_data_keys(key_->id).keys[0].wrapped);
    const auto text =
        *kms::parse_envelope(kms::EnvelopeKind::small_text, rig_.encrypt(key_->id, "text"));
    put_in_state(rig_, key_->id, KeyState::compromised);
    auto operation = operation_of("root");
    const std::string id = key_->id.to_string();
    const auto unwraps = rig_.grant(operation, kms::unwrap_data_key, id);
    const auto rewraps = rig_.grant(operation, kms::rewrap_data_key, id);
    const auto decrypts = rig_.grant(operation, kms::decrypt_action, id);
    const auto onto = rig_.grant(operation, kms::rewrap_data_key, other_->id.to_string());
    const auto right = rig_.grant(operation, kms::use_compromised_key, id);
    const kms::Context none;
    EXPECT_ERROR_SAYING(failed_precondition, "use_compromised_key",
                        rig_.service.unwrap({&unwraps, nullptr, &none, wrapped}));
    EXPECT_NO_THROW(rig_.service.unwrap({&unwraps, &right, &none, wrapped}));
    EXPECT_NO_THROW(rig_.service.decrypt({&decrypts, &right, &none, text}));
    EXPECT_NO_THROW(
        rig_.service.rewrap({{&rewraps, &right, &none, wrapped}, &onto, other_->id, &none}));
    EXPECT_ERROR(
        failed_precondition,
        rig_.service.rewrap({{&rewraps, &right, &none, wrapped}, &rewraps, key_->id, &none}));
}

TEST_F(FakeRewrap, OneFlippedBitIsMadeGoodAndManyNeverLeave) {
    const auto wrapped = rig_.create_data_keys(key_->id).keys[0].wrapped;
    for (const std::size_t flips : {1U, 3U, 5U}) {
        token_.flips_left = flips;
        const auto fresh = rig_.create_data_keys(key_->id, {}, {32, 5, true});
        ASSERT_EQ(fresh.keys.size(), 5U);
        for (const auto& one : fresh.keys) {
            EXPECT_TRUE(rig_.unwrap(one.wrapped).equals(one.plaintext.expose()));
        }
    }
    token_.flips_left = 1;
    EXPECT_NO_THROW(rig_.unwrap(rig_.rewrap(wrapped, {}, other_->id, {})));
    token_.flips_a_bit = true;
    EXPECT_ERROR(unavailable, rig_.rewrap(wrapped, {}, other_->id, {}));
    EXPECT_ERROR(unavailable, rig_.encrypt(key_->id, "text"));
}

TEST_F(FakeRewrap, AnotherKeyUnderTheTargetsIdTakesNothing) {
    const auto wrapped = rig_.create_data_keys(key_->id).keys[0].wrapped;
    token_.set_key(other_->primary().token_key_id, base::Bytes(32, 1));
    EXPECT_ERROR(unavailable, rig_.rewrap(wrapped, {}, other_->id, {}));
    EXPECT_ERROR(unavailable, rig_.encrypt(other_->id, "text"));
    token_.destroy_key(other_->primary().token_key_id);
    EXPECT_ERROR(unavailable, rig_.rewrap(wrapped, {}, other_->id, {}));
    EXPECT_ERROR(unavailable, rig_.encrypt(other_->id, "text"));
    // The first key's items are none the worse for it.
    EXPECT_NO_THROW(rig_.encrypt(key_->id, "text"));
}

TEST_F(FakeRewrap, ItemsOfATargetThatMayWrapNoMoreFailAloneAndSayWhy) {
    std::vector<base::Bytes> wrapped;
    for (int i = 0; i < 4; ++i) {
        wrapped.push_back(rig_.create_data_keys(key_->id).keys[0].wrapped);
    }
    rig_.store.reserve_wraps(other_->id, 1, kms::max_wraps_per_version);
    rig_.usage.take(other_->id, 1, kms::wrap_block - 1);
    EXPECT_ERROR_SAYING(failed_precondition, "new version",
                        rig_.rewrap(wrapped[0], {}, other_->id, {}));
    auto operation = operation_of("root");
    const auto source = rig_.grant(operation, kms::rewrap_data_key, key_->id.to_string());
    const auto target = rig_.grant(operation, kms::rewrap_data_key, other_->id.to_string());
    const kms::Context none;
    const kms::Context more(kms::EncryptionContext{{"a", "b"}});
    std::vector<kms::RewrapJob> jobs;
    for (std::size_t i = 0; i < wrapped.size(); ++i) {
        const kms::OpenJob from{&source, nullptr, &none,
                                *kms::parse_envelope(data_key, wrapped[i])};
        if (i % 2 == 0) {
            jobs.push_back({from, &target, other_->id, &none});
        } else {
            jobs.push_back({from, &source, key_->id, &more});
        }
    }
    const auto answers = rig_.service.rewrap_many(jobs);
    for (std::size_t i = 0; i < answers.size(); ++i) {
        EXPECT_EQ(std::holds_alternative<kms::Envelope>(answers[i]), i % 2 == 1) << i;
    }
}

TEST_F(FakeRewrap, FiguresSayWhatWasMadeAndWhatHasMoved) {
    std::vector<base::Bytes> wrapped;
    for (auto& one : rig_.create_data_keys(key_->id, {}, {32, 10, false}).keys) {
        wrapped.push_back(one.wrapped);
    }
    EXPECT_EQ(figures(rig_, key_->id, 1).wraps_used, 10U);
    rotate(rig_, key_->id);
    for (std::size_t i = 0; i < 4; ++i) rig_.rewrap(wrapped[i], {}, key_->id, {});
    rig_.rewrap(wrapped[4], {}, other_->id, {});
    rig_.encrypt(key_->id, "text");
    EXPECT_EQ(figures(rig_, key_->id, 1).wraps_used, 10U);
    EXPECT_EQ(figures(rig_, key_->id, 1).rewrapped_away, 5U);
    EXPECT_EQ(figures(rig_, key_->id, 2).wraps_used, 5U);
    EXPECT_EQ(figures(rig_, key_->id, 2).rewrapped_away, 0U);
    EXPECT_EQ(figures(rig_, other_->id, 1).wraps_used, 1U);
    // What fails moves nothing.
    token_.flips_a_bit = true;
    EXPECT_ERROR(unavailable, rig_.rewrap(wrapped[5], {}, key_->id, {}));
    EXPECT_EQ(figures(rig_, key_->id, 1).rewrapped_away, 5U);
}

TEST_F(FakeRewrap, ATokenOutageFailsTheWholeCallAndIsNotBadInput) {
    const auto wrapped = rig_.create_data_keys(key_->id).keys[0].wrapped;
    const auto text = rig_.encrypt(key_->id, "text");
    token_.is_away = true;
    EXPECT_ERROR(unavailable, rig_.rewrap(wrapped, {}, other_->id, {}));
    EXPECT_ERROR(unavailable, rig_.encrypt(key_->id, "text"));
    EXPECT_ERROR(unavailable, rig_.decrypt(text));
    token_.is_away = false;
    EXPECT_NO_THROW(rig_.rewrap(wrapped, {}, other_->id, {}));
}

TEST_F(FakeRewrap, TextsOutsideTheLimitsAreRefused) {
    EXPECT_ERROR(invalid_argument, rig_.encrypt(key_->id, ""));
    EXPECT_ERROR(invalid_argument, rig_.encrypt(key_->id, std::string(4097, 't')));
    EXPECT_ERROR(not_found, rig_.encrypt(base::Uuid::random(), "text"));
}

TEST_F(FakeRewrap, AKeyThatSignsNeitherWrapsNorEncrypts) {
    const auto wrapped = rig_.create_data_keys(other_->id).keys[0].wrapped;
    kms::Key key = *key_;
    key.kind = hsm::KeyKind::ecdsa_p256;
    rig_.catalogue.put(key);
    EXPECT_ERROR_SAYING(failed_precondition, "ecdsa_p256", rig_.create_data_keys(key.id));
    EXPECT_ERROR_SAYING(failed_precondition, "ecdsa_p256", rig_.encrypt(key.id, "text"));
    EXPECT_ERROR_SAYING(failed_precondition, "ecdsa_p256", rig_.rewrap(wrapped, {}, key.id, {}));
}

// While a key is rotated again and again, everything that was wrapped before, during and after must
// open, and nothing may fail.
class SealingWithTwoTokens : public TwoFakeTokens {};

// As of a key that another node made: nobody has told these tokens yet which is the right one.
TEST_F(SealingWithTwoTokens, AKeyThatTheFirstHasAnotherOfIsUsedInTheSecond) {
    const TemporaryDirectory folder;
    open();
    const auto key = KeyServiceRig(*set_, folder.path()).create_key();
    const hsm::KeyId token_key = key->primary().token_key_id;
    copy_to_b(token_key);
    a().change([&](FakeToken& fake) { fake.replace_key(token_key); });
    set_.reset();
    open();
    const FakeClock clock;
    OwnSqlite<kms::SqlStore> store(folder / "kms.db");
    kms::UsageCounter usage(store, clock);
    kms::Sealer sealer(*set_, usage, log_);
    const kms::Context none;
    const base::Bytes plaintext(32, 1);
    const std::vector<kms::SealItem> items(3, {key.get(), &none, plaintext});
    for (const auto& answer : sealer.seal(data_key, items)) {
        const auto& made = std::get<kms::Envelope>(answer);
        EXPECT_TRUE(b().decrypt(token_key, made.iv,
                                kms::envelope_aad(data_key, key->id, 1, none.canonical),
                                made.ciphertext)
                        .equals(plaintext));
    }
}

TEST_F(SoftHsmRewrap, RotatingWhileWrappingAndRewrappingLosesNothing) {
    const auto key = rig_.create_key("credentials");
    std::atomic<bool> done{false};
    std::vector<std::vector<std::pair<base::Bytes, base::SecretBytes>>> made(3);
    std::vector<std::thread> threads;
    for (auto& mine : made) {
        threads.emplace_back([&] {
            do {
                auto fresh = rig_.create_data_keys(key->id, {{"a", "b"}});
                auto& one = fresh.keys[0];
                auto moved = rig_.rewrap(one.wrapped, {{"a", "b"}}, key->id, {{"c", "d"}});
                EXPECT_TRUE(rig_.unwrap(moved, {{"c", "d"}}).equals(one.plaintext.expose()));
                mine.emplace_back(std::move(moved), std::move(one.plaintext));
            } while (!done);
        });
    }
    for (int i = 0; i < 5; ++i) rotate(rig_, key->id);
    done = true;
    for (auto& thread : threads) thread.join();
    std::set<std::uint32_t> versions;
    for (const auto& mine : made) {
        for (const auto& [wrapped, plaintext] : mine) {
            EXPECT_TRUE(rig_.unwrap(wrapped, {{"c", "d"}}).equals(plaintext.expose()));
            versions.insert(kms::parse_envelope(data_key, wrapped)->key_version);
        }
    }
    EXPECT_EQ(rig_.catalogue.snapshot()->find(key->id)->primary_version, 6U);
    EXPECT_GE(versions.size(), 2U) << "rotation was not seen by anybody who wrapped";
}

}  // namespace
}  // namespace tests
