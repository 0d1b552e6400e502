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

void ImportRun::add(std::string place, DecodedRecord decoded, const ReaderPosition& position) {
    ImportReport& report = state_.report;
    ++report.records;
    state_.position = position;
    ++since_settled_;
    if (const auto* why = std::get_if<Unreadable>(&decoded)) {
        report.add_failure(std::move(place), why->reason);
    } else if (std::holds_alternative<NoSecret>(decoded)) {
        ++report.without_secret;
    } else if (target_ == nullptr) {
        ++(std::get<ImportItem>(decoded).is_sealed ? report.already_there : report.imported);
    } else {
        waiting_.items.push_back(std::move(std::get<ImportItem>(decoded)));
        waiting_.places.push_back(std::move(place));
        waiting_.bytes += base::to_json(waiting_.items.back().secret).size();
    }
    // The next secret might be the largest.
    const bool is_full = waiting_.items.size() == max_import_batch ||
                         waiting_.bytes + max_plaintext_bytes > max_import_batch_bytes;
    if (is_full || since_settled_ == records_between_states) settle();
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
            decoded = decoder.decode(std::move(std::get<base::JsonValue>(record->content)));
        }
        run.add(place_of(*record), std::move(decoded), reader.position());
        bar.show(reader.position().offset, total_bytes, state.report.records);
    }
    run.settle();
}

}  // namespace vault
