#include "server/checkpoint_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "server/checkpoint.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr unsigned checkpoint_mode = 0600;
constexpr std::uint64_t history_tail_bytes = 1024UL * 1024;
constexpr std::size_t max_checkpoint_bytes = 64UL * 1024;
constexpr std::string_view dash = "\xE2\x80\x94 ";

[[noreturn]] void history_failed(ErrorCode code, const std::filesystem::path& path) {
    const int error = errno;
    throw Error(code, "the checkpoints of the audit log can't be used",
                path.string() + ": " + std::strerror(error));
}

class HistoryFile {
public:
    HistoryFile(const std::filesystem::path& path, ErrorCode on_failure)
        : path_(path), on_failure_(on_failure) {
        value_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, checkpoint_mode);
        if (value_ < 0) fail();
    }
    ~HistoryFile() {
        if (value_ >= 0) ::close(value_);
    }
    HistoryFile(const HistoryFile&) = delete;
    HistoryFile& operator=(const HistoryFile&) = delete;

    std::uint64_t size() const {
        struct stat status {};
        if (::fstat(value_, &status) != 0) fail();
        return static_cast<std::uint64_t>(status.st_size);
    }
    std::string read_from(std::uint64_t offset) const {
        std::string text(size() - offset, '\0');
        std::size_t done = 0;
        while (done < text.size()) {
            const ssize_t got = ::pread(value_, text.data() + done, text.size() - done,
                                        static_cast<off_t>(offset + done));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) fail();
            done += static_cast<std::size_t>(got);
        }
        return text;
    }
    void cut(std::uint64_t size) const {
        if (::ftruncate(value_, static_cast<off_t>(size)) != 0) fail();
    }
    // All of `text` or nothing stays in the file.
    void append(std::string_view text) const {
        const std::uint64_t end = size();
        std::uint64_t at = end;
        while (!text.empty()) {
            const ssize_t written =
                ::pwrite(value_, text.data(), text.size(), static_cast<off_t>(at));
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) {
                const int error = errno;
                cut(end);
                errno = error;
                fail();
            }
            text.remove_prefix(static_cast<std::size_t>(written));
            at += static_cast<std::uint64_t>(written);
        }
        if (::fdatasync(value_) != 0) fail();
    }

private:
    [[noreturn]] void fail() const { history_failed(on_failure_, path_); }
    const std::filesystem::path& path_;
    ErrorCode on_failure_;
    int value_ = -1;
};

// Of a note that nobody verified; 0 when it is none.
std::uint64_t claimed_size(const std::string& note) {
    try {
        return parse_checkpoint_text(parse_note(note).text).size;
    } catch (const Error&) {
        return 0;
    }
}

}  // namespace

NoteHistory split_notes(std::string_view text) {
    NoteHistory history;
    std::size_t note = 0;  // where the note begins
    std::size_t block = 0;
    while (true) {
        const std::size_t end = text.find("\n\n", block);
        if (end == std::string_view::npos) break;
        if (text.substr(block).starts_with(dash)) {
            history.notes.emplace_back(text.substr(note, end + 1 - note));
            note = end + 2;
        }
        block = end + 2;
    }
    history.torn = text.substr(note);
    return history;
}

CheckpointFile::CheckpointFile(std::filesystem::path directory) : directory_(std::move(directory)) {
    const std::filesystem::path path = directory_ / checkpoint_history;
    const HistoryFile file(path, ErrorCode::failed_precondition);
    const std::uint64_t size = file.size();
    const std::uint64_t tail = size - std::min(size, history_tail_bytes);
    NoteHistory history = split_notes(file.read_from(tail));
    if (!history.torn.empty()) file.cut(size - history.torn.size());
    if (!history.notes.empty()) last_ = std::move(history.notes.back());
    // Normally the same, or one behind after a crash; newer when others shortened the history.
    const std::filesystem::path latest = directory_ / latest_checkpoint;
    if (!std::filesystem::exists(latest)) return;
    std::string published = base::read_file(latest, max_checkpoint_bytes);
    if (last_.empty() || claimed_size(published) > claimed_size(last_))
        last_ = std::move(published);
}

void CheckpointFile::add(const std::string& note) {
    const std::filesystem::path path = directory_ / checkpoint_history;
    {
        const HistoryFile file(path, ErrorCode::unavailable);
        file.append(note + '\n');
    }
    base::write_file_durably(directory_ / latest_checkpoint, note, checkpoint_mode);
    last_ = note;
}

}  // namespace server
