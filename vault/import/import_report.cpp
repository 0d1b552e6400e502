#include "vault/import/import_report.h"

#include "base/table.h"

namespace vault {
namespace {

constexpr std::int64_t max_count = INT64_MAX;
constexpr std::size_t max_place_bytes = 4096;
constexpr std::size_t max_reason_bytes = 2048;
constexpr std::size_t max_columns = 1000;
constexpr std::size_t max_column_bytes = 4096;

std::uint64_t read_count(base::JsonReader& reader, std::string_view name) {
    return static_cast<std::uint64_t>(reader.required_integer(name, 0, max_count));
}

}  // namespace

void ImportReport::add_failure(std::string place, std::string reason) {
    ++failed;
    if (failures.size() < max_listed_failures)
        failures.push_back({std::move(place), std::move(reason)});
}

void write_report(base::JsonWriter& out, const ImportReport& report) {
    out.field("records", report.records).field("imported", report.imported);
    out.field("already_there", report.already_there);
    out.field("sealed_before", report.sealed_before);
    out.field("without_secret", report.without_secret).field("failed", report.failed);
    out.name("failures").begin_array();
    for (const auto& [place, reason] : report.failures)
        out.begin_object().field("place", place).field("reason", reason).end_object();
    out.end_array().name("columns_not_found").begin_array();
    for (const auto& column : report.columns_not_found) out.string(column);
    out.end_array();
}

ImportReport read_report(base::JsonReader& reader) {
    ImportReport report;
    report.records = read_count(reader, "records");
    report.imported = read_count(reader, "imported");
    report.already_there = read_count(reader, "already_there");
    report.sealed_before = static_cast<std::uint64_t>(
        reader.optional_integer("sealed_before", 0, max_count).value_or(0));
    report.without_secret = read_count(reader, "without_secret");
    report.failed = read_count(reader, "failed");
    const auto& failures = reader.required_array("failures", max_listed_failures, 0);
    for (std::size_t i = 0; i < failures.size(); ++i) {
        base::JsonReader item(failures[i], reader.item_path("failures", i));
        report.failures.push_back({std::string(item.required_string("place", max_place_bytes)),
                                   std::string(item.required_string("reason", max_reason_bytes))});
    }
    report.columns_not_found =
        reader.optional_string_array("columns_not_found", max_columns, max_column_bytes);
    return report;
}

std::string not_found_text(const std::vector<std::string>& columns) {
    std::string text;
    for (const std::string& column : columns)
        text += "no record has a column " + base::printable(column) + "; is its name right?\n";
    return text;
}

std::string to_text(const ImportReport& report, bool would) {
    base::Table numbers;
    numbers.add({"records", std::to_string(report.records)});
    numbers.add({would ? "would be imported" : "imported and opened again",
                 std::to_string(report.imported)});
    if (!would) numbers.add({"already there, opened", std::to_string(report.already_there)});
    if (report.sealed_before > 0)
        numbers.add({"sealed before, left alone", std::to_string(report.sealed_before)});
    numbers.add({"without a secret", std::to_string(report.without_secret)});
    numbers.add({"failed", std::to_string(report.failed)});
    std::string text = numbers.to_string();
    if (report.records > 0) text += not_found_text(report.columns_not_found);
    if (report.failures.empty()) return text;
    base::Table failures({"PLACE", "REASON"});
    for (const auto& [place, reason] : report.failures)
        failures.add({base::printable(place), base::printable(reason)});
    text += '\n' + failures.to_string();
    if (report.failed > report.failures.size()) {
        text += "and " + std::to_string(report.failed - report.failures.size()) + " more\n";
    }
    return text;
}

}  // namespace vault
