#include "vault/import/record_reader.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

namespace {

using vault::ReaderPosition;
using vault::RecordSyntax;
using vault::SourceRecord;
using vault::Unreadable;

std::string shown(const SourceRecord& record) {
    if (const auto* why = std::get_if<Unreadable>(&record.content)) return "! " + why->reason;
    return std::string(base::to_json(std::get<base::JsonValue>(record.content)));
}

std::vector<std::string> read_all(vault::RecordReader& reader) {
    std::vector<std::string> out;
    while (const auto record = reader.next()) out.push_back(shown(*record));
    return out;
}

class RecordReaderTest : public testing::Test {
protected:
    std::vector<std::string> read(std::string_view text, RecordSyntax syntax,
                                  char delimiter = ',') {
        return read_all(*vault::open_records(files_.write("file", text), syntax, delimiter));
    }
    tests::TemporaryDirectory files_;
};

using Lines = std::vector<std::string>;
constexpr const char* malformed_record = "! the record is malformed JSON";

TEST_F(RecordReaderTest, EachLineIsARecordAndABadOneSpoilsNoOther) {
    EXPECT_EQ(read("\xEF\xBB\xBF{\"a\":1}\n\n  "
                   "{\"b\":\"\\n\"}\r\n{\"a\":\n[1]\n{\"a\":1,\"a\":2}\n{\"c\":1.50}",
                   RecordSyntax::json_lines),
              (Lines{R"({"a":1})", R"({"b":"\n"})", malformed_record,
                     "! the record is no JSON object", malformed_record, R"({"c":1.50})"}));
    EXPECT_EQ(read("", RecordSyntax::json_lines), Lines{});
}

TEST_F(RecordReaderTest, AnArrayIsReadElementByElement) {
    EXPECT_EQ(read(R"( [ {"a":"]},{"} , {"b":["\"",{}]},7,{"c":tru},{"d":1} ] )",
                   RecordSyntax::json_array),
              (Lines{R"({"a":"]},{"})", R"({"b":["\"",{}]})", "! the record is no JSON object",
                     malformed_record, R"({"d":1})"}));
    EXPECT_EQ(read("[]", RecordSyntax::json_array), Lines{});
    EXPECT_EQ(read("[{}}, {\"a\":1}]", RecordSyntax::json_array),
              (Lines{"{}", "! no comma stands behind the record before; reading ends here"}));
    EXPECT_EQ(read(R"([{"a":1})", RecordSyntax::json_array),
              (Lines{R"({"a":1})", "! the file ends within the array"}));
    EXPECT_EQ(read(R"([{"a":1},{"a":)", RecordSyntax::json_array),
              (Lines{R"({"a":1})", "! the file ends within the record"}));
    EXPECT_EQ(read(R"([{"a":1},)", RecordSyntax::json_array),
              (Lines{R"({"a":1})", "! the file ends within the array"}));
    EXPECT_ERROR(invalid_argument, read(R"({"a":1})", RecordSyntax::json_array));
}

TEST_F(RecordReaderTest, WhatStandsBehindAnArraysEndIsAFailure) {
    const Lines expected = {R"({"a":1})",
                            "! something stands behind the array's end; it is not read"};
    for (const char* behind : {"x", " \n{\"a\":2}", "[]", "]", ","})
        EXPECT_EQ(read(std::string(R"([{"a":1}])") + behind, RecordSyntax::json_array), expected);
    EXPECT_EQ(read("[] []", RecordSyntax::json_array), Lines{expected[1]});
    EXPECT_EQ(read("[{\"a\":1}] \r\n\t", RecordSyntax::json_array), Lines{expected[0]});
}

TEST_F(RecordReaderTest, ACsvTellsItsColumnsFromAnyPosition) {
    const auto file = files_.write("file", "a,\"b c\"\n1,2\n3,4\n");
    const auto first = vault::open_records(file, RecordSyntax::csv);
    EXPECT_EQ(first->columns(), (Lines{"a", "b c"}));
    first->next();
    EXPECT_EQ(vault::open_records(file, RecordSyntax::csv, ',', first->position())->columns(),
              (Lines{"a", "b c"}));
    files_.write("file", "[]");
    for (const auto syntax : {RecordSyntax::json_lines, RecordSyntax::json_array})
        EXPECT_EQ(vault::open_records(file, syntax)->columns(), std::nullopt);
}

