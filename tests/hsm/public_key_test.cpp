#include "hsm/public_key.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using base::parse_hex;
using hsm::KeyKind;

// RFC 6979 A.2.5 (P-256, SHA-256, message "sample").
const base::Bytes p256_point = *parse_hex(
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
const base::Bytes p256_signature = *parse_hex(
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
// RFC 8032 7.1, test 2.
const base::Bytes ed25519_point =
    *parse_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
const base::Bytes ed25519_signature = *parse_hex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");

TEST(PublicKey, PublishedSignaturesVerify) {
    const auto p256 = hsm::curve_public_key(KeyKind::ecdsa_p256, p256_point);
    EXPECT_EQ(hsm::kind_of_public_key(p256), KeyKind::ecdsa_p256);
    EXPECT_TRUE(hsm::verify_signature(KeyKind::ecdsa_p256, p256, base::as_bytes("sample"),
                                      hsm::ecdsa_signature_to_der(p256_signature)));
    const auto ed25519 = hsm::curve_public_key(KeyKind::ed25519, ed25519_point);
    EXPECT_EQ(hsm::kind_of_public_key(ed25519), KeyKind::ed25519);
    EXPECT_TRUE(
        hsm::verify_signature(KeyKind::ed25519, ed25519, base::Bytes{0x72}, ed25519_signature));
}

TEST(PublicKey, AKeyOfAnotherKindVerifiesNothing) {
    const auto p256 = hsm::curve_public_key(KeyKind::ecdsa_p256, p256_point);
    const auto signature = hsm::ecdsa_signature_to_der(p256_signature);
    for (const KeyKind kind : {KeyKind::ecdsa_p384, KeyKind::ed25519, KeyKind::rsa_pss_3072})
        EXPECT_FALSE(hsm::verify_signature(kind, p256, base::as_bytes("sample"), signature));
    EXPECT_FALSE(
        hsm::verify_signature(KeyKind::ecdsa_p256, {}, base::as_bytes("sample"), signature));
}

TEST(PublicKey, WhatIsNoKeyOfOursHasNoKind) {
    auto key = hsm::curve_public_key(KeyKind::ecdsa_p256, p256_point);
    for (std::size_t size = 0; size < key.size(); ++size)
        EXPECT_FALSE(hsm::kind_of_public_key(base::ByteView(key).first(size)).has_value()) << size;
    auto longer = key;
    longer.push_back(0);
    EXPECT_FALSE(hsm::kind_of_public_key(longer).has_value());
    key.back() ^= 1U;
    EXPECT_FALSE(hsm::kind_of_public_key(key).has_value()) << "a point beside the curve";
    const base::Bytes short_modulus(256, 0xc5);
    EXPECT_FALSE(hsm::kind_of_public_key(hsm::rsa_public_key(short_modulus, base::Bytes{1, 0, 1}))
                     .has_value())
        << "RSA-2048";
}

TEST(PublicKey, EcdsaNumbersAreTheShortestPositiveDer) {
    base::Bytes raw(64, 0);
    raw[31] = 0x01;
    raw[63] = 0x80;
    EXPECT_EQ(base::to_hex(hsm::ecdsa_signature_to_der(raw)), "300702010102020080");
    EXPECT_EQ(base::to_hex(hsm::ecdsa_signature_to_der(base::Bytes(64, 0))), "3006020100020100");
    EXPECT_EQ(hsm::ecdsa_signature_to_der(base::Bytes(96, 0xff)).size(), 2U + 2 * (2 + 49));
}

TEST(PublicKey, PemHasLinesOfSixtyFour) {
    const std::string pem = hsm::to_pem(hsm::curve_public_key(KeyKind::ecdsa_p256, p256_point));
    EXPECT_EQ(pem,
              "-----BEGIN PUBLIC KEY-----\n"
              "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7\n"
              "Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==\n"
              "-----END PUBLIC KEY-----\n");
}

TEST(PublicKey, KindsThatDontSignHaveNoDigestAndNoPublicKey) {
    for (const KeyKind kind : {KeyKind::aes_256, KeyKind::hmac_sha_256, KeyKind::ed25519})
        EXPECT_ERROR(internal, hsm::signing_digest(kind, {}));
    for (const KeyKind kind : {KeyKind::aes_256, KeyKind::rsa_pss_3072})
        EXPECT_ERROR(internal, hsm::curve_public_key(kind, p256_point));
}

TEST(KeyKindWords, EachKindHasOneWord) {
    for (const KeyKind kind : hsm::all_key_kinds)
        EXPECT_EQ(hsm::parse_key_kind(to_string(kind)), kind);
    EXPECT_EQ(hsm::parse_key_kind("ecdsa_p256"), KeyKind::ecdsa_p256);
    for (const std::string_view text : {"", "AES_256", "ecdsa-p256", "rsa_pss_2048"})
        EXPECT_FALSE(hsm::parse_key_kind(text).has_value()) << text;
}

}  // namespace
}  // namespace tests
