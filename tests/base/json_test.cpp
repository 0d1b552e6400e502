#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/expect_error.h"

using base::JsonReader;
using base::JsonValue;
using base::parse_json;

TEST(ParseJson, KeepsOrderAndSpelling) {
    for (const char* text : {R"({"b":1,"a":[true,false,null,"x"],"c":{"d":-5}})",
                             R"([18446744073709551615,-9223372036854775808])",
                             R"([1.0,1e300,0.1,123456789012345678901234567890])", R"("text")", "0",
                             "[]", "{}", "\"\\u0000\\u001f\\\"\\\\\"", "\"\xE2\x82\xAC\""}) {
        EXPECT_EQ(std::string_view(base::to_json(parse_json(text))), text);
    }
}

TEST(ParseJson, RefusesMalformedText) {
    for (const char* text : {"",
                             " ",
                             "{",
                             "}",
                             "[1,]",
                             "{\"a\":1,}",
                             "{'a':1}",
                             "{\"a\":1} x",
                             "nul",
                             "01",
                             "1.",
                             ".5",
                             "+1",
                             "\"\x01\"",
                             "\"\\x\"",
                             "\"\\ud800\"",
                             "\"\xFF\"",
                             "\"\xC0\x80\"",
                             "[1 2]",
                             "NaN",
                             "1e400",
                             "// c\n1",
                             "\xEF\xBB\xBF{}"}) {
        EXPECT_ERROR(invalid_argument, parse_json(text));
    }
}

TEST(ParseJson, CommentsOnlyWhereAskedFor) {
    base::JsonLimits limits;
    limits.comments = true;
    EXPECT_EQ(std::string_view(base::to_json(parse_json("// why\n{\"a\":1 /* what */}", limits))),
              "{\"a\":1}");
}

TEST(ParseJson, RefusesDuplicateNamesAndNamesThem) {
    EXPECT_ERROR_SAYING(invalid_argument, "\"a\" stands twice",
                        parse_json(R"({"a":1,"b":2,"a":3})"));
    EXPECT_ERROR_SAYING(invalid_argument, "\"a\" stands twice",
                        parse_json(R"({"x":[{"a":1,"a":1}]})"));
    EXPECT_NO_THROW(parse_json(R"([{"a":1},{"a":2}])"));
}

TEST(ParseJson, RefusesDuplicatesAmongManyNames) {
    std::string text = "{";
    for (int i = 0; i < 500; ++i) text += "\"k" + std::to_string(i) + "\":0,";
    EXPECT_NO_THROW(parse_json(text + "\"new\":0}"));
    for (const int repeated : {0, 14, 15, 16, 17, 250, 499}) {
        EXPECT_ERROR(invalid_argument,
                     parse_json(text + "\"k" + std::to_string(repeated) + "\":0}"));
    }
}

