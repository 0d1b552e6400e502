// What hsm/token.h promises, on every real token that we have.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "base/encoding.h"
#include "tests/hsm/raw_session.h"
#include "tests/hsm/remote_fixture.h"
#include "tests/hsm/set_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyId;
using hsm::KeyProfile;

template <typename Fixture>
class TokenContract : public testing::Test {
protected:
    KeyId make_key(KeyProfile profile = KeyProfile::sealed) {
        const KeyId id = KeyId::random();
        token_->generate_aes_key(id, "a master key", profile);
        return id;
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    Fixture fixture_;
    std::unique_ptr<hsm::Token> token_ = fixture_.open(log_);
};

using RealTokens = testing::Types<SoftHsmToken, NssToken, Remote<SoftHsmToken>, Remote<NssToken>,
                                  Copied<SoftHsmToken>, Clustered<NssToken>>;
TYPED_TEST_SUITE(TokenContract, RealTokens);

TYPED_TEST(TokenContract, WhatWasEncryptedDecrypts) {
    const KeyId key = this->make_key();
    for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 32U, 64U, 4096U}) {
        base::Bytes plaintext(size, 0x5a);
        const auto encrypted = this->token_->encrypt(key, as_bytes("context"), plaintext);
        EXPECT_EQ(encrypted.ciphertext.size(), size + hsm::tag_bytes);
        const auto opened =
            this->token_->decrypt(key, encrypted.iv, as_bytes("context"), encrypted.ciphertext);
        EXPECT_TRUE(opened.equals(plaintext)) << size;
    }
}

TYPED_TEST(TokenContract, EachEncryptionHasAnIvOfItsOwn) {
    const KeyId key = this->make_key();
    std::set<hsm::Iv> ivs;
    for (int i = 0; i < 500; ++i) ivs.insert(this->token_->encrypt(key, {}, as_bytes("x")).iv);
    EXPECT_EQ(ivs.size(), 500U);
}

TYPED_TEST(TokenContract, EveryFlippedBitIsAnIntegrityFailure) {
    const KeyId key = this->make_key();
    const auto encrypted = this->token_->encrypt(key, as_bytes("aad"), as_bytes("secret"));
    for (std::size_t bit = 0; bit < encrypted.ciphertext.size() * 8; ++bit) {
        auto flipped = encrypted.ciphertext;
        flipped[bit / 8] = static_cast<std::uint8_t>(flipped[bit / 8] ^ (1U << (bit % 8)));
        EXPECT_ERROR(integrity_failure,
                     this->token_->decrypt(key, encrypted.iv, as_bytes("aad"), flipped));
    }
    for (std::size_t bit = 0; bit < hsm::iv_bytes * 8; ++bit) {
        auto iv = encrypted.iv;
        iv[bit / 8] = static_cast<std::uint8_t>(iv[bit / 8] ^ (1U << (bit % 8)));
        EXPECT_ERROR(integrity_failure,
                     this->token_->decrypt(key, iv, as_bytes("aad"), encrypted.ciphertext));
    }
    EXPECT_EQ(this->token_->decrypt(key, encrypted.iv, as_bytes("aad"), encrypted.ciphertext)
                  .expose_text(),
              "secret");
}

TYPED_TEST(TokenContract, EveryTruncationAndExtensionIsAnIntegrityFailure) {
    const KeyId key = this->make_key();
    const auto encrypted = this->token_->encrypt(key, {}, as_bytes("secret"));
    for (std::size_t size = 0; size < encrypted.ciphertext.size(); ++size) {
        EXPECT_ERROR(integrity_failure,
                     this->token_->decrypt(key, encrypted.iv, {},
                                           base::ByteView(encrypted.ciphertext).first(size)));
    }
    auto longer = encrypted.ciphertext;
    longer.push_back(0);
    EXPECT_ERROR(integrity_failure, this->token_->decrypt(key, encrypted.iv, {}, longer));
}

TYPED_TEST(TokenContract, AnotherContextOrKeyIsAnIntegrityFailureOfTheSameWording) {
    const KeyId key = this->make_key();
    const KeyId other = this->make_key();
    const auto encrypted = this->token_->encrypt(key, as_bytes("one"), as_bytes("secret"));
    const std::string wording = base::decryption_failed().message();
    EXPECT_ERROR_SAYING(
        integrity_failure, wording,
        this->token_->decrypt(key, encrypted.iv, as_bytes("two"), encrypted.ciphertext));
    EXPECT_ERROR_SAYING(integrity_failure, wording,
                        this->token_->decrypt(key, encrypted.iv, {}, encrypted.ciphertext));
    EXPECT_ERROR_SAYING(
        integrity_failure, wording,
        this->token_->decrypt(other, encrypted.iv, as_bytes("one"), encrypted.ciphertext));
}

