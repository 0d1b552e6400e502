#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"
#include "vault/import/columns.h"
#include "vault/import/decoder.h"
#include "vault/import/import_run.h"
#include "vault/import/import_state.h"
#include "vault/import/output_file.h"
#include "vault/import/progress_bar.h"
#include "vault/import/sample.h"
#include "vault/record.h"

namespace {

using base::JsonValue;
using vault::ColumnText;
using vault::ImportColumns;
using vault::ImportDecoder;
using vault::ImportItem;
using vault::ImportKind;
using vault::ImportOutcome;
using vault::ImportState;
using vault::NoSecret;
using vault::Unreadable;

JsonValue json(std::string_view text) { return base::parse_json(text, {.bytes = 1024UL * 1024}); }

TEST(ColumnsTest, ANameIsAColumnOrLeadsIntoObjects) {
    const JsonValue record = json(R"({"a.b":1,"a":{"b":2,"c":{"$oid":"x"}},"d":null})");
    EXPECT_EQ(vault::find_column(record, "a.b")->integer(), 1);
    EXPECT_EQ(*vault::find_column(record, "a.c.$oid")->string(), "x");
    EXPECT_EQ(vault::find_column(record, "a.x"), nullptr);
    EXPECT_EQ(vault::find_column(record, "d.x"), nullptr);
    EXPECT_EQ(base::to_json(vault::with_column(record, "a.c", JsonValue(true))),
              R"({"a.b":1,"a":{"b":2,"c":true},"d":null})");
    EXPECT_ERROR(internal, vault::with_column(record, "missing", {}));
}

TEST(ColumnsTest, ATextIsFilledFromColumnsOrNotAtAll) {
    const JsonValue record = json(R"({"id":42,"t":"x","e":"","o":{},"f":1.50,"y":true})");
    EXPECT_EQ(ColumnText("accounts:{id}:{t}").fill(record), "accounts:42:x");
    EXPECT_EQ(ColumnText("{f}-{y}").fill(record), "1.50-true");
    EXPECT_EQ(ColumnText("{{id}").fill(record), "{id}");
    for (const char* text : {"{e}", "{o}", "{missing}"})
        EXPECT_EQ(ColumnText(text).fill(record), std::nullopt) << text;
    EXPECT_EQ(ColumnText("{a}{b}{a}").columns(), (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(ColumnText("").empty());
    for (const char* text : {"{", "{a", "x{}"}) EXPECT_ERROR(invalid_argument, ColumnText(text));
}

TEST(ColumnsTest, WhatARecordHasIsTakenFromTheNames) {
    std::vector<std::string> names = {"a.c", "b", "d"};
    vault::erase_found(names, json(R"({"a":{"c":1},"d":null})"));
    EXPECT_EQ(names, std::vector<std::string>{"b"});
}

TEST(ColumnsTest, TimesOfExportsBecomeRfc3339) {
    const auto expiry = [](std::string_view text, bool utc = false) {
        return vault::to_expiry(json(text), utc);
    };
    constexpr const char* noon = "2030-01-31T12:00:00.000Z";
    for (const char* text :
         {R"("2030-01-31T12:00:00Z")", R"("2030-01-31 14:00:00+02")",
          R"("2030-01-31T12:00:00.000+00:00")", "1896091200", "1896091200000", R"("1896091200")"}) {
        EXPECT_EQ(expiry(text), noon) << text;
    }
    EXPECT_EQ(expiry(R"("2030-01-31 12:00:00")", true), noon);
    for (const char* text : {R"("2030-01-31 12:00:00")", R"("soon")", "-1", "true", "1.5",
                             R"("2030-13-31T12:00:00Z")", "9223372036854775807"}) {
        EXPECT_EQ(expiry(text), std::nullopt) << text;
    }
}

ImportColumns credential_columns() {
    ImportColumns columns;
    columns.owner = ColumnText("{tenant}");
    columns.name = ColumnText("{platform}");
    columns.secret = {"secret"};
    columns.expires_at = "expiry";
    columns.metadata = {"plan", "region"};
    return columns;
}

ImportColumns value_columns() {
    ImportColumns columns;
    columns.kind = ImportKind::values;
    columns.context = ColumnText("accounts:{id}");
    columns.secret = {"secret"};
    return columns;
}

std::string reason_of(const vault::DecodedRecord& decoded) {
    const auto* why = std::get_if<Unreadable>(&decoded);
    return why == nullptr ? "" : why->reason;
}

TEST(ImportDecoderTest, ARecordBecomesACredential) {
    const ImportDecoder decoder(credential_columns(), nullptr);
    const auto decoded = decoder.decode(json(
        R"({"tenant":"acme","platform":"x","secret":"{\"b\":1.50,\"a\":2}","expiry":1896091200,"plan":"pro","region":null})"));
    const auto* item = std::get_if<ImportItem>(&decoded);
    ASSERT_NE(item, nullptr) << reason_of(decoded);
    EXPECT_EQ(item->owner, "acme");
    EXPECT_EQ(item->name, "x");
    EXPECT_EQ(base::to_json(item->secret), R"({"b":1.50,"a":2})");
    EXPECT_EQ(base::to_json(*item->metadata), R"({"plan":"pro"})");
    EXPECT_EQ(item->expires_at, "2030-01-31T12:00:00.000Z");
}

TEST(ImportDecoderTest, ASecretIsAnyJson) {
    const ImportDecoder decoder(credential_columns(), nullptr);
    ImportColumns text = credential_columns();
    text.is_text = true;
    ImportColumns wrapped = text;
    wrapped.wrap = "token";
    const ImportDecoder texts(text, nullptr);
    const ImportDecoder wraps(wrapped, nullptr);
    const auto secret = [](const ImportDecoder& how, const std::string& column) {
        const auto decoded =
            how.decode(json(R"({"tenant":"a","platform":"x","secret":)" + column + "}"));
        EXPECT_EQ(reason_of(decoded), "") << column;
        return std::string(base::to_json(std::get<ImportItem>(decoded).secret));
    };
    for (const char* same : {"[1,2.50]", "7", "true", "{}"}) EXPECT_EQ(secret(decoder, same), same);
    EXPECT_EQ(secret(decoder, R"("[1]")"), "[1]");
    EXPECT_EQ(secret(decoder, R"("\"t\"")"), R"("t")");
    EXPECT_EQ(secret(decoder, R"("null")"), "null") << "a null that was kept as JSON text";
    EXPECT_EQ(secret(texts, R"("t")"), R"("t")");
    EXPECT_EQ(secret(texts, R"("[1]")"), R"("[1]")");
    EXPECT_EQ(secret(wraps, R"("t")"), R"({"token":"t"})");
}

TEST(ImportDecoderTest, SeveralColumnsMakeOneSecret) {
    ImportColumns columns = credential_columns();
    columns.secret = {"user", "word"};
    columns.is_text = true;
    const auto decoded =
        ImportDecoder(columns, nullptr)
            .decode(json(R"({"tenant":"a","platform":"x","user":"u","word":"1"})"));
    ASSERT_EQ(reason_of(decoded), "");
    EXPECT_EQ(base::to_json(std::get<ImportItem>(decoded).secret), R"({"user":"u","word":"1"})");
}

TEST(ImportDecoderTest, WhatTheVaultWouldRefuseIsFoundBefore) {
    const ImportDecoder decoder(credential_columns(), nullptr);
    const std::string big(vault::max_secret_bytes, 'x');
    for (const auto& [record, part] : std::vector<std::pair<std::string, std::string>>{
             {R"({"platform":"x","secret":{}})", "column of the owner"},
             {R"({"tenant":"a/b","platform":"x","secret":{}})", "the owner must have"},
             {R"({"tenant":"a","platform":"..","secret":{}})", "the name must have"},
             {R"({"tenant":"a","platform":"x","secret":"no json"})", "--as text"},
             {R"({"tenant":"a","platform":"x","secret":{"__enc":7}})", "sealed already"},
             {R"({"tenant":"a","platform":"x","secret":"\"{\\\"__enc\\\":2\""})", "sealed already"},
             {R"({"tenant":"a","platform":"x","secret":{"x":")" + big + "\"}}", "more than"},
             {R"({"tenant":"a","platform":"x","secret":{},"expiry":"soon"})", "expiry"},
             {R"({"tenant":"a","platform":"x","secret":{},"plan":")" + big + "\"}", "metadata"},
         }) {
        const std::string reason = reason_of(decoder.decode(json(record)));
        EXPECT_NE(reason.find(part), std::string::npos) << part << ": " << reason;
    }
    for (const char* record : {R"({"secret":null})", R"({"secret":""})"})
        EXPECT_TRUE(std::holds_alternative<NoSecret>(decoder.decode(json(record)))) << record;
    // A column whose name is mistyped must not look like a record without a secret.
    EXPECT_NE(reason_of(decoder.decode(json(R"({"tenant":"a","platform":"x"})"))).find("missing"),
              std::string::npos);
}

std::string nested(std::size_t levels) {
    std::string text = "{\"x\":";
    for (std::size_t i = 1; i < levels; ++i) text += '[';
    return text + "1" + std::string(levels - 1, ']') + "}";
}

TEST(ImportDecoderTest, WhatIsNestedDeeperThanTheVaultTakesFailsByItself) {
    const ImportDecoder credentials(credential_columns(), nullptr);
    const ImportDecoder values(value_columns(), nullptr);
    const auto credential = [&](const std::string& secret, const std::string& plan) {
        return reason_of(credentials.decode(base::parse_json(
            R"({"tenant":"a","platform":"x","secret":)" + secret + R"(,"plan":)" + plan + "}",
            {.depth = 30})));
    };
    const auto value = [&](const std::string& secret) {
        return reason_of(
            values.decode(base::parse_json(R"({"id":1,"secret":)" + secret + "}", {.depth = 30})));
    };
    EXPECT_EQ(credential(nested(15), "1"), "");
    EXPECT_EQ(credential(nested(16), "1"), "the secret is nested deeper than 15 levels");
    EXPECT_EQ(credential("{}", nested(14)), "");
    EXPECT_EQ(credential("{}", nested(15)), "the metadata is nested deeper than 15 levels");
    EXPECT_EQ(value(nested(16)), "");
    const std::string too_deep = "the secret is nested deeper than 16 levels";
    EXPECT_EQ(value(nested(17)), too_deep);
    EXPECT_EQ(value(base::to_json(JsonValue(base::WipedString(nested(17)))).c_str()), too_deep);
    EXPECT_EQ(value(R"({"__enc":2,"x":)" + nested(16) + "}"), too_deep);
}

TEST(ImportDecoderTest, EveryColumnThatIsNamedIsKnown) {
    ImportColumns columns = credential_columns();
    columns.bound = ColumnText("user:{id}");
    EXPECT_EQ(vault::lenient_columns(columns),
              (std::vector<std::string>{"plan", "region", "expiry"}));
    EXPECT_EQ(vault::named_columns(columns),
              (std::vector<std::string>{"plan", "region", "expiry", "secret", "tenant", "platform",
                                        "id"}));
    columns.plain = {{"client", "client_id"}};
    EXPECT_EQ(vault::named_columns(columns),
              (std::vector<std::string>{"plan", "region", "expiry", "secret", "client", "tenant",
                                        "platform", "id"}));
    columns.may_lack_columns = true;
    EXPECT_EQ(vault::named_columns(columns),
              (std::vector<std::string>{"plan", "region", "expiry", "client", "tenant", "platform",
                                        "id"}))
        << "a plain column is not the secret: one that no record has is a mistyped name";
    EXPECT_EQ(vault::lenient_columns(columns),
              (std::vector<std::string>{"plan", "region", "expiry", "client"}));
    EXPECT_EQ(vault::named_columns(value_columns()), (std::vector<std::string>{"secret", "id"}));
}

TEST(ImportDecoderTest, SealedValuesAreKnownInAnyForm) {
    const ImportDecoder decoder(value_columns(), nullptr);
    for (const char* record : {R"({"id":1,"secret":{"__enc":2,"kid":"x"}})",
                               R"({"id":1,"secret":"{\"__enc\":2,\"kid\":\"x\"}"})"}) {
        const auto decoded = decoder.decode(json(record));
        ASSERT_EQ(reason_of(decoded), "");
        EXPECT_TRUE(std::get<ImportItem>(decoded).is_sealed) << record;
        EXPECT_EQ(std::get<ImportItem>(decoded).context, "accounts:1");
    }
    EXPECT_FALSE(
        std::get<ImportItem>(decoder.decode(json(R"({"id":1,"secret":{"a":1}})"))).is_sealed);
    EXPECT_NE(reason_of(decoder.decode(json(R"({"id":1,"secret":{"__enc":1}})"))), "");
}

TEST(ImportDecoderTest, ColumnsMustGoTogether) {
    const auto refuse = [](auto change, bool is_value) {
        ImportColumns columns = is_value ? value_columns() : credential_columns();
        change(columns);
        EXPECT_ERROR(invalid_argument, ImportDecoder(std::move(columns), nullptr));
    };
    refuse([](auto& c) { c.secret.clear(); }, false);
    refuse([](auto& c) { c.owner = {}; }, false);
    refuse([](auto& c) { c.name = {}; }, false);
    refuse([](auto& c) { c.context = ColumnText("x"); }, false);
    refuse([](auto& c) { c.context = {}; }, true);
    refuse([](auto& c) { c.secret = {"a", "b"}; }, true);
    refuse([](auto& c) { c.owner = ColumnText("x"); }, true);
    refuse([](auto& c) { c.metadata = {"x"}; }, true);
    refuse([](auto& c) { c.expires_at = "x"; }, true);
    refuse([](auto& c) { c.owner_is_uuid = true; }, true);
}

TEST(ImportStateTest, ComesBackAsItWasWritten) {
    const tests::TemporaryDirectory files;
    EXPECT_EQ(vault::read_import_state(files / "state"), std::nullopt);
    ImportState state;
    state.source = "file";
    state.options = "{}";
    state.position = {1234, 17, 20, true};
    state.last_key = "k";
    state.output_bytes = 99;
    state.report.records = 17;
    state.report.imported = 12;
    state.report.already_there = 2;
    state.report.without_secret = 1;
    state.report.add_failure("record 3", "why");
    state.report.add_failure("record 4", "why not");
    state.report.sealed_before = 3;
    state.report.columns_not_found = {"plam"};
    vault::write_import_state(files / "state", state);
    const auto found = vault::read_import_state(files / "state");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->position, state.position);
    EXPECT_EQ(found->last_key, "k");
    EXPECT_EQ(found->output_bytes, 99U);
    EXPECT_FALSE(found->is_complete);
    EXPECT_EQ(found->report.imported, 12U);
    ASSERT_EQ(found->report.failures.size(), 2U);
    EXPECT_EQ(found->report.failures[1].reason, "why not");
    EXPECT_EQ(found->report.sealed_before, 3U);
    EXPECT_EQ(found->report.columns_not_found, std::vector<std::string>{"plam"});
    files.write("other", R"({"import_state":2})");
    EXPECT_ERROR(invalid_argument, vault::read_import_state(files / "other"));
    EXPECT_ERROR(invalid_argument, vault::describe_source(files / "missing"));
    EXPECT_NE(vault::describe_source(files.write("a", "1")),
              vault::describe_source(files.write("a", "12")));
}

TEST(ImportReportTest, CountsEveryFailureAndListsTheFirst) {
    vault::ImportReport report;
    for (std::size_t i = 0; i < vault::max_listed_failures + 5; ++i) report.add_failure("p", "r");
    EXPECT_EQ(report.failed, vault::max_listed_failures + 5);
    EXPECT_EQ(report.failures.size(), vault::max_listed_failures);
    EXPECT_NE(vault::to_text(report, false).find("and 5 more"), std::string::npos);
}

TEST(ImportReportTest, NamesColumnsThatNoRecordHas) {
    vault::ImportReport report;
    report.columns_not_found = {"plam"};
    EXPECT_EQ(vault::to_text(report, false).find("plam"), std::string::npos) << "nothing was read";
    report.records = 1;
    EXPECT_NE(vault::to_text(report, false).find("no record has a column plam"), std::string::npos);
}

TEST(OutputFileTest, AFileThatIsThereIsLeftAlone) {
    const tests::TemporaryDirectory files;
    const auto file = files.write("out", "mine\n");
    EXPECT_ERROR(invalid_argument, vault::OutputFile(file, std::nullopt));
    EXPECT_EQ(base::read_file(files / "out", 100), "mine\n");
    vault::OutputFile fresh(files / "fresh", std::nullopt);
    fresh.write("a\n");
    EXPECT_EQ(fresh.sync(), 2U);
    EXPECT_ERROR_SAYING(invalid_argument, "another process", vault::OutputFile(files / "fresh", 2));
}

TEST(OutputFileTest, OneThatWasBegunGoesOnWhereItWasKnownToBe) {
    const tests::TemporaryDirectory files;
    const auto file = files.write("out", "a\nb\n{\"torn");
    vault::OutputFile(file, 4).write("c\n");
    EXPECT_EQ(base::read_file(files / "out", 100), "a\nb\nc\n");
    EXPECT_ERROR_SAYING(invalid_argument, "shorter", vault::OutputFile(file, 7));
    EXPECT_ERROR(invalid_argument, vault::OutputFile(files / "gone", 1));
    vault::OutputFile(files / "not-begun", 0).write("x");
    EXPECT_EQ(base::read_file(files / "not-begun", 100), "x");
}

TEST(OutputFileTest, OneThatHasSomethingBeforeTheImportPutAnythingThereIsLeftAlone) {
    const tests::TemporaryDirectory files;
    const auto file = files.write("out", "somebody's only copy\n");
    EXPECT_ERROR_SAYING(invalid_argument, "move the file away", vault::OutputFile(file, 0));
    EXPECT_EQ(base::read_file(files / "out", 100), "somebody's only copy\n");
    vault::OutputFile(files.write("empty", ""), 0).write("x");
    EXPECT_EQ(base::read_file(files / "empty", 100), "x");
}

// Takes everything, but dies when told to.
class CountingTarget final : public vault::ImportTarget {
public:
    bool takes_every_record() const override { return wants_all; }
    std::vector<ImportOutcome> take(std::span<const ImportItem> items) override {
        batches.push_back(items.size());
        if (batches.size() == dies_in_batch)
            throw base::Error(base::ErrorCode::unavailable, "away");
        std::vector<ImportOutcome> outcomes;
        for (const ImportItem& item : items) {
            taken.push_back(item.has_secret ? item.name : base::to_json(item.record).c_str());
            outcomes.push_back({item.has_secret ? ImportOutcome::Kind::imported
                                                : ImportOutcome::Kind::without_secret});
        }
        return outcomes;
    }
    std::uint64_t flush() override { return taken.size(); }

