// What a set of tokens makes of members that fail in the middle of things.
#include <gtest/gtest.h>

#include <future>
#include <stdexcept>

#include "hsm/key_agreement.h"
#include "tests/hsm/fake_set.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;

class TokenSetInTrouble : public TwoFakeTokens {};

TEST_F(TokenSetInTrouble, AMemberThatWasLostForOneKeyOfABatchHasNotSaidThatItLacksAnother) {
    open();
    const KeyId shared = make_shared_key();
    const KeyId only_a = KeyId::random();
    set_->generate_aes_key(only_a, "", KeyProfile::sealed);
    std::vector<hsm::DecryptItem> items;
    std::vector<hsm::Encrypted> made;
    for (const KeyId& key : {shared, only_a}) {
        made.push_back(
            a().change([&](FakeToken& fake) { return fake.encrypt(key, {}, as_bytes("secret")); }));
    }
    items.push_back({shared, made[0].iv, {}, made[0].ciphertext});
    items.push_back({only_a, made[1].iv, {}, made[1].ciphertext});
    set_away(a(), true);
    EXPECT_ERROR(unavailable, static_cast<void>(set_->decrypt_many(items)));
    set_away(a(), false);
    for (const auto& opened : set_->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
}

TEST_F(TokenSetInTrouble, AMemberThatRefusesServiceCostsNoUseThatMayBeRepeated) {
    open();
    const KeyId key = make_shared_key();
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    for (Watched* refusing : {&a(), &b()}) {
        EXPECT_TRUE(both_are_used(key, encrypted));
        const auto refuse = [&](bool is_refused) {
            refusing->change([&](FakeToken& fake) { fake.refuses_service = is_refused; });
        };
        refuse(true);
        const std::vector<hsm::DecryptItem> items(3, {key, encrypted.iv, {}, encrypted.ciphertext});
        for (int i = 0; i < 10; ++i) {
            EXPECT_EQ(open_text(key, encrypted), "secret");
            for (const auto& opened : set_->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
            EXPECT_NO_THROW(set_->check());
        }
        EXPECT_EQ(set_->state().well, 1U);
        EXPECT_ERROR(failed_precondition, set_->destroy_key(key));
        refuse(false);
        EXPECT_TRUE(comes_true([&] { return set_->state().well == 2; }));
    }
    a().change([](FakeToken& fake) { fake.refuses_service = true; });
    EXPECT_ERROR(failed_precondition,
                 set_->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
    EXPECT_EQ(set_->state().well, 2U);
}

TEST_F(TokenSetInTrouble, AKeyThatIsSpoiltInOneMemberIsUsedInTheOtherThatProvesIt) {
    open();
    const KeyId key = KeyId::random();
    set_->generate_aes_key(key, "", KeyProfile::sealed);
    b().change([&](FakeToken& fake) {
        fake.generate_key(key, "", KeyKind::ecdsa_p256, KeyProfile::sealed);
    });
    const auto public_key = b().public_key(key);
    EXPECT_EQ(set_->public_key(key), public_key);
    EXPECT_TRUE(comes_true([&] {
        EXPECT_EQ(set_->public_key(key), public_key);
        return different_keys_ == 1;
    }));
    const KeyId spoilt_in_both = make_shared_key();
    EXPECT_ERROR(internal, static_cast<void>(set_->public_key(spoilt_in_both)));
}

// What the first member says of a key is believed until somebody knows better.
TEST_F(TokenSetInTrouble, AFirstMemberWithAnotherKeyIsNotUsedForItOnceTheRightOneIsKnown) {
    open();
    const KeyId key = make_shared_key();
    const hsm::KeyEvidence known{
        hsm::KeyUse::encrypts, b().encrypt(key, as_bytes("aad"), as_bytes("known")),
        base::to_bytes(as_bytes("known")), base::to_bytes(as_bytes("aad"))};
    a().change([&](FakeToken& fake) { fake.replace_key(key); });
    static_cast<void>(set_->encrypt(key, {}, as_bytes("sets what the others must fit to")));
    EXPECT_TRUE(set_->hold_to(key, known));
    const auto encrypted = set_->encrypt(key, {}, as_bytes("secret"));
    for (int i = 0; i < 20; ++i) {
        const auto more = set_->encrypt(key, {}, as_bytes("secret"));
        EXPECT_NO_THROW(static_cast<void>(b().decrypt(key, more.iv, {}, more.ciphertext)));
        EXPECT_EQ(open_text(key, encrypted), "secret");
    }
    EXPECT_EQ(different_keys_, 1U);
    EXPECT_ERROR_SAYING(unavailable, "others than the other tokens", set_->check_member(0));
    EXPECT_NO_THROW(set_->check_member(1));
    const auto bytes = b().change([&](FakeToken& fake) { return fake.key_bytes(key); });
    a().change([&](FakeToken& fake) { fake.set_key(key, bytes.expose()); });
    EXPECT_TRUE(both_are_used(key, encrypted));
    EXPECT_NO_THROW(set_->check_member(0));
}

// Nobody else asks these tokens: what happens in between happens at that moment.
TEST_F(TokenSetInTrouble, WhatWasJudgedByAnAnswerThatIsReplacedMeanwhileIsJudgedAnew) {
    hsm::TokenMembers members({member(0)}, {}, {[] {}, [] {}}, log_);
    std::size_t changes = 0;
    hsm::KeyAgreement agreement(members, {}, log_, [&] { ++changes; });
    const KeyId key = KeyId::random();
    a().generate_aes_key(key, "", KeyProfile::sealed);
    EXPECT_EQ(agreement.prove(key, hsm::KeyUse::encrypts, 0, a()), hsm::Standing::proven);
    FakeToken others;
    others.generate_aes_key(key, "", KeyProfile::sealed);
    const auto hold_to_others = [&] {
        agreement.hold_to(key, {hsm::KeyUse::encrypts,
                                others.encrypt(key, {}, as_bytes(hsm::key_evidence_text))});
    };
    a().after_next_use(hold_to_others);
    EXPECT_EQ(agreement.prove(key, hsm::KeyUse::encrypts, 0, a()), hsm::Standing::different);
    EXPECT_EQ(agreement.standing(key, 0), hsm::Standing::different);
    EXPECT_EQ(changes, 1U);
    // Now the key is the others', and the answer that comes in between, too.
    a().change([&](FakeToken& fake) { fake.set_key(key, others.key_bytes(key).expose()); });
    a().after_next_use(hold_to_others);
    EXPECT_EQ(agreement.prove_again(key, 0, a()), hsm::Standing::proven);
    EXPECT_EQ(agreement.different_keys(0), 0U);
    EXPECT_EQ(changes, 2U);
}

TEST_F(TokenSetInTrouble, LooksThatWereOrderedBeforeAMemberWentAwayAreNotTaken) {
    options_.pauses = {1h, 5ms, 5ms, 20ms};
    open();
    std::vector<std::pair<KeyId, hsm::Encrypted>> keys;
    for (int i = 0; i < 20; ++i) {
        const KeyId key = make_shared_key();
        keys.emplace_back(key, a().change([&](FakeToken& fake) {
            return fake.encrypt(key, {}, as_bytes("secret"));
        }));
    }
    b().change([&](FakeToken& fake) {  // whoever looks at it waits until this ends
        for (const auto& [key, encrypted] : keys)
            for (int use = 0; use < 2; ++use) EXPECT_EQ(open_text(key, encrypted), "secret");
        fake.is_away = true;
    });
    EXPECT_TRUE(comes_true([&] { return set_->state().well == 1; }));
    set_.reset();  // what was to be looked at has been, or will not be
    EXPECT_LE(fakes_[1]->decrypt_calls, 1U);
}

class TokenMembers : public testing::Test {
protected:
    TokenMembers() {
        std::vector<hsm::TokenMember> one;
        one.push_back({"a", [](auto) { return std::make_unique<FakeToken>(); }});
        members_ = std::make_unique<hsm::TokenMembers>(
            std::move(one), hsm::TokenSetPauses{}, hsm::TokenMembers::Hooks{[] {}, [] {}}, log_);
    }
    base::Log log_{"hsm_tests", base::LogLevel::error};
    std::unique_ptr<hsm::TokenMembers> members_;
};

TEST_F(TokenMembers, AreLookedAfterBetweenTwoJobs) {
    std::promise<bool> is_back;
    members_->post([&] {  // both are there before either is run
        members_->post(
            [&] { members_->note_trouble(0, base::Error(base::ErrorCode::unavailable, "away")); });
        members_->post([&] { is_back.set_value(members_->is_well(0)); });
    });
    EXPECT_TRUE(is_back.get_future().get());
}

TEST_F(TokenMembers, OutliveAJobThatFailsInAnyWay) {
    std::promise<void> next;
    members_->post([] { throw std::runtime_error("no memory"); });
    members_->post([&] { next.set_value(); });
    next.get_future().get();
}

TEST_F(TokenMembers, EndWithoutTheJobsThatHaveNotBegun) {
    constexpr int posted = 1000;
    std::atomic<int> run{0};
    std::promise<void> never;
    const std::shared_future<void> future = never.get_future().share();
    std::promise<void> begun;
    members_->post([&] {
        for (int i = 0; i < posted; ++i) {
            members_->post([&] {
                if (++run == 1) begun.set_value();
                future.wait_for(2ms);  // as long as a token takes
            });
        }
    });
    begun.get_future().get();
    members_.reset();
    EXPECT_LT(run, posted);
}

}  // namespace
}  // namespace tests