TYPED_TEST(TokenContract, ABatchGivesEachItemItsOwnResult) {
    const KeyId key = this->make_key();
    const auto one = this->token_->encrypt(key, as_bytes("1"), as_bytes("one"));
    const auto two = this->token_->encrypt(key, as_bytes("2"), as_bytes("two"));
    const std::vector<hsm::DecryptItem> items{
        {key, one.iv, as_bytes("1"), one.ciphertext},
        {key, one.iv, as_bytes("2"), one.ciphertext},
        {KeyId::random(), one.iv, as_bytes("1"), one.ciphertext},
        {key, one.iv, as_bytes("1"), as_bytes("short")},
        {key, two.iv, as_bytes("2"), two.ciphertext},
    };
    const auto opened = this->token_->decrypt_many(items);
    ASSERT_EQ(opened.size(), items.size());
    ASSERT_TRUE(opened[0].has_value());
    EXPECT_EQ(opened[0]->expose_text(), "one");
    EXPECT_FALSE(opened[1].has_value());
    EXPECT_FALSE(opened[2].has_value());
    EXPECT_FALSE(opened[3].has_value());
    ASSERT_TRUE(opened[4].has_value());
    EXPECT_EQ(opened[4]->expose_text(), "two");
    EXPECT_TRUE(this->token_->decrypt_many({}).empty());
}

TYPED_TEST(TokenContract, ABatchOfEncryptionsOpensItemByItemEachUnderAnIvOfItsOwn) {
    const KeyId key = this->make_key();
    const KeyId other = this->make_key();
    std::vector<hsm::EncryptItem> items(200, {key, as_bytes("1"), as_bytes("one")});
    items[7] = {other, as_bytes("2"), as_bytes("another")};
    items[8] = {KeyId::random(), as_bytes("1"), as_bytes("one")};
    const auto made = this->token_->encrypt_many(items);
    ASSERT_EQ(made.size(), items.size());
    EXPECT_FALSE(made[8].has_value());
    std::set<hsm::Iv> ivs;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i == 8) continue;
        ASSERT_TRUE(made[i].has_value());
        ivs.insert(made[i]->iv);
        EXPECT_TRUE(
            this->token_->decrypt(items[i].key, made[i]->iv, items[i].aad, made[i]->ciphertext)
                .equals(items[i].plaintext));
    }
    EXPECT_EQ(ivs.size(), items.size() - 1);
    EXPECT_TRUE(this->token_->encrypt_many({}).empty());
}

TYPED_TEST(TokenContract, ASealedKeyCanNotLeaveAndDoesOneThing) {
    const auto key = this->token_->generate_aes_key(KeyId::random(), "a label", KeyProfile::sealed);
    EXPECT_EQ(key.label, "a label");
    EXPECT_EQ(key.token, true);
    EXPECT_EQ(key.private_object, true);
    EXPECT_EQ(key.sensitive, true);
    EXPECT_EQ(key.always_sensitive, true);
    EXPECT_EQ(key.extractable, false);
    EXPECT_EQ(key.never_extractable, true);
    EXPECT_EQ(key.encrypt, true);
    EXPECT_EQ(key.decrypt, true);
    for (const auto& use :
         {key.wrap, key.unwrap, key.derive, key.sign, key.verify, key.modifiable}) {
        EXPECT_EQ(use, false);
    }
    EXPECT_NE(key.copyable, true);
    EXPECT_EQ(key.value_bytes, 32U);
    EXPECT_EQ(key.key_type, "AES");
}

TYPED_TEST(TokenContract, ARestorableKeyLeavesOnlyUnderATrustedKey) {
    const auto key = this->token_->generate_aes_key(KeyId::random(), "", KeyProfile::restorable);
    EXPECT_EQ(key.sensitive, true);
    EXPECT_EQ(key.extractable, true);
    EXPECT_EQ(key.wrap_with_trusted, true);
    EXPECT_EQ(key.never_extractable, false);
    for (const auto& use :
         {key.wrap, key.unwrap, key.derive, key.sign, key.verify, key.modifiable}) {
        EXPECT_EQ(use, false);
    }
}

TYPED_TEST(TokenContract, ASecondKeyOfTheSameIdAlreadyExists) {
    const KeyId key = this->make_key();
    EXPECT_ERROR(already_exists, this->token_->generate_aes_key(key, "again", KeyProfile::sealed));
    EXPECT_EQ(this->token_->list_keys().size(), 1U);
}

