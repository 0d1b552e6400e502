#include "vault/import/verify.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/table.h"
#include "vault/import/import_target.h"
#include "vault/import/patience.h"
#include "vault/import/progress_bar.h"
#include "vault/import/revealed.h"
#include "vault/import/sample.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

std::string source_place(std::uint64_t record, std::uint64_t line) {
    return "record " + std::to_string(record) + ", line " + std::to_string(line);
}

// Names of owners' credentials as the vault lists them. Many owners' counts are kept, and as many
// names as a page of memory should hold.
class ListedNames {
public:
    explicit ListedNames(kms::Client& client, std::chrono::seconds patience)
        : client_(client), patience_(patience) {}

    bool has(const std::string& owner, const std::string& name) {
        const auto known = names_.find(owner);
        const auto& names = known == names_.end() ? list(owner) : known->second;
        return names.contains(name);
    }
    // Counts an owner that nobody asked for yet.
    void count(const std::string& owner) {
        if (!counts_.contains(owner)) list(owner);
    }
    std::uint64_t total() const {
        std::uint64_t sum = 0;
        for (const auto& [owner, count] : counts_) sum += count;
        return sum;
    }

private:
    static constexpr std::size_t max_names_kept = 200'000;

    const std::set<std::string>& list(const std::string& owner) {
        if (kept_ > max_names_kept) {
            names_.clear();
            kept_ = 0;
        }
        std::set<std::string> names;
        std::string cursor;
        do {
            JsonValue page;
            const std::string path = "/v1/owners/" + kms::path_segment(owner) +
                                     "/credentials?limit=100" +
                                     (cursor.empty() ? "" : "&cursor=" + kms::path_segment(cursor));
            with_patience(patience_, [&] { page = client_.call("GET", path, {}); });
            base::JsonReader reader(page);
            for (const JsonValue& item : reader.required_array("credentials", 100, 0)) {
                base::JsonReader credential(item);
                names.emplace(credential.required_string("name", 1000));
            }
            cursor = reader.optional_string("next_cursor", 1000).value_or("");
        } while (!cursor.empty());
        counts_[owner] = names.size();
        kept_ += names.size();
        return names_[owner] = std::move(names);
    }

    kms::Client& client_;
    const std::chrono::seconds patience_;
    std::map<std::string, std::set<std::string>> names_;
    std::map<std::string, std::uint64_t> counts_;
    std::size_t kept_ = 0;
};

class CredentialVerifier {
public:
    CredentialVerifier(kms::Client& client, const VerifyOptions& options)
        : client_(client), options_(options), listed_(client, options.patience) {}

    void add(std::string place, ImportItem item, bool is_chosen, MigrationReport& report) {
        listed_.count(item.owner);
        if (!is_chosen) {
            if (listed_.has(item.owner, item.name)) {
                ++report.present;
            } else {
                ++report.missing;
                report.find(std::move(place), "there is no such credential in the vault");
            }
            return;
        }
        places_.push_back(std::move(place));
        items_.push_back(std::move(item));
        if (items_.size() == max_import_batch) compare(report);
    }

    void compare(MigrationReport& report) {
        std::vector<const ImportItem*> items;
        items.reserve(items_.size());
        for (const ImportItem& item : items_) items.push_back(&item);
        const auto results =
            reveal_items(client_, items, {options_.workers, options_.patience, options_.reason});
        for (std::size_t i = 0; i < items_.size(); ++i) judge(i, results[i], report);
        items_.clear();
        places_.clear();
    }

    std::uint64_t total() const { return listed_.total(); }

private:
    void judge(std::size_t i, const RevealedResult& result, MigrationReport& report) {
        if (const auto* error = std::get_if<Error>(&result)) {
            const bool is_missing = error->code() == ErrorCode::not_found;
            ++(is_missing ? report.missing : report.different);
            report.present += is_missing ? 0 : 1;
            report.find(places_[i],
                        std::string(to_string(error->code())) + ": " + error->message());
            return;
        }
        ++report.present;
        const char* other = difference(items_[i], std::get<RevealedCredential>(result));
        if (other == nullptr) {
            ++report.opened;
        } else {
            ++report.different;
            report.find(places_[i], std::string("the vault has ") + other);
        }
    }

