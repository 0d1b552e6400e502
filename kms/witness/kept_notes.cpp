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

}  // namespace

KeptNotes::KeptNotes(std::filesystem::path file) : file_(std::move(file)) { load(); }

void KeptNotes::load() {
    std::map<std::string, std::string> found;
    std::error_code unknown;  // then reading it says what is wrong
    if (std::filesystem::exists(file_, unknown) || unknown) {
        const auto history = server::split_notes(base::read_file(file_, max_kept_bytes)).notes;
        for (const std::string& note : history) {
            try {
                found[checkpoint_of(note).origin] = note;
            } catch (const Error& error) {
                throw Error(ErrorCode::invalid_argument, file_.string() + ": " + error.message());
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
    notes_[origin] = note;
    std::string text;
    for (const auto& [name, kept] : notes_) text += kept + '\n';
    base::write_file_durably(file_, text, kept_mode);
}

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
