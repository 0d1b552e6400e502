#include "vault/import/import_run.h"

#include "vault/sealed.h"

namespace vault {
namespace {

// So that a long stretch of records without secrets is not read again.
constexpr std::uint64_t records_between_states = 10'000;

std::string place_of(const SourceRecord& record) {
    return "record " + std::to_string(record.number) + ", line " + std::to_string(record.line);
}

}  // namespace

ImportRun::ImportRun(ImportState& state, std::filesystem::path state_file, ImportTarget* target,
                     std::uint64_t failure_limit)
    : state_(state),
      state_file_(std::move(state_file)),
      target_(target),
      failure_limit_(failure_limit),
      failures_before_(state.report.failed) {}

void ImportRun::note_columns(const base::JsonValue& record) {
    erase_found(state_.report.columns_not_found, record);
}

void ImportRun::add(std::string place, DecodedRecord decoded, const ReaderPosition& position) {
    ImportReport& report = state_.report;
    ++report.records;
    state_.position = position;
    ++since_settled_;
    if (const auto* why = std::get_if<Unreadable>(&decoded)) {
        report.add_failure(std::move(place), why->reason);
    } else if (auto* empty = std::get_if<NoSecret>(&decoded)) {
        if (target_ != nullptr && target_->takes_every_record()) {
            ImportItem item;
            item.has_secret = false;
            item.record = std::move(empty->record);
            wait(std::move(place), std::move(item));
        } else {
            ++report.without_secret;
        }
    } else if (target_ == nullptr) {
        ++(std::get<ImportItem>(decoded).is_sealed ? report.sealed_before : report.imported);
    } else {
        wait(std::move(place), std::move(std::get<ImportItem>(decoded)));
    }
    // The next secret might be the largest.
    const bool is_full = waiting_.items.size() == max_import_batch ||
                         waiting_.bytes + max_plaintext_bytes > max_import_batch_bytes;
    if (is_full || since_settled_ == records_between_states) settle();
}

void ImportRun::wait(std::string place, ImportItem item) {
    waiting_.bytes += base::to_json(item.secret).size();
    waiting_.items.push_back(std::move(item));
    waiting_.places.push_back(std::move(place));
}

void ImportRun::settle() {
    since_settled_ = 0;
    if (target_ == nullptr) return;
    if (!waiting_.items.empty()) {
        const auto outcomes = target_->take(waiting_.items);
        for (std::size_t i = 0; i < outcomes.size(); ++i) count(waiting_.places[i], outcomes[i]);
        waiting_ = {};
    }
    state_.output_bytes = target_->flush();
    write_import_state(state_file_, state_);
}

bool ImportRun::is_over_limit() const {
    return failure_limit_ != 0 && state_.report.failed - failures_before_ > failure_limit_;
}

void ImportRun::count(const std::string& place, const ImportOutcome& outcome) {
    ImportReport& report = state_.report;
    switch (outcome.kind) {
        case ImportOutcome::Kind::imported:
            ++report.imported;
            return;
        case ImportOutcome::Kind::already_there:
            ++report.already_there;
            return;
        case ImportOutcome::Kind::without_secret:
            ++report.without_secret;
            return;
        case ImportOutcome::Kind::failed:
            report.add_failure(place, outcome.reason);
            return;
    }
}

void import_records(RecordReader& reader, const ImportDecoder& decoder, ImportRun& run,
                    ImportState& state, std::uint64_t total_bytes) {
    ProgressBar bar;
    while (!run.is_over_limit()) {
        auto record = reader.next();
        if (!record) {
            state.is_complete = true;
            break;
        }
        DecodedRecord decoded;
        if (auto* why = std::get_if<Unreadable>(&record->content)) {
            decoded = std::move(*why);
        } else {
            auto& content = std::get<base::JsonValue>(record->content);
            run.note_columns(content);
            decoded = decoder.decode(std::move(content));
        }
        run.add(place_of(*record), std::move(decoded), reader.position());
        bar.show(reader.position().offset, total_bytes, state.report.records);
    }
    run.settle();
}

}  // namespace vault
