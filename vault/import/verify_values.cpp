// Values: what an application keeps, in a file of sealed values or in its table.
#include <algorithm>

#include "base/error.h"
#include "vault/client/value_calls.h"
#include "vault/import/import_target.h"
#include "vault/import/patience.h"
#include "vault/import/progress_bar.h"
#include "vault/import/revealed.h"
#include "vault/import/sample.h"
#include "vault/import/table_import.h"
#include "vault/import/verify.h"

namespace vault {
namespace {

using base::Error;
using base::JsonValue;

// Opens sealed values in batches and compares each with what it should be.
class ValueVerifier {
public:
    ValueVerifier(kms::Client& client, const VerifyOptions& options)
        : client_(client), options_(options) {}

    // `expected` is empty when it is only to be opened.
    void add(std::string place, JsonValue sealed, std::string context,
             std::optional<JsonValue> expected, MigrationReport& report) {
        waiting_.push_back(
            {std::move(place), std::move(sealed), std::move(context), std::move(expected)});
        if (waiting_.size() == max_import_batch) compare(report);
    }

    void compare(MigrationReport& report) {
        std::vector<GivenValue> values;
        values.reserve(waiting_.size());
        for (const Waiting& one : waiting_) values.push_back({&one.sealed, one.context});
        std::vector<OpenResult> opened;
        with_patience(options_.patience, [&] { opened = open_values(client_, values); });
        for (std::size_t i = 0; i < waiting_.size(); ++i) judge(waiting_[i], opened[i], report);
        waiting_.clear();
    }

private:
    struct Waiting {
        std::string place;
        JsonValue sealed;
        std::string context;
        std::optional<JsonValue> expected;
    };

    static void judge(const Waiting& one, const OpenResult& opened, MigrationReport& report) {
        const auto* answer = std::get_if<OpenAnswer>(&opened);
        if (answer == nullptr) {
            const auto& error = std::get<Error>(opened);
            ++report.different;
            report.find(one.place, std::string(to_string(error.code())) + ": " + error.message());
        } else if (!answer->sealed) {
            ++report.not_sealed;
            report.find(one.place, "it is not sealed");
        } else if (one.expected && !is_same_json(*one.expected, answer->value)) {
            ++report.different;
            report.find(one.place, "it opens to another secret");
        } else {
            ++report.opened;
        }
    }

    kms::Client& client_;
    const VerifyOptions options_;
    std::vector<Waiting> waiting_;
};

// The next record of the sealed file that can be read; empty at its end.
std::optional<JsonValue> next_sealed(RecordReader& reader, MigrationReport& report) {
    while (auto record = reader.next()) {
        if (auto* value = std::get_if<JsonValue>(&record->content)) return std::move(*value);
        ++report.unreadable;
        report.find("record " + std::to_string(record->number) + " of the sealed file",
                    std::get<Unreadable>(record->content).reason);
    }
    return std::nullopt;
}

// Whether both have the same in all columns but one.
bool is_same_but(const JsonValue& left, const JsonValue& right, const std::string& column) {
    if (find_column(left, column) == nullptr || find_column(right, column) == nullptr) return false;
    return is_same_json(with_column(left, column, {}), with_column(right, column, {}));
}

// Whether the sealed file's record is what became of the source's.
bool is_record_of(const DecodedRecord& source, const JsonValue& sealed, const std::string& column) {
    if (const auto* empty = std::get_if<NoSecret>(&source))
        return is_same_json(empty->record, sealed);
    const auto* item = std::get_if<ImportItem>(&source);
    return item != nullptr && is_same_but(item->record, sealed, column);
}

}  // namespace

MigrationReport verify_values(const SourceOpener& source, const ImportDecoder& decoder,
                              const std::filesystem::path& sealed, const std::string& column,
                              kms::Client& client, const VerifyOptions& options) {
    const Sample sample(options.sample, [&] { return count_records(source); });
    MigrationReport report;
    ValueVerifier verifier(client, options);
    const auto reader = source();
    const auto there = open_records(sealed, RecordSyntax::json_lines);
    auto next = next_sealed(*there, report);
    ProgressBar bar;
    while (auto record = reader->next()) {
        bar.show(reader->position().offset, options.source_bytes, report.records);
        const std::uint64_t number = record->number;
        auto decoded = decode_for_comparison(*record, decoder, report);
        if (std::holds_alternative<Unreadable>(decoded)) continue;
        const std::string place = "record " + std::to_string(number);
        if (!next || !is_record_of(decoded, *next, column)) {
            ++report.missing;
            report.find(place, "the sealed file does not have it in its place");
            continue;
        }
        auto* item = std::get_if<ImportItem>(&decoded);
        if (item != nullptr) ++report.present;
        if (item != nullptr && sample.has(number)) {
            std::optional<JsonValue> expected;
            if (!item->is_sealed) expected = std::move(item->secret);
            verifier.add(place, *find_column(*next, column), item->context, std::move(expected),
                         report);
        }
        next = next_sealed(*there, report);
    }
    verifier.compare(report);
    report.surplus = 0;
    for (; next; next = next_sealed(*there, report)) ++*report.surplus;
    return report;
}

namespace {

// Rows of the table against what they should be.
class TableVerifier {
public:
    TableVerifier(const TableVerification& what, kms::Client& client, const VerifyOptions& options)
        : what_(what), options_(options), verifier_(client, options) {}