TYPED_TEST(TokenContract, ALabelOverSixtyFourBytesIsRefused) {
    EXPECT_ERROR(invalid_argument, this->token_->generate_aes_key(
                                       KeyId::random(), std::string(65, 'x'), KeyProfile::sealed));
    EXPECT_EQ(
        this->token_->generate_aes_key(KeyId::random(), std::string(64, 'x'), KeyProfile::sealed)
            .label.size(),
        64U);
}

TYPED_TEST(TokenContract, AnUnknownKeyIsNotFound) {
    const KeyId nobody = KeyId::random();
    EXPECT_FALSE(this->token_->find_key(nobody).has_value());
    EXPECT_ERROR(not_found, this->token_->encrypt(nobody, {}, as_bytes("x")));
    EXPECT_ERROR(not_found, this->token_->decrypt(nobody, {}, {}, base::Bytes(32)));
    EXPECT_ERROR(not_found, this->token_->destroy_key(nobody));
}

TYPED_TEST(TokenContract, ListingNamesEveryKeyAndCountsTheNameless) {
    std::set<KeyId> made{this->make_key(), this->make_key()};
    {
        const RawSession raw(this->fixture_);
        raw.generate_key("nameless");
    }
    std::size_t unnamed = 0;
    const auto listed = this->token_->list_keys(&unnamed);
    EXPECT_EQ(std::set<KeyId>(listed.begin(), listed.end()), made);
    EXPECT_EQ(unnamed, 1U);
}

TYPED_TEST(TokenContract, ADestroyedKeyIsGone) {
    const KeyId key = this->make_key();
    const auto encrypted = this->token_->encrypt(key, {}, as_bytes("secret"));
    this->token_->destroy_key(key);
    EXPECT_FALSE(this->token_->find_key(key).has_value());
    EXPECT_ERROR(not_found, this->token_->decrypt(key, encrypted.iv, {}, encrypted.ciphertext));
    EXPECT_TRUE(this->token_->list_keys().empty());
}

TYPED_TEST(TokenContract, TwoObjectsOfOneIdAreInternal) {
    if (!this->token_->info().is_softhsm)
        GTEST_SKIP() << "NSS replaces the first object by the second";
    const KeyId key = this->make_key();
    {
        const RawSession raw(this->fixture_);
        raw.generate_key(base::as_text(key.bytes()));
    }
    EXPECT_ERROR(internal, this->token_->destroy_key(key));
    this->token_.reset();
    this->token_ = this->fixture_.open(this->log_);
    EXPECT_ERROR(internal, this->token_->find_key(key));
    EXPECT_ERROR(internal, this->token_->encrypt(key, {}, as_bytes("x")));
}

TYPED_TEST(TokenContract, AKeyThatAnotherProcessDestroyedIsNotDescribedFromMemory) {
    const KeyId key = this->make_key();
    static_cast<void>(this->token_->encrypt(key, {}, as_bytes("x")));
    ASSERT_TRUE(this->token_->find_key(key).has_value());
    {
        const RawSession raw(this->fixture_);
        raw.destroy(raw.find(key));
    }
    EXPECT_FALSE(this->token_->find_key(key).has_value());
    EXPECT_ERROR(not_found, this->token_->encrypt(key, {}, as_bytes("x")));
}

TYPED_TEST(TokenContract, KeysOutliveTheProcess) {
    const KeyId key = this->make_key();
    const auto encrypted = this->token_->encrypt(key, {}, as_bytes("secret"));
    this->token_.reset();
    this->token_ = this->fixture_.open(this->log_);
    EXPECT_EQ(this->token_->decrypt(key, encrypted.iv, {}, encrypted.ciphertext).expose_text(),
              "secret");
}

TYPED_TEST(TokenContract, TheValueOfAKeyCanNotBeRead) {
    for (const KeyProfile profile : {KeyProfile::sealed, KeyProfile::restorable}) {
        const KeyId key = this->make_key(profile);
        const RawSession raw(this->fixture_);
        EXPECT_NE(raw.read_value(raw.find(key)), CKR_OK);
    }
}

TYPED_TEST(TokenContract, AKeyCanNotBeWeakened) {
    const KeyId key = this->make_key();
    const RawSession raw(this->fixture_);
    const auto object = raw.find(key);
    for (const CK_ATTRIBUTE_TYPE type : {CKA_EXTRACTABLE, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE}) {
        EXPECT_NE(raw.set_flag(object, type, true), CKR_OK) << type;
    }
    EXPECT_NE(raw.set_flag(object, CKA_SENSITIVE, false), CKR_OK);
    // NSS has neither CKA_COPYABLE nor this rule of the standard.
    if (this->token_->info().is_softhsm) {
        EXPECT_NE(raw.copy_with(object, CKA_EXTRACTABLE, true), CKR_OK);
    }
    EXPECT_NE(raw.copy_with(object, CKA_SENSITIVE, false), CKR_OK);
}

