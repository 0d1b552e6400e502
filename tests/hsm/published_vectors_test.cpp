// Others' answers: vectors that NIST, the RFCs and Wycheproof published (tests/vectors/, with their
// source), through a token that was given their keys, and through the verification outside of it.
// Only these tests put a key into a token: the daemons have no way to.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/encoding.h"
#include "base/json.h"
#include "hsm/public_key.h"
#include "tests/hsm/raw_session.h"
#include "tests/support/expect_error.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using base::Bytes;
using base::JsonValue;
using hsm::KeyId;
using hsm::KeyKind;

JsonValue read_vectors(const std::string& name) {
    std::ifstream file(std::string(VECTORS) + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    base::JsonLimits limits;
    limits.bytes = 1024UL * 1024;
    return base::parse_json(text.str(), limits);
}

// Long texts stand in parts.
std::string text_of(const JsonValue& one, std::string_view name) {
    const JsonValue* value = one.find(name);
    if (value == nullptr) throw std::runtime_error("no " + std::string(name));
    if (value->string() != nullptr) return std::string(*value->string());
    if (value->array() == nullptr) return std::string(base::to_json(*value));
    std::string whole;
    for (const JsonValue& part : *value->array()) whole += *part.string();
    return whole;
}

Bytes bytes_of(const JsonValue& one, std::string_view name) {
    const auto bytes = base::parse_hex(text_of(one, name));
    if (!bytes) throw std::runtime_error("not hex: " + std::string(name));
    return *bytes;
}

bool is_true(const JsonValue& one, std::string_view name) { return text_of(one, name) == "true"; }

KeyKind kind_of_vector(const JsonValue& one) {
    return hsm::parse_key_kind(text_of(one, "kind")).value();
}

const JsonValue::Array& list(const JsonValue& file, std::string_view name) {
    return *file.find(name)->array();
}

class PublishedVectors : public testing::Test {
protected:
    const JsonValue published_ = read_vectors("published.json");
    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken fixture_;
    std::unique_ptr<hsm::Token> token_ = hsm::open_token(fixture_.config(), fixture_.pin(), log_);
    const RawSession raw_{fixture_};
};

// NIST CAVP: what verifies opens to the plaintext, and what was spoilt is refused.
TEST_F(PublishedVectors, AesGcmOpensWhatNistSealedAndRefusesWhatNistSpoilt) {
    std::size_t opened = 0;
    std::size_t refused = 0;
    for (const JsonValue& one : list(published_, "aes_gcm")) {
        const KeyId key = KeyId::random();
        raw_.import_aes_key(key, bytes_of(one, "key"));
        const Bytes iv = bytes_of(one, "iv");
        const Bytes aad = bytes_of(one, "aad");
        Bytes ciphertext = bytes_of(one, "ciphertext");
        hsm::Iv nonce{};
        ASSERT_EQ(iv.size(), nonce.size());
        std::copy(iv.begin(), iv.end(), nonce.begin());
        if (!is_true(one, "opens")) {
            EXPECT_ERROR(integrity_failure, token_->decrypt(key, nonce, aad, ciphertext));
            ++refused;
        } else {
            EXPECT_TRUE(
                token_->decrypt(key, nonce, aad, ciphertext).equals(bytes_of(one, "plaintext")));
            ++opened;
            ciphertext.back() ^= 1U;  // of the tag
            EXPECT_ERROR(integrity_failure, token_->decrypt(key, nonce, aad, ciphertext));
        }
        raw_.destroy(raw_.find(key));
    }
    EXPECT_EQ(opened, 75U);
    EXPECT_EQ(refused, 25U);
}

TEST_F(PublishedVectors, HmacIsThatOfRfc4231) {
    for (const JsonValue& one : list(published_, "hmac_sha_256")) {
        const KeyId key = KeyId::random();
        raw_.import_hmac_key(key, bytes_of(one, "key"));
        const Bytes message = bytes_of(one, "message");
        Bytes mac = bytes_of(one, "mac");
        EXPECT_EQ(token_->mac(key, message), mac);
        EXPECT_TRUE(token_->verify_mac(key, message, mac));
        mac.pop_back();
        EXPECT_FALSE(token_->verify_mac(key, message, mac));
        mac.push_back(static_cast<std::uint8_t>(bytes_of(one, "mac").back() ^ 1U));
        EXPECT_FALSE(token_->verify_mac(key, message, mac));
    }
}

// Ed25519 has one signature for a message: the token must make the very bytes.
TEST_F(PublishedVectors, Ed25519SignsAsItsAuthorsDo) {
    for (const JsonValue& one : list(published_, "ed25519")) {
        const KeyId key = KeyId::random();
        raw_.import_ed25519_pair(key, bytes_of(one, "private"), bytes_of(one, "public"));
        const Bytes message = bytes_of(one, "message");
        Bytes signature = bytes_of(one, "signature");
        EXPECT_EQ(token_->public_key(key),
                  hsm::curve_public_key(KeyKind::ed25519, bytes_of(one, "public")));
        EXPECT_EQ(token_->sign(key, KeyKind::ed25519, message), signature);
        EXPECT_TRUE(token_->verify(key, KeyKind::ed25519, message, signature));
        signature.front() ^= 1U;
        EXPECT_FALSE(token_->verify(key, KeyKind::ed25519, message, signature));
    }
}

TEST_F(PublishedVectors, EcdsaVerifiesWhatNistSigned) {
    for (const JsonValue& one : list(published_, "ecdsa_signed")) {
        const KeyId key = KeyId::random();
        const KeyKind kind = kind_of_vector(one);
        raw_.import_ec_pair(key, kind, bytes_of(one, "private"), bytes_of(one, "point"));
        Bytes message = bytes_of(one, "message");
        const Bytes signature = hsm::ecdsa_signature_to_der(bytes_of(one, "signature"));
        EXPECT_TRUE(token_->verify(key, kind, message, signature));
        EXPECT_TRUE(hsm::verify_signature(kind, hsm::curve_public_key(kind, bytes_of(one, "point")),
                                          message, token_->sign(key, kind, message)));
        message.front() ^= 1U;
        EXPECT_FALSE(token_->verify(key, kind, message, signature));
    }
}

// Of these there is no private half, so no key for a token: as Token::verify() judges them.
TEST_F(PublishedVectors, EcdsaJudgesAsNistDoes) {
    std::size_t good = 0;
    for (const JsonValue& one : list(published_, "ecdsa_judged")) {
        const KeyKind kind = kind_of_vector(one);
        const bool verifies = hsm::verify_signature(
            kind, hsm::curve_public_key(kind, bytes_of(one, "point")), bytes_of(one, "message"),
            hsm::ecdsa_signature_to_der(bytes_of(one, "signature")));
        EXPECT_EQ(verifies, is_true(one, "verifies")) << text_of(one, "result");
        good += verifies ? 1 : 0;
    }
    EXPECT_GE(good, 6U);
}

// A salt of another length is another scheme; and what NIST spoilt is bad under any.
TEST_F(PublishedVectors, RsaPssWithAnotherSaltIsRefused) {
    for (const JsonValue& one : list(published_, "rsa_pss_other_salt")) {
        const Bytes public_key =
            hsm::rsa_public_key(bytes_of(one, "modulus"), bytes_of(one, "exponent"));
        EXPECT_FALSE(hsm::verify_signature(kind_of_vector(one), public_key,
                                           bytes_of(one, "message"), bytes_of(one, "signature")))
            << text_of(one, "result");
    }
}

TEST_F(PublishedVectors, RsaPssJudgesAsWycheproofDoes) {
    const JsonValue file = read_vectors("wycheproof_rsa_pss.json");
    const KeyKind kind = kind_of_vector(file);
    const Bytes public_key =
        hsm::rsa_public_key(bytes_of(file, "modulus"), bytes_of(file, "exponent"));
    EXPECT_EQ(hsm::kind_of_public_key(public_key), kind);
    for (const JsonValue& one : list(file, "tests")) {
        EXPECT_EQ(hsm::verify_signature(kind, public_key, bytes_of(one, "message"),
                                        bytes_of(one, "signature")),
                  is_true(one, "verifies"))
            << text_of(one, "comment");
    }
}

}  // namespace
}  // namespace tests
