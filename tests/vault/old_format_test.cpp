#include "vault/import/old_format.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/expect_error.h"

namespace {

using base::JsonValue;
using vault::OldEncoding;
using vault::OldKeys;
using vault::OldLayout;

constexpr base::JsonLimits vector_limits{.bytes = 1024UL * 1024};

std::string text_of(const JsonValue& vector, std::string_view name) {
    const JsonValue* value = vector.find(name);
    return value == nullptr || value->string() == nullptr ? "" : std::string(*value->string());
}

OldEncoding encoding_of(const std::string& word) {
    if (word == "hex") return OldEncoding::hex;
    return word == "base64" ? OldEncoding::base64 : OldEncoding::base64url;
}

std::unique_ptr<vault::OldFormat> format_of(const JsonValue& vector) {
    const std::string format = text_of(vector, "format");
    const std::string keys = text_of(vector, "keys");
    const vault::OldKeyForm form{
        vault::to_old_key_encoding(text_of(vector, "key_encoding")).value(),
        text_of(vector, "salt")};
    if (format == "envelope") return vault::envelope_format(OldKeys::ring(keys, form));
    OldLayout layout(text_of(vector, "layout"), encoding_of(text_of(vector, "encoding")),
                     static_cast<std::size_t>(vector.find("iv_bytes")->integer().value()));
    if (format == "gcm") return vault::gcm_format(OldKeys::one(keys, form), std::move(layout));
    return vault::cbc_format(OldKeys::one(keys, form), std::move(layout));
}

class LegacyVectors : public testing::TestWithParam<const char*> {};

TEST_P(LegacyVectors, OpenOrFailAsTheirMakerSays) {
    const std::string text =
        base::read_file(std::string(STRONGROOM_VECTORS) + "/" + GetParam(), vector_limits.bytes);
    const JsonValue file = base::parse_json(text, vector_limits);
    std::size_t opened = 0;
    for (const JsonValue& vector : *file.find("vectors")->array()) {
        const std::string name = text_of(vector, "name");
        const auto outcome =
            format_of(vector)->open(*vector.find("held"), text_of(vector, "bound"));
        const auto* secret = std::get_if<base::SecretBytes>(&outcome);
        EXPECT_EQ(secret != nullptr, text_of(vector, "expect") == "opens") << name;
        if (secret == nullptr) {
            EXPECT_FALSE(std::get<vault::Unreadable>(outcome).reason.empty()) << name;
            continue;
        }
        ++opened;
        EXPECT_EQ(secret->expose_text(), text_of(vector, "plaintext")) << name;
    }
    EXPECT_GT(opened, 0U);
}

INSTANTIATE_TEST_SUITE_P(Makers, LegacyVectors,
                         testing::Values("legacy_secrets.json", "legacy_secrets_openssl.json"),
                         [](const auto& one) {
                             return std::string(one.index == 0 ? "Node" : "OpenSSL");
                         });

TEST(OldKeysTest, WhatIsNoKeyIsRefusedAndNeverQuoted) {
    const std::string short_key = "bm90LWEta2V5";  // base64 of nine bytes
    for (const std::string& text : {short_key, std::string(), std::string("*")}) {
        EXPECT_ERROR_SAYING(invalid_argument, "no AES-256 key", OldKeys::one(text, {}));
    }
    const std::string good = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    EXPECT_ERROR_SAYING(invalid_argument, "entry 2",
                        OldKeys::ring("v1:" + good + "\nv2:" + short_key, {}));
    EXPECT_ERROR_SAYING(invalid_argument, "twice", OldKeys::ring("a:" + good + ",a:" + good, {}));
    EXPECT_ERROR_SAYING(invalid_argument, "empty", OldKeys::ring(" \n", {}));
    EXPECT_ERROR_SAYING(invalid_argument, "empty", OldKeys::ring("{}", {}));
    EXPECT_ERROR_SAYING(invalid_argument, "no name", OldKeys::ring(":" + good, {}));
    EXPECT_ERROR_SAYING(invalid_argument, "flat JSON", OldKeys::ring(R"({"v1":{}})", {}));
    EXPECT_ERROR_SAYING(invalid_argument, "entry 1", OldKeys::ring(R"({"v1":1})", {}));
    try {
        OldKeys::ring("v1:" + short_key, {});
        ADD_FAILURE();
    } catch (const base::Error& error) {
        EXPECT_EQ(std::string(error.what()).find(short_key), std::string::npos);
    }
    EXPECT_NE(OldKeys::one(good + "\r\n", {}).unnamed(), nullptr)
        << "a line's end is no part of it";
    EXPECT_EQ(vault::to_old_key_encoding("rot13"), std::nullopt);
}

TEST(OldLayoutTest, LayoutsThatSayNothingAreRefused) {
    for (const char* layout : {"", "iv", "data", "iv:tag", "iv:iv:data", "iv:data:", "iv;data",
                               "iv:data.tag", ":iv:data", "iv+data+", "nonce:data"}) {
        EXPECT_ERROR(invalid_argument, OldLayout(layout, OldEncoding::hex, 12));
    }
    EXPECT_ERROR(invalid_argument, OldLayout("iv:data", OldEncoding::hex, 0));
    EXPECT_ERROR(invalid_argument, OldLayout("iv:data", OldEncoding::hex, 65));
}

TEST(OldFormatTest, KeysAndLayoutMustSuitTheFormat) {
    const std::string key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const OldLayout tagged("iv:data+tag", OldEncoding::hex, 12);
    const OldLayout untagged("iv:data", OldEncoding::hex, 16);
    EXPECT_ERROR(invalid_argument, vault::envelope_format(OldKeys::one(key, {})));
    EXPECT_ERROR(invalid_argument, vault::gcm_format(OldKeys::ring("a:" + key, {}), tagged));
    EXPECT_ERROR(invalid_argument, vault::gcm_format(OldKeys::one(key, {}), untagged));
    EXPECT_ERROR(invalid_argument, vault::cbc_format(OldKeys::one(key, {}), tagged));
    EXPECT_NO_THROW(vault::cbc_format(OldKeys::one(key, {}), untagged));
}

}  // namespace
