#include "base/encoding.h"

#include <gtest/gtest.h>

namespace {

struct Vector {
    const char* text;
    const char* base64;
};

// RFC 4648 section 10.
constexpr Vector rfc_4648[] = {{"", ""},
                               {"f", "Zg=="},
                               {"fo", "Zm8="},
                               {"foo", "Zm9v"},
                               {"foob", "Zm9vYg=="},
                               {"fooba", "Zm9vYmE="},
                               {"foobar", "Zm9vYmFy"}};

}  // namespace

TEST(Base64, MatchesTheVectorsOfRfc4648) {
    for (const auto& vector : rfc_4648) {
        EXPECT_EQ(base::to_base64(base::as_bytes(vector.text)), vector.base64);
        const auto decoded = base::parse_base64(vector.base64);
        ASSERT_TRUE(decoded) << vector.base64;
        EXPECT_EQ(base::as_text(*decoded), vector.text);
    }
}

TEST(Base64, SecretsDecodeAlike) {
    for (const auto& vector : rfc_4648) {
        const auto decoded = base::parse_base64_secret(vector.base64);
        ASSERT_TRUE(decoded) << vector.base64;
        EXPECT_EQ(decoded->expose_text(), vector.text);
    }
}

TEST(Base64, AppendingKeepsWhatWasThere) {
    base::WipedString body = "key=";
    base::append_base64(body, base::as_bytes("fooba"));
    EXPECT_EQ(std::string_view(body), "key=Zm9vYmE=");
}

// Two ways to make it: one is ours, the other the library's.
TEST(Base64, AppendingGivesWhatEncodingGives) {
    base::Bytes bytes;
    for (unsigned i = 0; i < 64 * 64; ++i) {  // every value of both halves of a group
        const unsigned group = i << 12U | (i ^ 0xFFFU);
        for (const unsigned shift : {16U, 8U, 0U})
            bytes.push_back(static_cast<std::uint8_t>(group >> shift));
    }
    for (const std::size_t cut : {0U, 1U, 2U, 3U}) {
        const auto part = base::ByteView(bytes).first(bytes.size() - cut);
        base::WipedString text;
        base::append_base64(text, part);
        EXPECT_EQ(std::string_view(text), base::to_base64(part)) << cut;
    }
    base::WipedString nothing;
    base::append_base64(nothing, {});
    EXPECT_TRUE(nothing.empty());
}

TEST(Base64, OnlyTheCanonicalTextIsAccepted) {
    for (const char* text : {"Zg", "Zg=", "Zg===", "=Zg=", "Z===", "====", "Zh==", "Zm9=", "Zm9v\n",
                             " Zm9v", "Zm9v=", "Zm-v", "Zm_v", "Zg==Zg==", "Zm 9v"}) {
        EXPECT_FALSE(base::parse_base64(text)) << text;
        EXPECT_FALSE(base::parse_base64_secret(text)) << text;
    }
    EXPECT_FALSE(base::parse_base64(std::string_view("Zm9v\0aaa", 8)));
}

TEST(Base64, EveryByteValueSurvives) {
    base::Bytes all;
    for (int value = 0; value < 256; ++value) all.push_back(static_cast<std::uint8_t>(value));
    for (std::size_t size = 250; size <= all.size(); ++size) {
        const base::Bytes part(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_EQ(base::parse_base64(base::to_base64(part)), part);
    }
}

TEST(Base64Url, IsCanonicalWithoutPadding) {
    EXPECT_EQ(base::to_base64url(base::Bytes{0xFB, 0xFF, 0xFE}), "-__-");
    EXPECT_EQ(base::to_base64url(base::Bytes{0xFF}), "_w");
    for (std::size_t size = 0; size < 9; ++size) {
        const base::Bytes bytes(size, 0xFB);
        EXPECT_EQ(base::parse_base64url(base::to_base64url(bytes)), bytes);
    }
    for (const char* text : {"_w==", "_x", "/w", "+w", "A", "AAAAA", "_w ", "_\nw"}) {
        EXPECT_FALSE(base::parse_base64url(text)) << text;
    }
}

TEST(Hex, IsLowerCaseAndStrict) {
    EXPECT_EQ(base::to_hex(base::Bytes{0x00, 0xAB, 0xFF}), "00abff");
    EXPECT_EQ(base::parse_hex("00abff"), (base::Bytes{0x00, 0xAB, 0xFF}));
    EXPECT_EQ(base::parse_hex(""), base::Bytes{});
    for (const char* text : {"0", "AB", "0g", " 00", "0x00"})
        EXPECT_FALSE(base::parse_hex(text)) << text;
}

TEST(Utf8, AcceptsWellFormedText) {
    for (const char* text :
         {"", "plain", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x94\x91", "\xF4\x8F\xBF\xBF"}) {
        EXPECT_TRUE(base::is_utf8(text)) << text;
    }
}

TEST(Utf8, RefusesOverlongSurrogatesAndTruncation) {
    for (const char* text : {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                             "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80",
                             "\xC3", "\xE2\x82", "\xF0\x9F\x94", "\xC3(", "\xFF"}) {
        EXPECT_FALSE(base::is_utf8(text));
    }
}