TEST_F(RecordReaderTest, FieldsOfACsvAreTextAndMayHoldAnything) {
    EXPECT_EQ(
        read("id,token\r\n1,plain\r\n2,\"a \"\"b\"\", c\nd\"\r\n\r\n3,\n4,\"\"", RecordSyntax::csv),
        (Lines{R"({"id":"1","token":"plain"})", R"({"id":"2","token":"a \"b\", c\nd"})",
               R"({"id":"3","token":""})", R"({"id":"4","token":""})"}));
    EXPECT_EQ(read("a;b\n1;2,3\n", RecordSyntax::csv, ';'), (Lines{R"({"a":"1","b":"2,3"})"}));
    EXPECT_EQ(read("a,b\n1\n1,2,3\nx\"y,2\n\"1\"2,3\n1,\xFF\n5,6\n\"7", RecordSyntax::csv),
              (Lines{"! the record has another number of fields than the headings",
                     "! the record has another number of fields than the headings",
                     "! the quotes of the record don't fit", "! the quotes of the record don't fit",
                     "! the record is no UTF-8", R"({"a":"5","b":"6"})",
                     "! the quotes of the record don't fit"}));
    for (const char* headings : {"", "a,a\n", "a,\n", "\"a\n", "\xFF,b\n"})
        EXPECT_ERROR(invalid_argument, read(headings, RecordSyntax::csv));
}

TEST_F(RecordReaderTest, ARecordThatIsTooLongIsPassedOver) {
    const std::string long_text(vault::max_record_bytes, 'x');
    const Lines expected = {R"({"a":"1"})", "! the record has more than 1 MiB", R"({"a":"3"})"};
    const std::string record = "{\"a\":\"" + long_text + "\"}";
    EXPECT_EQ(read("{\"a\":\"1\"}\n" + record + "\n{\"a\":\"3\"}", RecordSyntax::json_lines),
              expected);
    EXPECT_EQ(read("[{\"a\":\"1\"}," + record + ",{\"a\":\"3\"}]", RecordSyntax::json_array),
              expected);
    EXPECT_EQ(read("a\n1\n" + long_text + "y\n3\n", RecordSyntax::csv), expected);
}

// At every record boundary: what is read from a position is what comes behind it.
TEST_F(RecordReaderTest, ReadingGoesOnFromAnyPosition) {
    const std::vector<std::pair<RecordSyntax, std::string>> files = {
        {RecordSyntax::json_lines, "{\"a\":1}\n\nbad\n{\"a\":2}\n{\"a\":3}"},
        {RecordSyntax::json_array, "[ {\"a\":1} ,\n{\"a\":2},{bad},\n {\"a\":3}\n]"},
        {RecordSyntax::json_array, "[{\"a\":1},{\"a\":2}"},
        {RecordSyntax::json_array, "[{\"a\":1},{\"a\":2},"},
        {RecordSyntax::json_array, "[{\"a\":1} {\"a\":2}]"},
        {RecordSyntax::json_array, "[{\"a\":1}, {\"a\":"},
        {RecordSyntax::json_array, "[{\"a\":1}] ]x"},
        {RecordSyntax::csv, "a\n1\n\"2\n2\"\n\n3,bad\n4"},
    };
    for (const auto& [syntax, text] : files) {
        const auto file = files_.write("file", text);
        const Lines all = read_all(*vault::open_records(file, syntax));
        for (std::size_t count = 0; count <= all.size(); ++count) {
            const auto first = vault::open_records(file, syntax);
            for (std::size_t i = 0; i < count; ++i) first->next();
            const ReaderPosition position = first->position();
            EXPECT_EQ(position.records, count);
            const auto second = vault::open_records(file, syntax, ',', position);
            EXPECT_EQ(read_all(*second),
                      Lines(all.begin() + static_cast<std::ptrdiff_t>(count), all.end()))
                << text << " from record " << count;
        }
    }
}

TEST_F(RecordReaderTest, PlacesAreCountedByRecordAndLine) {
    const auto reader =
        vault::open_records(files_.write("file", "a\n\"1\n1\"\n2\n"), RecordSyntax::csv);
    EXPECT_EQ(reader->next()->line, 2U);
    const auto second = reader->next();
    EXPECT_EQ(second->line, 4U);
    EXPECT_EQ(second->number, 2U);
}

TEST_F(RecordReaderTest, TheEndingTellsTheSyntax) {
    EXPECT_EQ(vault::guess_syntax(files_.write("x.csv", "")), RecordSyntax::csv);
    EXPECT_EQ(vault::guess_syntax(files_.write("x.TSV", "")), RecordSyntax::csv);
    EXPECT_EQ(vault::guess_syntax(files_.write("x.json", " \n[")), RecordSyntax::json_array);
    EXPECT_EQ(vault::guess_syntax(files_.write("y.json", "{}")), RecordSyntax::json_lines);
    EXPECT_EQ(vault::guess_syntax(files_.write("x.jsonl", "[")), RecordSyntax::json_lines);
    EXPECT_ERROR(invalid_argument, vault::guess_syntax(files_ / "missing.json"));
    EXPECT_ERROR(invalid_argument,
                 vault::open_records(files_ / "missing", RecordSyntax::json_lines));
    EXPECT_ERROR(invalid_argument, vault::open_records(files_.path(), RecordSyntax::json_lines));
}

}  // namespace