    bool wants_all = false;
    std::size_t dies_in_batch = 0;
    std::vector<std::size_t> batches;
    std::vector<std::string> taken;
};

class ImportRunTest : public testing::Test {
protected:
    ImportRunTest() {
        std::string text;
        for (int i = 0; i < 250; ++i) {
            text += R"({"tenant":"a","platform":"n)" + std::to_string(i) + R"(","secret":)" +
                    (i == 120   ? "bad"
                     : i == 130 ? "null"
                                : "{}") +
                    "}\n";
        }
        file_ = files_.write("file", text);
    }
    void run(CountingTarget* target, std::uint64_t limit = 0) {
        const auto reader =
            vault::open_records(file_, vault::RecordSyntax::json_lines, ',', state_.position);
        vault::ImportRun import(state_, files_ / "state", target, limit);
        vault::import_records(*reader, ImportDecoder(credential_columns(), nullptr), import, state_,
                              0);
    }

    tests::TemporaryDirectory files_;
    std::filesystem::path file_;
    ImportState state_;
};

TEST_F(ImportRunTest, WhatFailedInBetweenGoesOnBehindTheLastBatch) {
    state_.source = state_.options = "x";
    CountingTarget target;
    target.dies_in_batch = 2;
    EXPECT_ERROR(unavailable, run(&target));
    state_ = vault::read_import_state(files_ / "state").value();
    EXPECT_EQ(state_.position.records, 100U);
    EXPECT_EQ(state_.report.records, 100U);
    EXPECT_EQ(state_.output_bytes, 100U);
    run(&target);
    EXPECT_TRUE(state_.is_complete);
    EXPECT_EQ(state_.report.records, 250U);
    EXPECT_EQ(state_.report.imported, 248U);
    EXPECT_EQ(state_.report.failed, 1U);
    EXPECT_EQ(state_.report.without_secret, 1U);
    EXPECT_EQ(state_.report.failures.front().place, "record 121, line 121");
    EXPECT_EQ(std::set<std::string>(target.taken.begin(), target.taken.end()).size(), 248U);
    EXPECT_EQ(target.taken.size(), 248U) << "nothing twice";
    EXPECT_TRUE(vault::read_import_state(files_ / "state")->is_complete);
}

TEST_F(ImportRunTest, ADryRunTouchesNothing) {
    run(nullptr);
    EXPECT_TRUE(state_.is_complete);
    EXPECT_EQ(state_.report.imported, 248U);
    EXPECT_FALSE(std::filesystem::exists(files_ / "state"));
}

TEST_F(ImportRunTest, ATargetThatTakesEveryRecordGetsThoseWithoutASecretInTheirPlace) {
    state_.source = state_.options = "x";
    CountingTarget target;
    target.wants_all = true;
    run(&target);
    EXPECT_EQ(state_.report.without_secret, 1U);
    EXPECT_EQ(state_.report.imported, 248U);
    ASSERT_EQ(target.taken.size(), 249U);
    EXPECT_EQ(target.taken[128], "n129");
    EXPECT_EQ(target.taken[129], R"({"tenant":"a","platform":"n130","secret":null})");
}

TEST_F(ImportRunTest, AColumnStaysNamedUntilARecordHasIt) {
    state_.source = state_.options = "x";
    state_.report.columns_not_found = {"expiry", "plan"};
    files_.write("file", R"({"tenant":"a","platform":"n","secret":null,"plan":1})");
    CountingTarget target;
    run(&target);
    EXPECT_EQ(vault::read_import_state(files_ / "state")->report.columns_not_found,
              std::vector<std::string>{"expiry"});
}

// The state is behind the failure that ended the array: nothing is read, nor listed, again.
TEST_F(ImportRunTest, AnArraysBrokenEndIsListedOnce) {
    state_.source = state_.options = "x";
    for (const char* text : {"[{}", "[{},", "[{}{}]", "[{}] {}", "[{},{\"a"}) {
        files_.write("file", text);
        state_.position = {};
        state_.report = {};
        for (int round = 0; round < 2; ++round) {
            CountingTarget target;
            const auto reader =
                vault::open_records(file_, vault::RecordSyntax::json_array, ',', state_.position);
            vault::ImportRun import(state_, files_ / "state", &target, 0);
            vault::import_records(*reader, ImportDecoder(credential_columns(), nullptr), import,
                                  state_, 0);
            EXPECT_EQ(state_.report.failed, 2U) << text;
            state_ = vault::read_import_state(files_ / "state").value();
        }
    }
}

TEST_F(ImportRunTest, TooManyFailuresEndIt) {
    files_.write("file", "bad\nbad\nbad\nbad\n");
    state_.source = state_.options = "x";
    CountingTarget target;
    run(&target, 2);
    EXPECT_FALSE(state_.is_complete);
    EXPECT_EQ(state_.report.failed, 3U);
}

TEST(ProgressTest, ALineSaysHowFarAndHowLong) {
    using std::chrono::milliseconds;
    EXPECT_EQ(vault::progress_line(0, 0, 0, milliseconds(10)), "0 records");
    EXPECT_EQ(vault::progress_line(1, 0, 5, milliseconds(130'000)), "5 records in 2 min");
    EXPECT_EQ(vault::progress_line(1, 4, 5, milliseconds(10)),
              "[########........................] 25 %  5 records");
    EXPECT_EQ(vault::progress_line(1, 4, 5, milliseconds(20'000)),
              "[########........................] 25 %  5 records  60 s left");
    EXPECT_EQ(vault::progress_line(9, 4, 5, milliseconds(20'000)),
              "[################################] 100 %  5 records");
}

TEST(SampleTest, HasAsManyNumbersAsWantedOfTheTotal) {
    for (const std::uint64_t wanted : {0U, 1U, 7U, 10U, 11U}) {
        const vault::Sample sample(wanted, [] { return std::uint64_t{10}; });
        std::uint64_t count = 0;
        for (std::uint64_t number = 1; number <= 10; ++number) {
            if (sample.has(number)) ++count;
        }
        EXPECT_EQ(count, std::min<std::uint64_t>(wanted, 10));
    }
    EXPECT_TRUE(vault::Sample(std::nullopt, [] { return std::uint64_t{0}; }).has(12345));
}

}  // namespace
