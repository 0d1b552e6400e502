#include "kms/witness/kept_notes.h"

#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "server/checkpoint_file.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_kept_bytes = 1024UL * 1024;
constexpr unsigned kept_mode = 0600;

server::Checkpoint checkpoint_of(const std::string& note) {
    return server::parse_checkpoint_text(server::parse_note(note).text);
}

// It is replaced as a whole, so no crash leaves it like that.
[[noreturn]] void damaged(const std::filesystem::path& file, const std::string& how) {
    throw Error(ErrorCode::invalid_argument,
                file.string() + " is damaged: " + how +
                    ". Put a copy of it back. Where there is none, first have the key service's "
                    "log proven by a checkpoint from elsewhere (kmsctl audit verify --checkpoint): "
                    "without what this file held, a log that was set back goes unnoticed");
}

std::string text_of(const std::map<std::string, std::string>& notes) {
    std::string text;
    for (const auto& [origin, note] : notes) text += note + '\n';
    return text;
}

// A note's text may hold an empty line and what looks like signatures: read again, it would be
// two, of which the last is believed.
bool is_one_note(const std::string& note) {
    const auto read_again = server::split_notes(note + '\n');
    return read_again.torn.empty() && read_again.notes == std::vector<std::string>{note};
}

}  // namespace

KeptNotes::KeptNotes(std::filesystem::path file) : file_(std::move(file)) { load(); }

void KeptNotes::load() {
    std::map<std::string, std::string> found;
    std::error_code unknown;  // then reading it says what is wrong
    if (std::filesystem::exists(file_, unknown) || unknown) {
        const auto history = server::split_notes(base::read_file(file_, max_kept_bytes));
        if (!history.torn.empty()) damaged(file_, "it does not end with a whole checkpoint");
        if (history.notes.empty()) damaged(file_, "it holds no checkpoint");
        for (const std::string& note : history.notes) {
            try {
                found[checkpoint_of(note).origin] = note;
            } catch (const Error& error) {
                damaged(file_, error.message());
            }
        }
    }
    notes_.swap(found);
}

std::vector<server::Checkpoint> KeptNotes::checkpoints() const {
    std::vector<server::Checkpoint> all;
    for (const auto& [origin, note] : notes_) all.push_back(checkpoint_of(note));
    return all;
}

void KeptNotes::keep(const std::string& origin, const std::string& note) {
    auto all = notes_;
    all[origin] = note;
    if (note.size() > max_note_bytes || !is_one_note(note) || all.size() > max_logs) {
        throw Error(ErrorCode::invalid_argument,
                    "the key service's checkpoint is none that a witness keeps: it is too long, or "
                    "not one, or of one log too many");
    }
    try {
        base::write_file_durably(file_, text_of(all), kept_mode);
    } catch (const Error& error) {
        throw Error(ErrorCode::unavailable,
                    file_.string() + " can't be written: see to its folder and its disk",
                    error.what());
    }
    notes_.swap(all);
}

std::string KeptNotes::text() const { return text_of(notes_); }

bool KeptNotes::has_conflict() const {
    std::error_code unknown;
    return std::filesystem::exists(conflict_file(), unknown) || unknown;
}

void KeptNotes::write_conflict(const LogConflict& conflict) const {
    const auto kept = notes_.find(conflict.origin);
    base::write_file_durably(conflict_file(),
                             conflict.reason + "\n\nkept:\n" +
                                 (kept == notes_.end() ? conflict.kept : kept->second) +
                                 "\nseen:\n" + conflict.seen,
                             kept_mode);
}

}  // namespace kms
