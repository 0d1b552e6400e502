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

kms::Envelope example(std::size_t data_key_bytes = 32) {
    kms::Envelope wrapped;
    wrapped.key_id = base::Uuid::random();
    wrapped.key_version = 0x01020304;
    wrapped.iv.fill(0xAB);
    wrapped.ciphertext.assign(data_key_bytes + hsm::tag_bytes, 0xCD);
    return wrapped;
}

// One file of vectors: which field holds the plaintext, which the envelope.
struct VectorFile {
    const char* name;
    kms::EnvelopeKind kind;
    const char* plaintext;
    const char* envelope;
    std::size_t count;
};

void check_vector(const VectorFile& file, const base::JsonValue& vector) {
    base::JsonReader reader(vector);
    SCOPED_TRACE(std::string(reader.required_string("name", 200)));
    const auto context = reader.optional_string_map("context", 64, 8192);
    const base::Bytes canonical = kms::canonical_context(context);
    EXPECT_EQ(base::to_hex(canonical), reader.required_string("canonical_context", 40000));
    const base::Bytes bytes = reader.required_base64(file.envelope, kms::max_ciphertext_bytes);
    const auto envelope = kms::parse_envelope(file.kind, bytes);
    ASSERT_TRUE(envelope);
    EXPECT_EQ(envelope->key_id, reader.required_uuid("key_id"));
    EXPECT_EQ(envelope->key_version, reader.required_integer("key_version", 1, 0xFFFFFFFF));
    EXPECT_EQ(base::to_hex(envelope->iv), reader.required_string("iv", 24));
    EXPECT_EQ(kms::to_bytes(*envelope), bytes);
    const auto master = base::parse_hex(reader.required_string("master_key", 64));
    const auto plaintext = base::parse_hex(reader.required_string(file.plaintext, 8192));
    reader.refuse_unknown();

    FakeToken token;
    const auto token_key = base::Uuid::random();
    token.set_key(token_key, *master);
    const base::Bytes aad =
        kms::envelope_aad(file.kind, envelope->key_id, envelope->key_version, canonical);
    EXPECT_TRUE(
        token.decrypt(token_key, envelope->iv, aad, envelope->ciphertext).equals(*plaintext));
}

TEST(Envelope, MatchesTheVectorsMadeWithoutThisCode) {
    for (const VectorFile& file :
         {VectorFile{"wrapped_data_key_v1.json", kms::EnvelopeKind::data_key, "data_key", "wrapped",
                     7},
          VectorFile{"ciphertext_v1.json", kms::EnvelopeKind::small_text, "plaintext", "ciphertext",
                     5}}) {
        SCOPED_TRACE(file.name);
        base::JsonLimits limits;
        limits.bytes = 1 << 20;
        const base::JsonValue content = base::parse_json(
            base::read_file(std::filesystem::path(VECTORS) / file.name, limits.bytes), limits);
        base::JsonReader top(content);
        const auto& vectors = top.required_array("vectors", 1000);
        EXPECT_EQ(vectors.size(), file.count);
        for (const auto& vector : vectors) check_vector(file, vector);
    }
}

TEST(Envelope, AWrappedDataKeyIsNoCiphertextOfATextAndNeverOpensAsOne) {
    FakeToken token;
    const auto token_key = base::Uuid::random();
    token.set_key(token_key, base::Bytes(32, 7));
    const base::Bytes context = kms::canonical_context({{"owner", "acme"}});
    for (const auto& [made, other] :
         {std::pair{kms::EnvelopeKind::data_key, kms::EnvelopeKind::small_text},
          std::pair{kms::EnvelopeKind::small_text, kms::EnvelopeKind::data_key}}) {
        kms::Envelope envelope = example();
        envelope.kind = made;
        const auto encrypted = token.encrypt(
            token_key, kms::envelope_aad(made, envelope.key_id, envelope.key_version, context),
            base::Bytes(32, 9));
        envelope.iv = encrypted.iv;
        envelope.ciphertext = encrypted.ciphertext;
        base::Bytes bytes = kms::to_bytes(envelope);
        EXPECT_TRUE(kms::parse_envelope(made, bytes));
        EXPECT_FALSE(kms::parse_envelope(other, bytes));
        // With the other magic it is well-formed, and does not open.
        kms::Envelope renamed = envelope;
        renamed.kind = other;
        const auto parsed = kms::parse_envelope(other, kms::to_bytes(renamed));
        ASSERT_TRUE(parsed);
        EXPECT_ERROR(
            integrity_failure,
            token.decrypt(token_key, parsed->iv,
                          kms::envelope_aad(other, parsed->key_id, parsed->key_version, context),
                          parsed->ciphertext));
    }
}