    kms::Client& client_;
    const VerifyOptions options_;
    ListedNames listed_;
    std::vector<ImportItem> items_;
    std::vector<std::string> places_;
};

}  // namespace

void MigrationReport::find(std::string place, std::string reason) {
    if (findings.size() < max_listed_failures)
        findings.push_back({std::move(place), std::move(reason)});
}

base::WipedString to_json(const MigrationReport& report) {
    base::JsonWriter out;
    out.begin_object().field("good", report.is_good()).field("records", report.records);
    out.field("without_secret", report.without_secret).field("unreadable", report.unreadable);
    out.field("present", report.present).field("missing", report.missing);
    out.field("opened", report.opened).field("different", report.different);
    out.field("not_sealed", report.not_sealed).name("surplus");
    if (report.surplus) {
        out.unsigned_integer(*report.surplus);
    } else {
        out.null();
    }
    out.name("findings").begin_array();
    for (const auto& [place, reason] : report.findings)
        out.begin_object().field("place", place).field("reason", reason).end_object();
    out.end_array().name("columns_not_found").begin_array();
    for (const auto& column : report.columns_not_found) out.string(column);
    out.end_array().end_object();
    return out.take();
}

std::string to_text(const MigrationReport& report) {
    base::Table numbers;
    const auto add = [&](const char* what, std::uint64_t number) {
        numbers.add({what, std::to_string(number)});
    };
    add("records", report.records);
    add("without a secret", report.without_secret);
    add("unreadable", report.unreadable);
    add("present", report.present);
    add("missing", report.missing);
    add("opened and equal", report.opened);
    add("different", report.different);
    add("not sealed", report.not_sealed);
    if (report.surplus) add("there besides", *report.surplus);
    std::string text = numbers.to_string();
    if (report.records > 0) text += not_found_text(report.columns_not_found);
    if (report.findings.empty()) return text;
    base::Table findings({"PLACE", "FINDING"});
    for (const auto& [place, reason] : report.findings)
        findings.add({base::printable(place), base::printable(reason)});
    return text + '\n' + findings.to_string();
}

DecodedRecord decode_for_comparison(SourceRecord& record, const ImportDecoder& decoder,
                                    MigrationReport& report) {
    ++report.records;
    DecodedRecord decoded;
    if (auto* why = std::get_if<Unreadable>(&record.content)) {
        decoded = std::move(*why);
    } else {
        auto& content = std::get<JsonValue>(record.content);
        erase_found(report.columns_not_found, content);
        decoded = decoder.decode(std::move(content));
    }
    if (std::holds_alternative<NoSecret>(decoded)) ++report.without_secret;
    if (const auto* why = std::get_if<Unreadable>(&decoded)) {
        ++report.unreadable;
        report.find(source_place(record.number, record.line), why->reason);
    }
    return decoded;
}

MigrationReport verify_credentials(const SourceOpener& source, const ImportDecoder& decoder,
                                   kms::Client& client, const VerifyOptions& options) {
    const Sample sample(options.sample, [&] { return count_records(source); });
    MigrationReport report;
    CredentialVerifier verifier(client, options);
    const auto reader = source();
    if (!reader->columns()) report.columns_not_found = lenient_columns(decoder.columns());
    ProgressBar bar;
    while (auto record = reader->next()) {
        bar.show(reader->position().offset, options.source_bytes, report.records);
        std::string place = source_place(record->number, record->line);
        auto decoded = decode_for_comparison(*record, decoder, report);
        if (auto* item = std::get_if<ImportItem>(&decoded))
            verifier.add(std::move(place), std::move(*item), sample.has(record->number), report);
    }
    verifier.compare(report);
    const std::uint64_t total = verifier.total();
    report.surplus = total - std::min(total, report.present);
    return report;
}

}  // namespace vault