    // Without a source: every row.
    void look_at_all(MigrationReport& report) {
        const auto counts = what_.table.count();
        report.records = counts.rows;
        report.without_secret = counts.empty;
        const Sample sample(options_.sample, [&] { return counts.rows - counts.empty; });
        std::optional<std::string> after;
        std::uint64_t number = 0;
        ProgressBar bar;
        for (;;) {
            bar.show(number, counts.rows - counts.empty, number);
            const auto rows = what_.table.page(after, max_import_batch);
            if (rows.empty()) break;
            after = rows.back().key;
            for (const auto& row : rows) look_at(row, sample.has(++number), std::nullopt, report);
        }
        verifier_.compare(report);
    }

    // Of what the source has.
    void compare_source(MigrationReport& report) {
        const Sample sample(options_.sample, [&] { return count_records(what_.source); });
        std::vector<Expected> waiting;
        const auto reader = what_.source();
        ProgressBar bar;
        while (auto record = reader->next()) {
            bar.show(reader->position().offset, options_.source_bytes, report.records);
            const std::uint64_t number = record->number;
            auto decoded = decode_for_comparison(*record, *what_.source_decoder, report);
            auto* item = std::get_if<ImportItem>(&decoded);
            if (item == nullptr) continue;
            auto key = what_.source_key.fill(item->record);
            if (!key) {
                ++report.unreadable;
                report.find("record " + std::to_string(number), "it has no key");
                continue;
            }
            waiting.push_back({std::move(*key), std::move(*item), sample.has(number)});
            if (waiting.size() == max_import_batch) compare(waiting, report);
        }
        compare(waiting, report);
        verifier_.compare(report);
        const auto counts = what_.table.count();
        const std::uint64_t there = counts.rows - counts.empty;
        report.surplus = there - std::min(there, report.present);
    }

private:
    struct Expected {
        std::string key;
        ImportItem item;
        bool is_chosen;
    };

    std::string place(const std::string& key) const { return what_.columns.key + " " + key; }

    void compare(std::vector<Expected>& waiting, MigrationReport& report) {
        std::vector<std::string> keys;
        keys.reserve(waiting.size());
        for (const Expected& one : waiting) keys.push_back(one.key);
        const auto rows = find_rows(keys);
        for (Expected& one : waiting) {
            const auto row = std::find_if(rows.begin(), rows.end(),
                                          [&](const auto& found) { return found.key == one.key; });
            if (row == rows.end() || !row->value) {
                ++report.missing;
                report.find(place(one.key), "the table has no such row, or nothing in it");
                continue;
            }
            std::optional<JsonValue> expected;
            if (!one.item.is_sealed) expected = std::move(one.item.secret);
            look_at(*row, one.is_chosen, std::move(expected), report);
        }
        waiting.clear();
    }

    // A key that the key's type does not take has no row.
    std::vector<server::ApplicationRow> find_rows(const std::vector<std::string>& keys) {
        try {
            return what_.table.find(keys);
        } catch (const Error& error) {
            if (error.code() != base::ErrorCode::invalid_argument) throw;
        }
        if (keys.size() == 1) return {};
        std::vector<server::ApplicationRow> rows;
        for (const std::string& key : keys) {
            for (auto& row : find_rows({key})) rows.push_back(std::move(row));
        }
        return rows;
    }

    void look_at(const server::ApplicationRow& row, bool is_chosen,
                 std::optional<JsonValue> expected, MigrationReport& report) {
        ++report.present;
        auto decoded = decode_row(row, what_.table, what_.columns, what_.row_decoder);
        auto* item = std::get_if<ImportItem>(&decoded);
        if (item == nullptr || !item->is_sealed) {
            ++report.not_sealed;
            const auto* why = std::get_if<Unreadable>(&decoded);
            report.find(place(row.key), why == nullptr ? "it is not sealed" : why->reason);
        } else if (is_chosen) {
            verifier_.add(place(row.key), std::move(item->secret), item->context,
                          std::move(expected), report);
        }
    }

    const TableVerification& what_;
    const VerifyOptions options_;
    ValueVerifier verifier_;
};

}  // namespace

MigrationReport verify_table(const TableVerification& what, kms::Client& client,
                             const VerifyOptions& options) {
    MigrationReport report;
    TableVerifier verifier(what, client, options);
    if (what.source) {
        verifier.compare_source(report);
    } else {
        verifier.look_at_all(report);
    }
    return report;
}

}  // namespace vault
