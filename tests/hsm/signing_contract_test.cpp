// What hsm/token.h promises of keys that sign or make MACs, on every real token that we have.
// OpenSSL is the judge of what comes out.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "hsm/public_key.h"
#include "tests/hsm/raw_session.h"
#include "tests/hsm/remote_fixture.h"
#include "tests/hsm/set_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/openssl_verify.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;

struct Expected {
    KeyKind kind;
    OpensslScheme scheme;
    std::string openssl_name;
    std::string key_type, mechanism;
};

const std::vector<Expected> pairs{
    {KeyKind::ecdsa_p256, OpensslScheme::ecdsa_sha256, "EC/prime256v1", "EC",
     "CKM_EC_KEY_PAIR_GEN"},
    {KeyKind::ecdsa_p384, OpensslScheme::ecdsa_sha384, "EC/secp384r1", "EC", "CKM_EC_KEY_PAIR_GEN"},
    {KeyKind::ed25519, OpensslScheme::ed25519, "ED25519", "EC_EDWARDS",
     "CKM_EC_EDWARDS_KEY_PAIR_GEN"},
    {KeyKind::rsa_pss_3072, OpensslScheme::rsa_pss_sha256, "RSA/3072", "RSA",
     "CKM_RSA_PKCS_KEY_PAIR_GEN"},
    {KeyKind::rsa_pss_4096, OpensslScheme::rsa_pss_sha256, "RSA/4096", "RSA",
     "CKM_RSA_PKCS_KEY_PAIR_GEN"},
};

template <typename Fixture>
constexpr bool is_remote = false;
template <typename Fixture>
constexpr bool is_remote<Remote<Fixture>> = true;
template <typename Fixture>
constexpr bool is_remote<Copied<Fixture>> = true;
template <typename Fixture>
constexpr bool is_remote<Clustered<Fixture>> = true;

