#include "kms/envelope.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

kms::WrappedDataKey example(std::size_t data_key_bytes = 32) {
    kms::WrappedDataKey wrapped;
    wrapped.key_id = base::Uuid::random();
    wrapped.key_version = 0x01020304;
    wrapped.iv.fill(0xAB);
    wrapped.ciphertext.assign(data_key_bytes + hsm::tag_bytes, 0xCD);
    return wrapped;
}

TEST(Envelope, MatchesTheVectorsMadeWithoutThisCode) {
    const std::string text =
        base::read_file(std::filesystem::path(VECTORS) / "wrapped_data_key_v1.json", 1 << 20);
    const base::JsonValue file = base::parse_json(text);
    base::JsonReader top(file);
    const auto& vectors = top.required_array("vectors", 1000);
    EXPECT_EQ(vectors.size(), 7U);
    for (const auto& vector : vectors) {
        base::JsonReader reader(vector);
        SCOPED_TRACE(std::string(reader.required_string("name", 200)));
        const auto context = reader.optional_string_map("context", 64, 8192);
        const base::Bytes canonical = kms::canonical_context(context);
        EXPECT_EQ(base::to_hex(canonical), reader.required_string("canonical_context", 40000));
        const auto wrapped = kms::parse_wrapped(reader.required_base64("wrapped", 200));
        ASSERT_TRUE(wrapped);
        EXPECT_EQ(wrapped->key_id, reader.required_uuid("key_id"));
        EXPECT_EQ(wrapped->key_version, reader.required_integer("key_version", 1, 0xFFFFFFFF));
        EXPECT_EQ(base::to_hex(wrapped->iv), reader.required_string("iv", 24));
        EXPECT_EQ(kms::to_bytes(*wrapped), *reader.optional_base64("wrapped", 200));
        const auto master = base::parse_hex(reader.required_string("master_key", 64));
        const auto data_key = base::parse_hex(reader.required_string("data_key", 128));
        reader.refuse_unknown();

        FakeToken token;
        const auto token_key = base::Uuid::random();
        token.set_key(token_key, *master);
        const base::Bytes aad = kms::wrapping_aad(wrapped->key_id, wrapped->key_version, canonical);
        EXPECT_TRUE(
            token.decrypt(token_key, wrapped->iv, aad, wrapped->ciphertext).equals(*data_key));
    }
}

TEST(Envelope, A32ByteDataKeyTakes86Bytes) { EXPECT_EQ(kms::to_bytes(example(32)).size(), 86U); }

TEST(Envelope, WhatWasWrittenIsReadBack) {
    const auto wrapped = example();
    const auto parsed = kms::parse_wrapped(kms::to_bytes(wrapped));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->key_id, wrapped.key_id);
    EXPECT_EQ(parsed->key_version, wrapped.key_version);
    EXPECT_EQ(parsed->iv, wrapped.iv);
    EXPECT_EQ(parsed->ciphertext, wrapped.ciphertext);
}

TEST(Envelope, EveryLengthOutsideTheFormatIsNotWellFormed) {
    base::Bytes bytes = kms::to_bytes(example(64));
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
        const auto parsed = kms::parse_wrapped(base::ByteView(bytes).first(size));
        EXPECT_EQ(parsed.has_value(), size >= 54 + 16) << size;
    }
    bytes.push_back(0);
    EXPECT_FALSE(kms::parse_wrapped(bytes));
}

TEST(Envelope, OtherMagicVersionSuiteOrKeyVersionZeroIsNotWellFormed) {
    const base::Bytes good = kms::to_bytes(example());
    for (std::size_t at = 0; at < 6; ++at) {
        base::Bytes bad = good;
        bad[at] ^= 0x20U;
        EXPECT_FALSE(kms::parse_wrapped(bad)) << "byte " << at;
    }
    base::Bytes version_zero = good;
    for (std::size_t at = 22; at < 26; ++at) version_zero[at] = 0;
    EXPECT_FALSE(kms::parse_wrapped(version_zero));
}

TEST(Envelope, EveryFlippedBitIsNotWellFormedOrDoesNotOpen) {
    FakeToken token;
    const auto token_key = base::Uuid::random();
    token.set_key(token_key, base::Bytes(32, 7));
    const base::Bytes context = kms::canonical_context({{"owner", "acme"}});
    kms::WrappedDataKey wrapped = example();
    const auto encrypted =
        token.encrypt(token_key, kms::wrapping_aad(wrapped.key_id, wrapped.key_version, context),
                      base::Bytes(32, 9));
    wrapped.iv = encrypted.iv;
    wrapped.ciphertext = encrypted.ciphertext;
    const base::Bytes good = kms::to_bytes(wrapped);
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        base::Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        const auto parsed = kms::parse_wrapped(bad);
        if (!parsed) continue;
        EXPECT_ERROR(integrity_failure,
                     token.decrypt(token_key, parsed->iv,
                                   kms::wrapping_aad(parsed->key_id, parsed->key_version, context),
                                   parsed->ciphertext));
    }
}

// Every map of up to two entries, with keys of up to one byte and values of up to three, over an
// alphabet that has the bytes of lengths in it: enough to find a missing length anywhere.
TEST(CanonicalContext, NoTwoMapsGiveTheSameBytes) {
    const std::string alphabet("\0\1a", 3);
    std::vector<std::string> values = {""};
    for (std::size_t i = 0; values[i].size() < 3; ++i) {
        for (const char next : alphabet) values.push_back(values[i] + next);
    }
    const std::vector<std::string> keys(values.begin(), values.begin() + 4);
    std::map<base::Bytes, kms::EncryptionContext> seen;
    const auto add = [&](const kms::EncryptionContext& map) {
        EXPECT_TRUE(seen.emplace(kms::canonical_context(map), map).second);
    };
    add({});
    for (std::size_t first = 0; first < keys.size(); ++first) {
        for (const auto& value : values) {
            add({{keys[first], value}});
            for (std::size_t second = first + 1; second < keys.size(); ++second) {
                for (const auto& other : values) add({{keys[first], value}, {keys[second], other}});
            }
        }
    }
    EXPECT_EQ(seen.size(), 1U + 4U * 40U + 6U * 40U * 40U);
}

TEST(CanonicalContext, TheEmptyMapIsTwoZeroBytes) {
    EXPECT_EQ(base::to_hex(kms::canonical_context({})), "0000");
}

TEST(CanonicalContext, LimitsAreExact) {
    kms::EncryptionContext context;
    for (int i = 0; i < 64; ++i) context[std::to_string(i)] = "";
    EXPECT_NO_THROW(kms::canonical_context(context));
    context["one more"] = "";
    EXPECT_ERROR_SAYING(invalid_argument, "context", kms::canonical_context(context));

    EXPECT_NO_THROW(kms::canonical_context({{"k", std::string(8191, 'v')}}));
    EXPECT_ERROR_SAYING(invalid_argument, "8192",
                        kms::canonical_context({{"k", std::string(8192, 'v')}}));
}

TEST(CanonicalContext, TextThatIsNoUtf8IsRefused) {
    EXPECT_ERROR_SAYING(invalid_argument, "UTF-8", kms::canonical_context({{"\xFF", "v"}}));
    EXPECT_ERROR_SAYING(invalid_argument, "UTF-8", kms::canonical_context({{"k", "\xC0\x80"}}));
}

}  // namespace
}  // namespace tests
