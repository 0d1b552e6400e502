#include "vault/import/table_import.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "vault/import/import_target.h"
#include "vault/import/patience.h"
#include "vault/import/progress_bar.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;
using server::ApplicationChange;
using server::ApplicationRow;
using Kind = ImportOutcome::Kind;

// How often a row that somebody changed meanwhile is read and sealed anew.
constexpr int rounds_of_changed_rows = 3;
constexpr base::JsonLimits column_limits{.bytes = 256UL * 1024, .depth = 24};

// Numbers that JSON does not have, as PostgreSQL writes them.
constexpr std::array<std::string_view, 3> no_json_numbers = {"NaN", "Infinity", "-Infinity"};

JsonValue to_value(const base::WipedString& text, bool is_json) {
    if (!is_json ||
        std::find(no_json_numbers.begin(), no_json_numbers.end(), text) != no_json_numbers.end()) {
        return JsonValue(text);
    }
    return base::parse_json(text, column_limits);
}

JsonValue to_record(const ApplicationRow& row, const server::ApplicationTable& table,
                    const server::ApplicationColumns& columns,
                    const std::vector<PlainColumn>& plain) {
    JsonValue::Object members;
    const auto add = [&](const std::string& name, const base::WipedString& text) {
        const bool is_plain = std::any_of(plain.begin(), plain.end(),
                                          [&name](const auto& one) { return one.column == name; });
        members.push_back(
            {base::WipedString(name), to_value(text, is_plain && table.has_json_form(name))});
    };
    add(columns.key, base::WipedString(row.key));
    for (std::size_t i = 0; i < columns.more.size(); ++i) {
        if (row.more[i]) {
            add(columns.more[i], *row.more[i]);
        } else {
            members.push_back({base::WipedString(columns.more[i]), JsonValue()});
        }
    }
    members.push_back({base::WipedString(columns.column),
                       row.value ? to_value(*row.value, table.is_json()) : JsonValue()});
    return JsonValue(std::move(members));
}

// For the bar only, which is not worth a stop; 0: it shows what was done without a total.
std::uint64_t estimate_rows(server::ApplicationTable& table) {
    try {
        return table.estimate();
    } catch (const Error&) {
        return 0;
    }
}

// A row that is to be sealed.
struct Job {
    std::string key;
    base::WipedString before;
    std::vector<std::optional<base::WipedString>> more;
    ImportItem item;
};

class TableRun {
public:
    TableRun(const TableImport& import, ImportState& state)
        : import_(import), state_(state), failures_before_(state.report.failed) {}

    bool is_over_limit() const {
        return import_.failure_limit != 0 &&
               state_.report.failed - failures_before_ > import_.failure_limit;
    }

    void take(std::vector<ApplicationRow> rows) {
        state_.last_key = rows.back().key;
        state_.report.records += rows.size();
        std::vector<Job> jobs = decode(std::move(rows));
        for (int round = 0; !jobs.empty() && import_.client != nullptr; ++round) {
            std::vector<std::string> changed = seal(jobs);
            if (changed.empty()) break;
            if (round == rounds_of_changed_rows) {
                for (std::string& key : changed)
                    fail(std::move(key),
                         "it was changed again and again while it was sealed; run this again");
                break;
            }
            auto found = import_.table.find(changed);
            state_.report.without_secret += changed.size() - found.size();  // gone meanwhile
            jobs = decode(std::move(found));
        }
        if (!import_.state_file.empty()) write_import_state(import_.state_file, state_);
    }

private:
    void fail(std::string key, std::string reason) {
        state_.report.add_failure(import_.columns.key + " " + std::move(key), std::move(reason));
    }

    // Counts those that need nothing; leaves the others.
    std::vector<Job> decode(std::vector<ApplicationRow> rows) {
        std::vector<Job> jobs;
        ImportReport& report = state_.report;
        for (ApplicationRow& row : rows) {
            DecodedRecord decoded = NoSecret{};
            if (row.value)
                decoded = decode_row(row, import_.table, import_.columns, import_.decoder);
            if (auto* why = std::get_if<Unreadable>(&decoded)) {
                fail(row.key, why->reason);
            } else if (std::holds_alternative<NoSecret>(decoded)) {
                ++report.without_secret;
            } else if (std::get<ImportItem>(decoded).is_sealed) {
                ++report.sealed_before;
            } else if (import_.client == nullptr) {
                ++report.imported;
            } else {
                jobs.push_back({std::move(row.key), std::move(*row.value), std::move(row.more),
                                std::move(std::get<ImportItem>(decoded))});
            }
        }
        return jobs;
    }

    // In batches that one call takes. The keys of those that changed meanwhile.
    std::vector<std::string> seal(std::vector<Job>& jobs) {
        std::vector<ImportItem> items;
        items.reserve(jobs.size());
        for (Job& job : jobs) items.push_back(std::move(job.item));
        const auto checked = seal_and_check(*import_.client, import_.patience, items);
        std::vector<base::WipedString> after(jobs.size());
        std::vector<ApplicationChange> changes;
        for (std::size_t i = 0; i < jobs.size(); ++i) {
            if (!checked[i].sealed) {
                fail(jobs[i].key, checked[i].outcome.reason);
                continue;
            }
            after[i] = base::to_json(*checked[i].sealed);
            changes.push_back({jobs[i].key, jobs[i].before, after[i], jobs[i].more});
        }
        return write(changes);
    }

    std::vector<std::string> write(const std::vector<ApplicationChange>& changes) {
        std::vector<std::string> changed;
        const auto note = [&](std::span<const ApplicationChange> given) {
            std::vector<bool> done;
            with_patience(import_.patience, [&] { done = import_.table.replace(given); });
            for (std::size_t i = 0; i < given.size(); ++i) {
                if (done[i]) {
                    ++state_.report.imported;
                } else {
                    changed.emplace_back(given[i].key);
                }
            }
        };
        try {
            note(changes);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::failed_precondition) throw;
            // One of them is refused; the others are not to suffer from it.
            for (const ApplicationChange& change : changes) {
                try {
                    note({&change, 1});
                } catch (const Error& refusal) {
                    if (refusal.code() != ErrorCode::failed_precondition) throw;
                    fail(std::string(change.key), "the table refuses the sealed value");
                }
            }
        }
        return changed;
    }

    const TableImport& import_;
    ImportState& state_;
    const std::uint64_t failures_before_;
};

}  // namespace

DecodedRecord decode_row(const ApplicationRow& row, const server::ApplicationTable& table,
                         const server::ApplicationColumns& columns, const ImportDecoder& decoder) {
    try {
        return decoder.decode(to_record(row, table, columns, decoder.columns().plain));
    } catch (const Error& error) {
        if (error.code() != ErrorCode::invalid_argument) throw;
        return Unreadable{
            "the column, or a plain one, is no JSON that the vault takes"};  // the message may
                                                                             // quote it
    }
}

void import_table(const TableImport& import, ImportState& state) {
    ProgressBar bar;
    TableRun run(import, state);
    const std::uint64_t total = estimate_rows(import.table);
    std::optional<std::string> after;
    if (!state.last_key.empty()) after = state.last_key;
    while (!run.is_over_limit()) {
        std::vector<ApplicationRow> rows;
        with_patience(import.patience, [&] { rows = import.table.page(after, max_import_batch); });
        if (rows.empty()) {
            state.is_complete = true;
            break;
        }
        after = rows.back().key;
        run.take(std::move(rows));
        bar.show(state.report.records, total, state.report.records);
    }
    if (!import.state_file.empty()) write_import_state(import.state_file, state);
}

}  // namespace vault