template <typename Fixture>
class SigningContract : public testing::Test {
protected:
    // RSA keys take seconds to find: through the worker, one test has one.
    bool has(KeyKind kind) {
        const bool is_rsa = kind == KeyKind::rsa_pss_3072 || kind == KeyKind::rsa_pss_4096;
        if (is_rsa && is_remote<Fixture>) return false;
        return token_->supported_kinds().count(kind) != 0;
    }
    KeyId make_key(KeyKind kind) {
        const KeyId id = KeyId::random();
        token_->generate_key(id, "a signing key", kind, KeyProfile::sealed);
        return id;
    }
    void reopen() {
        token_.reset();
        token_ = fixture_.open(log_);
    }
    // Nobody who is logged in reads the private half, or takes away what protects it.
    void expect_closed(const KeyId& key) {
        const RawSession raw(fixture_);
        const auto object = raw.find(key, CKO_PRIVATE_KEY);
        for (const CK_ATTRIBUTE_TYPE secret : {CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1})
            EXPECT_NE(raw.read_value(object, secret), CKR_OK);
        for (const CK_ATTRIBUTE_TYPE type :
             {CKA_EXTRACTABLE, CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE}) {
            EXPECT_NE(raw.set_flag(object, type, true), CKR_OK) << type;
        }
        EXPECT_NE(raw.set_flag(object, CKA_SENSITIVE, false), CKR_OK);
        EXPECT_NE(raw.wrap_under_new_key(object), CKR_OK);
    }
    // Nothing of the key is left behind.
    void destroy(const KeyId& key) {
        token_->destroy_key(key);
        EXPECT_FALSE(token_->find_key(key).has_value());
        EXPECT_ERROR(not_found, token_->destroy_key(key));
        const auto left = token_->list_keys();
        EXPECT_EQ(std::count(left.begin(), left.end(), key), 0);
        const RawSession raw(fixture_);
        EXPECT_EQ(raw.count(key), 0U);
    }
    // What the token says of a pair that it has made.
    void expect_sealed(const hsm::KeyAttributes& key, const Expected& each) {
        EXPECT_EQ(hsm::differences_from_profile(key, KeyProfile::sealed, each.kind),
                  std::vector<std::string>());
        EXPECT_EQ(key.label, "a label");
        EXPECT_EQ(key.kind, each.kind);
        EXPECT_EQ(key.key_type, each.key_type);
        EXPECT_TRUE(key.mechanism.empty() || key.mechanism == each.mechanism) << key.mechanism;
        EXPECT_EQ(key.sensitive, true);
        EXPECT_EQ(key.extractable, false);
        EXPECT_EQ(key.sign, true);
        for (const auto& use : {key.decrypt, key.unwrap, key.derive, key.modifiable})
            EXPECT_EQ(use, false);
        ASSERT_TRUE(key.public_half.has_value());
        EXPECT_EQ(key.public_half->verify, true);
        EXPECT_EQ(key.public_half->encrypt, false);
        EXPECT_EQ(key.public_half->modifiable, false);
        EXPECT_EQ(key.public_half->private_object, token_->info().is_softhsm);
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    Fixture fixture_;
    std::unique_ptr<hsm::Token> token_ = fixture_.open(log_);
};

using RealTokens = testing::Types<SoftHsmToken, NssToken, Remote<SoftHsmToken>, Remote<NssToken>,
                                  Copied<SoftHsmToken>, Clustered<NssToken>>;
TYPED_TEST_SUITE(SigningContract, RealTokens);

TYPED_TEST(SigningContract, TheTokenNamesTheKindsItHas) {
    std::set<KeyKind> expected{hsm::all_key_kinds.begin(), hsm::all_key_kinds.end()};
    if (!this->token_->info().is_softhsm) expected.erase(KeyKind::ed25519);  // since NSS 3.99
    for (const KeyKind kind : this->token_->supported_kinds()) expected.erase(kind);
    EXPECT_TRUE(expected.empty());
}

TYPED_TEST(SigningContract, AKindThatTheTokenLacksIsRefused) {
    if (this->has(KeyKind::ed25519)) GTEST_SKIP() << "this token has every kind";
    EXPECT_ERROR_SAYING(failed_precondition, "ed25519", this->make_key(KeyKind::ed25519));
}

// One test, since an RSA pair takes a second to find: each kind is made once.
TYPED_TEST(SigningContract, APairCanNotLeaveOnlySignsAndOutlivesTheProcessAndOpensslVerifiesIt) {
    for (const Expected& each : pairs) {
        if (!this->has(each.kind)) continue;
        SCOPED_TRACE(to_string(each.kind));
        const KeyId key = KeyId::random();
        this->expect_sealed(
            this->token_->generate_key(key, "a label", each.kind, KeyProfile::sealed), each);
        const base::Bytes public_key = this->token_->public_key(key);
        EXPECT_EQ(openssl_key_name(public_key), each.openssl_name);
        EXPECT_EQ(hsm::kind_of_public_key(public_key), each.kind);
        base::Bytes signature;
        for (const std::size_t size : {0U, 1U, 64U, 65536U}) {
            const base::Bytes message(size, 0x5a);
            signature = this->token_->sign(key, each.kind, message);
            EXPECT_TRUE(openssl_verifies(each.scheme, public_key, message, signature)) << size;
            EXPECT_TRUE(this->token_->verify(key, each.kind, message, signature)) << size;
        }
        this->reopen();
        EXPECT_EQ(this->token_->public_key(key), public_key);
        EXPECT_TRUE(this->token_->verify(key, each.kind, base::Bytes(65536, 0x5a), signature));
        EXPECT_TRUE(openssl_verifies(each.scheme, public_key, as_bytes("again"),
                                     this->token_->sign(key, each.kind, as_bytes("again"))));
    }
}

// Short r and s in DER have another length; 300 signatures see a few of them.
TYPED_TEST(SigningContract, EcdsaSignaturesAreStrictDer) {
    for (const auto& [kind, scheme] :
         {std::pair(KeyKind::ecdsa_p256, OpensslScheme::ecdsa_sha256),
          std::pair(KeyKind::ecdsa_p384, OpensslScheme::ecdsa_sha384)}) {
        const KeyId key = this->make_key(kind);
        const base::Bytes public_key = this->token_->public_key(key);
        std::set<std::size_t> sizes;
        for (int i = 0; i < 300; ++i) {
            const std::string message = std::to_string(i);
            const auto signature = this->token_->sign(key, kind, as_bytes(message));
            EXPECT_TRUE(openssl_verifies(scheme, public_key, as_bytes(message), signature));
            sizes.insert(signature.size());
        }
        EXPECT_GT(sizes.size(), 2U);
    }
}

TYPED_TEST(SigningContract, AnotherMessageSignatureOrKeyDoesNotVerify) {
    for (const Expected& each : pairs) {
        if (!this->has(each.kind) || each.kind == KeyKind::rsa_pss_4096) continue;
        SCOPED_TRACE(to_string(each.kind));
        const KeyId key = this->make_key(each.kind);
        const KeyId other = this->make_key(each.kind);
        const base::Bytes signature = this->token_->sign(key, each.kind, as_bytes("message"));
        EXPECT_TRUE(this->token_->verify(key, each.kind, as_bytes("message"), signature));
        EXPECT_FALSE(this->token_->verify(key, each.kind, as_bytes("massage"), signature));
        EXPECT_FALSE(this->token_->verify(other, each.kind, as_bytes("message"), signature));
        for (std::size_t byte = 0; byte < signature.size(); ++byte) {
            base::Bytes flipped = signature;
            flipped[byte] ^= 0x10U;
            EXPECT_FALSE(this->token_->verify(key, each.kind, as_bytes("message"), flipped))
                << byte;
        }
        for (std::size_t size = 0; size < signature.size(); ++size) {
            EXPECT_FALSE(this->token_->verify(key, each.kind, as_bytes("message"),
                                              base::ByteView(signature).first(size)));
        }
        base::Bytes longer = signature;
        longer.push_back(0);
        EXPECT_FALSE(this->token_->verify(key, each.kind, as_bytes("message"), longer));
    }
}

TYPED_TEST(SigningContract, APrivateKeyCanNotBeReadOrWeakenedAndIsGoneWhenDestroyed) {
    for (const KeyKind kind : {KeyKind::ecdsa_p256, KeyKind::rsa_pss_3072}) {
        const KeyId key = this->make_key(kind);
        this->expect_closed(key);
        this->destroy(key);
        // Who tried to open it made an object that this process has not seen, and a token that was
        // read anew for that is not read anew again at once.
        this->reopen();
    }
}

TYPED_TEST(SigningContract, AMacKeyMakesMacsAndNothingElse) {
    const KeyId id = KeyId::random();
    const auto key = this->token_->generate_key(id, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
    EXPECT_EQ(key.kind, KeyKind::hmac_sha_256);
    EXPECT_EQ(key.value_bytes, 32U);
    EXPECT_EQ(key.sign, true);
    EXPECT_EQ(key.verify, true);
    EXPECT_EQ(key.extractable, false);
    for (const auto& use : {key.encrypt, key.decrypt, key.wrap, key.unwrap, key.derive})
        EXPECT_EQ(use, false);
    const RawSession raw(this->fixture_);
    EXPECT_NE(raw.read_value(raw.find(id)), CKR_OK);
}

TYPED_TEST(SigningContract, AMacVerifiesForItsMessageAndKeyOnly) {
    const KeyId key = this->make_key(KeyKind::hmac_sha_256);
    const KeyId other = this->make_key(KeyKind::hmac_sha_256);
    for (const std::size_t size : {0U, 1U, 64U, 65536U}) {
        const base::Bytes message(size, 0x33);
        const base::Bytes mac = this->token_->mac(key, message);
        EXPECT_EQ(mac.size(), hsm::hmac_bytes);
        EXPECT_EQ(mac, this->token_->mac(key, message));
        EXPECT_NE(mac, this->token_->mac(other, message));
        EXPECT_TRUE(this->token_->verify_mac(key, message, mac));
        EXPECT_FALSE(this->token_->verify_mac(key, as_bytes("another"), mac));
        EXPECT_FALSE(this->token_->verify_mac(other, message, mac));
    }
    const base::Bytes mac = this->token_->mac(key, as_bytes("message"));
    for (std::size_t bit = 0; bit < mac.size() * 8; ++bit) {
        base::Bytes flipped = mac;
        flipped[bit / 8] = static_cast<std::uint8_t>(flipped[bit / 8] ^ (1U << (bit % 8)));
        EXPECT_FALSE(this->token_->verify_mac(key, as_bytes("message"), flipped));
    }
    for (std::size_t size = 0; size < mac.size(); ++size) {
        EXPECT_FALSE(
            this->token_->verify_mac(key, as_bytes("message"), base::ByteView(mac).first(size)));
    }
}

TYPED_TEST(SigningContract, AMacIsHmacSha256AsOpensslComputesIt) {
    const KeyId id = KeyId::random();
    const base::Bytes value(32, 0x0b);
    const RawSession raw(this->fixture_);
    raw.import_hmac_key(id, value);
    EXPECT_EQ(this->token_->mac(id, as_bytes("Hi There")),
              openssl_hmac_sha256(value, as_bytes("Hi There")));
}

TYPED_TEST(SigningContract, AKeyIsOfNoUseAsAnotherKind) {
    const KeyId aes = this->make_key(KeyKind::aes_256);
    const KeyId mac = this->make_key(KeyKind::hmac_sha_256);
    const KeyId pair = this->make_key(KeyKind::ecdsa_p256);
    for (const KeyId& id : {aes, mac}) {
        EXPECT_ERROR(internal, this->token_->sign(id, KeyKind::ecdsa_p256, {}));
        EXPECT_ERROR(internal, this->token_->public_key(id));
    }
    for (const KeyId& id : {aes, pair}) EXPECT_ERROR(internal, this->token_->mac(id, {}));
    for (const KeyId& id : {mac, pair}) {
        EXPECT_ERROR(internal, this->token_->encrypt(id, {}, {}));
        EXPECT_ERROR(internal, this->token_->decrypt(id, {}, {}, base::Bytes(32)));
        const hsm::DecryptItem item{id, {}, {}, as_bytes("a ciphertext that is long enough")};
        EXPECT_FALSE(this->token_->decrypt_many({&item, 1}).front().has_value());
        const hsm::EncryptItem wish{id, {}, {}};
        EXPECT_FALSE(this->token_->encrypt_many({&wish, 1}).front().has_value());
    }
    EXPECT_ERROR(internal, this->token_->sign(pair, KeyKind::ecdsa_p384, {}));
    EXPECT_ERROR(internal, this->token_->verify(pair, KeyKind::rsa_pss_3072, {}, {}));
}

TYPED_TEST(SigningContract, KeysThatSignOrMacMustBeSealed) {
    for (const KeyKind kind : {KeyKind::hmac_sha_256, KeyKind::ecdsa_p256}) {
        EXPECT_ERROR(invalid_argument,
                     this->token_->generate_key(KeyId::random(), "", kind, KeyProfile::restorable));
    }
    EXPECT_TRUE(this->token_->list_keys().empty());
}

TYPED_TEST(SigningContract, ASecondKeyOfTheSameIdAlreadyExistsWhateverItsKind) {
    const KeyId pair = this->make_key(KeyKind::ecdsa_p256);
    for (const KeyKind kind : {KeyKind::aes_256, KeyKind::hmac_sha_256, KeyKind::ecdsa_p256}) {
        EXPECT_ERROR(already_exists,
                     this->token_->generate_key(pair, "", kind, KeyProfile::sealed));
    }
    EXPECT_EQ(this->token_->list_keys(), std::vector<KeyId>{pair});
}

TYPED_TEST(SigningContract, ListingNamesEveryPairOnce) {
    const std::set<KeyId> made{this->make_key(KeyKind::aes_256),
                               this->make_key(KeyKind::hmac_sha_256),
                               this->make_key(KeyKind::ecdsa_p256)};
    const auto listed = this->token_->list_keys();
    EXPECT_EQ(listed.size(), 3U);
    EXPECT_EQ(std::set<KeyId>(listed.begin(), listed.end()), made);
}

// The RSA pair is in APrivateKeyCanNotBeReadOrWeakenedAndIsGoneWhenDestroyed.
TYPED_TEST(SigningContract, ADestroyedPairIsGoneWithBothHalves) {
    for (const KeyKind kind : {KeyKind::hmac_sha_256, KeyKind::ecdsa_p256})
        this->destroy(this->make_key(kind));
    EXPECT_TRUE(this->token_->list_keys().empty());
}

TYPED_TEST(SigningContract, AnUnknownKeySignsNothing) {
    const KeyId nobody = KeyId::random();
    EXPECT_ERROR(not_found, this->token_->sign(nobody, KeyKind::ecdsa_p256, {}));
    EXPECT_ERROR(not_found, this->token_->verify(nobody, KeyKind::ecdsa_p256, {}, {}));
    EXPECT_ERROR(not_found, this->token_->public_key(nobody));
    EXPECT_ERROR(not_found, this->token_->mac(nobody, {}));
    EXPECT_ERROR(not_found, this->token_->verify_mac(nobody, {}, {}));
}

// What a kill between the two objects leaves.
TYPED_TEST(SigningContract, HalfAPairIsNoKeyButIsListedAndCanBeDestroyed) {
    const KeyId key = this->make_key(KeyKind::ecdsa_p256);
    {
        const RawSession raw(this->fixture_);
        raw.destroy(raw.find(key, CKO_PRIVATE_KEY));
    }
    this->reopen();
    EXPECT_FALSE(this->token_->find_key(key).has_value());
    EXPECT_ERROR(not_found, this->token_->sign(key, KeyKind::ecdsa_p256, {}));
    EXPECT_ERROR(already_exists,
                 this->token_->generate_key(key, "", KeyKind::ecdsa_p256, KeyProfile::sealed));
    EXPECT_EQ(this->token_->list_keys(), std::vector<KeyId>{key});
    this->token_->destroy_key(key);
    EXPECT_TRUE(this->token_->list_keys().empty());
}

TYPED_TEST(SigningContract, APrivateKeyWithoutItsPublicHalfIsNotAsOrderedAndSignsNothing) {
    const KeyId key = this->make_key(KeyKind::ecdsa_p256);
    {
        const RawSession raw(this->fixture_);
        raw.destroy(raw.find(key, CKO_PUBLIC_KEY));
    }
    this->reopen();
    const auto attributes = this->token_->find_key(key);
    ASSERT_TRUE(attributes.has_value());
    EXPECT_EQ(hsm::differences_from_profile(*attributes, KeyProfile::sealed, KeyKind::ecdsa_p256),
              std::vector<std::string>{"public_half is missing"});
    EXPECT_ERROR(internal, this->token_->sign(key, KeyKind::ecdsa_p256, {}));
}

TYPED_TEST(SigningContract, APublicHalfOfAnotherPairIsFoundOut) {
    const KeyId key = this->make_key(KeyKind::ecdsa_p256);
    const KeyId other = this->make_key(KeyKind::ecdsa_p256);
    {
        const RawSession raw(this->fixture_);
        const auto point = raw.read(raw.find(other, CKO_PUBLIC_KEY), CKA_EC_POINT);
        raw.destroy(raw.find(key, CKO_PUBLIC_KEY));
        raw.import_p256_public_key(key, point);
    }
    this->reopen();
    EXPECT_ERROR_SAYING(internal, "halves", this->token_->sign(key, KeyKind::ecdsa_p256, {}));
    EXPECT_ERROR_SAYING(internal, "halves", this->token_->public_key(key));
    EXPECT_ERROR_SAYING(internal, "halves", this->token_->verify(key, KeyKind::ecdsa_p256, {}, {}));
}

TYPED_TEST(SigningContract, AMacKeyOutlivesTheProcess) {
    const KeyId key = this->make_key(KeyKind::hmac_sha_256);
    const auto mac = this->token_->mac(key, as_bytes("message"));
    this->reopen();
    EXPECT_TRUE(this->token_->verify_mac(key, as_bytes("message"), mac));
}

TYPED_TEST(SigningContract, ManyThreadsMakeAndUseSigningKeysAtOnce) {
    const KeyId shared = this->make_key(KeyKind::ecdsa_p256);
    const KeyId mac_key = this->make_key(KeyKind::hmac_sha_256);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 8; ++thread) {
        threads.emplace_back([&, thread] {
            try {
                const KeyId key = thread % 4 == 0 ? this->make_key(KeyKind::ecdsa_p256) : shared;
                for (int round = 0; round < 20; ++round) {
                    const std::string text = std::to_string(thread) + "/" + std::to_string(round);
                    const auto signature =
                        this->token_->sign(key, KeyKind::ecdsa_p256, as_bytes(text));
                    if (!this->token_->verify(key, KeyKind::ecdsa_p256, as_bytes(text), signature))
                        ++wrong;
                    const auto mac = this->token_->mac(mac_key, as_bytes(text));
                    if (!this->token_->verify_mac(mac_key, as_bytes(text), mac)) ++wrong;
                }
            } catch (const std::exception& error) {
                ADD_FAILURE() << error.what();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace tests
