#include <gtest/gtest.h>

#include <limits>

#include "base/json.h"

using base::JsonWriter;

TEST(JsonWriter, WritesCompactJson) {
    JsonWriter writer;
    writer.begin_object()
        .field("text", "a\"b")
        .field("number", std::int64_t{-3})
        .field("flag", true);
    writer.name("list")
        .begin_array()
        .integer(1)
        .null()
        .string("x")
        .begin_object()
        .end_object()
        .end_array();
    writer.field("map", {{"k", "v"}}).name("blob").base64(base::as_bytes("foob")).end_object();
    EXPECT_EQ(
        std::string_view(writer.text()),
        R"({"text":"a\"b","number":-3,"flag":true,"list":[1,null,"x",{}],"map":{"k":"v"},"blob":"Zm9vYg=="})");
}

TEST(JsonWriter, IndentsForPeople) {
    JsonWriter writer(JsonWriter::Style::indented);
    writer.begin_object()
        .field("a", std::int64_t{1})
        .name("b")
        .begin_array()
        .integer(2)
        .end_array()
        .end_object();
    EXPECT_EQ(std::string_view(writer.text()), "{\n  \"a\": 1,\n  \"b\": [\n    2\n  ]\n}");
}

TEST(JsonWriter, TextThatIsNotUtf8IsReplaced) {
    JsonWriter writer;
    writer.string(
        "a\xFF"
        "b\xE2\x82");
    EXPECT_EQ(std::string_view(writer.text()),
              "\"a\xEF\xBF\xBD"
              "b\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(JsonWriter, ControlCharactersAreEscaped) {
    std::string all;
    for (char c = 0; c < 0x20; ++c) all += c;
    JsonWriter writer;
    writer.string(all);
    EXPECT_EQ(std::string_view(*base::parse_json(writer.text()).string()), all);
}

TEST(JsonWriter, NumbersWithoutAJsonFormAreNull) {
    JsonWriter writer;
    writer.begin_array().number(0.5).number(std::numeric_limits<double>::quiet_NaN()).end_array();
    EXPECT_EQ(std::string_view(writer.text()), "[0.5,null]");
}