TEST(Envelope, ATextHasOneTo4096Bytes) {
    kms::Envelope envelope = example();
    envelope.kind = kms::EnvelopeKind::small_text;
    for (const auto& [bytes, good] : {std::pair{0U, false}, std::pair{1U, true},
                                      std::pair{4096U, true}, std::pair{4097U, false}}) {
        envelope.ciphertext.assign(bytes + hsm::tag_bytes, 1);
        const auto parsed =
            kms::parse_envelope(kms::EnvelopeKind::small_text, kms::to_bytes(envelope));
        EXPECT_EQ(parsed.has_value(), good) << bytes;
    }
}

TEST(Envelope, A32ByteDataKeyTakes86Bytes) { EXPECT_EQ(kms::to_bytes(example(32)).size(), 86U); }

TEST(Envelope, WhatWasWrittenIsReadBack) {
    const auto wrapped = example();
    const auto parsed = kms::parse_envelope(kms::EnvelopeKind::data_key, kms::to_bytes(wrapped));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->key_id, wrapped.key_id);
    EXPECT_EQ(parsed->key_version, wrapped.key_version);
    EXPECT_EQ(parsed->iv, wrapped.iv);
    EXPECT_EQ(parsed->ciphertext, wrapped.ciphertext);
}

TEST(Envelope, EveryLengthOutsideTheFormatIsNotWellFormed) {
    base::Bytes bytes = kms::to_bytes(example(64));
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
        const auto parsed =
            kms::parse_envelope(kms::EnvelopeKind::data_key, base::ByteView(bytes).first(size));
        EXPECT_EQ(parsed.has_value(), size >= 54 + 16) << size;
    }
    bytes.push_back(0);
    EXPECT_FALSE(kms::parse_envelope(kms::EnvelopeKind::data_key, bytes));
}

TEST(Envelope, OtherMagicVersionSuiteOrKeyVersionZeroIsNotWellFormed) {
    const base::Bytes good = kms::to_bytes(example());
    for (std::size_t at = 0; at < 6; ++at) {
        base::Bytes bad = good;
        bad[at] ^= 0x20U;
        EXPECT_FALSE(kms::parse_envelope(kms::EnvelopeKind::data_key, bad)) << "byte " << at;
    }
    base::Bytes version_zero = good;
    for (std::size_t at = 22; at < 26; ++at) version_zero[at] = 0;
    EXPECT_FALSE(kms::parse_envelope(kms::EnvelopeKind::data_key, version_zero));
}

TEST(Envelope, EveryFlippedBitIsNotWellFormedOrDoesNotOpen) {
    FakeToken token;
    const auto token_key = base::Uuid::random();
    token.set_key(token_key, base::Bytes(32, 7));
    const base::Bytes context = kms::canonical_context({{"owner", "acme"}});
    kms::Envelope wrapped = example();
    const auto encrypted =
        token.encrypt(token_key,
                      kms::envelope_aad(kms::EnvelopeKind::data_key, wrapped.key_id,
                                        wrapped.key_version, context),
                      base::Bytes(32, 9));
    wrapped.iv = encrypted.iv;
    wrapped.ciphertext = encrypted.ciphertext;
    const base::Bytes good = kms::to_bytes(wrapped);
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        base::Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        const auto parsed = kms::parse_envelope(kms::EnvelopeKind::data_key, bad);
        if (!parsed) continue;
        EXPECT_ERROR(integrity_failure,
                     token.decrypt(token_key, parsed->iv,
                                   kms::envelope_aad(kms::EnvelopeKind::data_key, parsed->key_id,
                                                     parsed->key_version, context),
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