TEST(ParseJson, DepthIsBounded) {
    const auto nested = [](std::size_t depth) {
        return std::string(depth, '[') + std::string(depth, ']');
    };
    EXPECT_NO_THROW(parse_json(nested(16)));
    EXPECT_ERROR_SAYING(invalid_argument, "deeper than 16", parse_json(nested(17)));
    base::JsonLimits limits;
    limits.bytes = 1'000'000;
    EXPECT_ERROR(invalid_argument, parse_json(nested(100'000), limits));
}

TEST(ParseJson, SizeIsBounded) {
    base::JsonLimits limits;
    limits.bytes = 10;
    EXPECT_NO_THROW(parse_json("\"12345678\"", limits));
    EXPECT_ERROR_SAYING(invalid_argument, "larger than 10 bytes",
                        parse_json("\"123456789\"", limits));
}

TEST(ParseJson, NumberOfValuesIsBounded) {
    base::JsonLimits limits;
    limits.values = 4;
    EXPECT_NO_THROW(base::parse_json(R"({"a":[1,2]})", limits));
    EXPECT_NO_THROW(base::parse_json("[[],{},3]", limits));
    EXPECT_ERROR_SAYING(invalid_argument, "more than 4 values",
                        base::parse_json(R"({"a":[1,2,3]})", limits));
    EXPECT_ERROR_SAYING(invalid_argument, "more than 4 values",
                        base::parse_json("[[],{},3,4]", limits));
}

TEST(JsonReader, EveryComplaintNamesTheField) {
    const JsonValue value = parse_json(
        R"({"text":5,"number":"x","flag":1,"id":"no","blob":"Zh==","list":{},"map":{"a":1},
                                           "inner":{"deep":null},"big":99,"empty":""})");
    JsonReader reader(value);
    EXPECT_ERROR_SAYING(invalid_argument, "\"text\" must be a string",
                        reader.required_string("text", 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"number\" must be an integer",
                        reader.required_integer("number", 0, 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"big\" must be an integer from 0 to 10",
                        reader.required_integer("big", 0, 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"flag\" must be true or false",
                        reader.optional_boolean("flag"));
    EXPECT_ERROR_SAYING(invalid_argument, "\"id\" must be a UUID", reader.required_uuid("id"));
    EXPECT_ERROR_SAYING(invalid_argument, "\"blob\" must be canonical base64",
                        reader.required_base64("blob", 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"list\" must be an array",
                        reader.required_array("list", 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"map.a\" must be a string",
                        reader.optional_string_map("map", 10, 100));
    EXPECT_ERROR_SAYING(invalid_argument, "\"empty\" must have 1 to 10 bytes",
                        reader.required_string("empty", 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"absent\" is missing",
                        reader.required_string("absent", 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"inner.deep\" must be a string",
                        reader.required_object("inner").required_string("deep", 10));
    EXPECT_ERROR_SAYING(invalid_argument, "\"inner.deep\" is not a known field",
                        reader.required_object("inner").refuse_unknown());
    EXPECT_ERROR_SAYING(invalid_argument, "must be an object", JsonReader(parse_json("[]")));
}

TEST(JsonReader, IntegersAreExact) {
    for (const char* text :
         {R"({"n":3.0})", R"({"n":3.9})", R"({"n":true})", R"({"n":1e2})",
          R"({"n":18446744073709551616})", R"({"n":18446744073709551615})", R"({"n":null})"}) {
        const JsonValue value = parse_json(text);
        EXPECT_ERROR(invalid_argument,
                     JsonReader(value).required_integer("n", INT64_MIN, INT64_MAX));
    }
    const JsonValue value = parse_json(R"({"n":9223372036854775807})");
    EXPECT_EQ(JsonReader(value).required_integer("n", INT64_MIN, INT64_MAX), INT64_MAX);
}

TEST(JsonReader, UnknownFieldsAreRefusedByName) {
    const JsonValue value = parse_json(R"({"known":"x","surprise":1})");
    JsonReader reader(value);
    EXPECT_EQ(reader.required_string("known", 10), "x");
    EXPECT_ERROR_SAYING(invalid_argument, "\"surprise\" is not a known field",
                        reader.refuse_unknown());
    EXPECT_TRUE(reader.has("surprise"));
    EXPECT_NO_THROW(reader.refuse_unknown());
}

// Who mixes up name and value must not find the secret in an answer, nor in a log of answers.
TEST(JsonReader, WhatIsNoNameOfOursIsNotSaidBack) {
    const std::string token = "srt_0123456789abcdef_" + std::string(43, 'x');
    for (const std::string& secret : {token, std::string(32, 's'), std::string("p\u00e4ss"),
                                      std::string("two words"), std::string("a@b")}) {
        const auto complaint = [](const auto& refuse) {
            try {
                refuse();
            } catch (const base::Error& error) {
                EXPECT_EQ(error.code(), base::ErrorCode::invalid_argument);
                return std::string(error.what());
            }
            return std::string("nothing was refused");
        };
        const std::string name = "\"" + secret + "\"";
        const std::string unknown = complaint([&] {
            const JsonValue value = parse_json("{" + name + ":1}");
            JsonReader(value).refuse_unknown();
        });
        EXPECT_EQ(unknown, "the JSON has a field whose name is not known");
        const std::string twice = complaint([&] { parse_json("{" + name + ":1," + name + ":2}"); });
        EXPECT_NE(twice.find("stands twice"), std::string::npos) << twice;
        EXPECT_EQ(twice.find(secret), std::string::npos) << twice;
        const std::string entry = complaint([&] {
            const JsonValue value = parse_json("{\"map\":{" + name + ":1}}");
            JsonReader(value).optional_string_map("map", 10, 100);
        });
        EXPECT_EQ(entry, "\"map\" must hold strings only");
    }
}

TEST(JsonReader, AbsentOptionalFieldsAreEmpty) {
    const JsonValue value = parse_json("{}");
    JsonReader reader(value);
    EXPECT_FALSE(reader.optional_string("a", 10));
    EXPECT_FALSE(reader.optional_integer("a", 0, 1));
    EXPECT_FALSE(reader.optional_boolean("a"));
    EXPECT_FALSE(reader.optional_object("a"));
    EXPECT_FALSE(reader.optional_base64("a", 10));
    EXPECT_EQ(reader.optional_value("a"), nullptr);
    EXPECT_EQ(reader.optional_array("a", 10), nullptr);
    EXPECT_TRUE(reader.optional_string_array("a", 10, 10).empty());
    EXPECT_TRUE(reader.optional_string_map("a", 10, 10).empty());
}

TEST(JsonReader, LimitsOfMapsAndArraysHold) {
    const JsonValue value =
        parse_json(R"({"map":{"a":"1","b":"2"},"list":["x","yy"],"mixed":["x",1]})");
    JsonReader reader(value);
    EXPECT_EQ(reader.optional_string_map("map", 2, 4).size(), 2U);
    EXPECT_ERROR_SAYING(invalid_argument, "\"map\" must have at most 1",
                        reader.optional_string_map("map", 1, 4));
    EXPECT_ERROR_SAYING(invalid_argument, "\"map\" must have at most 3 bytes",
                        reader.optional_string_map("map", 2, 3));
    EXPECT_EQ(reader.optional_string_array("list", 2, 2).size(), 2U);
    EXPECT_ERROR_SAYING(invalid_argument, "\"list[1]\"",
                        reader.optional_string_array("list", 2, 1));
    EXPECT_ERROR_SAYING(invalid_argument, "\"list\" must have 0 to 1 items",
                        reader.optional_string_array("list", 1, 2));
    EXPECT_ERROR_SAYING(invalid_argument, "\"mixed[1]\"",
                        reader.optional_string_array("mixed", 2, 2));
}