TYPED_TEST(TokenContract, ARestorableKeyIsNotWrappedUnderAnyKey) {
    if (!this->token_->info().is_softhsm)
        GTEST_SKIP() << "NSS keeps CKA_WRAP_WITH_TRUSTED but does not obey it";
    const KeyId key = this->make_key(KeyProfile::restorable);
    const RawSession raw(this->fixture_);
    EXPECT_NE(raw.wrap_under_new_key(raw.find(key)), CKR_OK);
}

TYPED_TEST(TokenContract, RandomBytesDiffer) {
    base::Bytes one(32);
    base::Bytes two(32);
    this->token_->random(one);
    this->token_->random(two);
    EXPECT_NE(one, two);
    this->token_->random({});
}

TYPED_TEST(TokenContract, ManyThreadsMakeAndUseKeysAtOnce) {
    const KeyId shared = this->make_key();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 16; ++thread) {
        threads.emplace_back([&, thread] {
            try {
                KeyId key = shared;
                if (thread % 4 == 0) {
                    key = KeyId::random();
                    this->token_->generate_aes_key(key, "own", KeyProfile::sealed);
                }
                for (int round = 0; round < 25; ++round) {
                    const std::string text = std::to_string(thread) + "/" + std::to_string(round);
                    const auto encrypted =
                        this->token_->encrypt(key, as_bytes(text), as_bytes(text));
                    const auto opened = this->token_->decrypt(key, encrypted.iv, as_bytes(text),
                                                              encrypted.ciphertext);
                    if (opened.expose_text() != text) ++wrong;
                    try {
                        static_cast<void>(
                            this->token_->decrypt(key, encrypted.iv, {}, encrypted.ciphertext));
                        ++wrong;
                    } catch (const base::Error& error) {
                        if (error.code() != base::ErrorCode::integrity_failure) ++wrong;
                    }
                }
            } catch (const std::exception& error) {
                ADD_FAILURE() << error.what();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    this->token_->check();
    EXPECT_EQ(this->token_->list_keys().size(), 5U);
}

TYPED_TEST(TokenContract, AKeyIsUsedWhileItFitsToWhatItIsHeldToAndNotElse) {
    const auto evidence_of = [&](const KeyId& key) {
        return hsm::KeyEvidence{hsm::KeyUse::encrypts,
                                this->token_->encrypt(key, {}, as_bytes(hsm::key_evidence_text))};
    };
    const KeyId key = this->make_key();
    const auto its_own = evidence_of(key);
    const auto anothers = evidence_of(this->make_key());
    EXPECT_TRUE(this->token_->hold_to(key, its_own));
    EXPECT_FALSE(this->token_->hold_to(key, anothers));
    EXPECT_ERROR(unavailable, this->token_->encrypt(key, {}, as_bytes("x")));
    EXPECT_ERROR(unavailable,
                 this->token_->decrypt(key, its_own.answer.iv, {}, its_own.answer.ciphertext));
    EXPECT_FALSE(
        this->token_->hold_to(key, {hsm::KeyUse::makes_macs, {{}, base::Bytes(hsm::hmac_bytes)}}));
    EXPECT_TRUE(this->token_->hold_to(key, its_own));
    EXPECT_NO_THROW(this->token_->decrypt(key, its_own.answer.iv, {}, its_own.answer.ciphertext));
    EXPECT_ERROR(not_found, this->token_->hold_to(KeyId::random(), its_own));
    // To a text and an AAD of the caller's own, and to no other.
    hsm::KeyEvidence callers = its_own;
    callers.aad = base::to_bytes(as_bytes("aad"));
    callers.text = base::to_bytes(as_bytes("text"));
    callers.answer = this->token_->encrypt(key, callers.aad, callers.text);
    EXPECT_TRUE(this->token_->hold_to(key, callers));
    callers.text.push_back('s');
    EXPECT_FALSE(this->token_->hold_to(key, callers));
    callers.text.pop_back();
    callers.aad.push_back('s');
    EXPECT_FALSE(this->token_->hold_to(key, callers));
}

TYPED_TEST(TokenContract, TheTokenSaysWhoItIs) {
    const auto info = this->token_->info();
    EXPECT_EQ("pkcs11:token=" + info.label, this->fixture_.config().uri);
    EXPECT_FALSE(info.serial.empty());
    EXPECT_EQ(info.is_softhsm, info.manufacturer.find("SoftHSM") != std::string::npos);
}

}  // namespace
}  // namespace tests
