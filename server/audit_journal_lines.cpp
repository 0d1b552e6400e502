#include "server/audit_journal_lines.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "server/audit_journal.h"
#include "server/audit_segments.h"

namespace server {

JournalLines::JournalLines(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory / journal_name;
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno == ENOENT) return;
    const auto close_file = [](const int* open_file) { ::close(*open_file); };
    const std::unique_ptr<const int, decltype(close_file)> owner(file < 0 ? nullptr : &file,
                                                                 close_file);
    try {
        if (file < 0) {
            throw base::Error(base::ErrorCode::unavailable, "can't be opened",
                              std::strerror(errno));
        }
        if (auto kept = AuditJournal(file, base::Uuid()).read()) text_ = std::move(kept->lines);
    } catch (const base::Error& error) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the audit log's file " + path.string() + " can't be read",
                          error.detail());
    }
    std::string_view rest = text_;
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
        const std::string_view line = rest.substr(0, end);
        if (const auto sequence = leading_sequence(line)) lines_[*sequence] = line;
        rest.remove_prefix(end + 1);
    }
}

bool JournalLines::watch(std::string_view line, bool is_growing) {
    if (lines_.empty()) return true;
    if (is_growing && line.find('\0') != std::string_view::npos) return false;
    const std::uint64_t sequence = leading_sequence(line).value_or(last_ + 1);
    last_ = std::max(last_, sequence);
    const auto kept = lines_.find(sequence);
    if (kept != lines_.end() && kept->second != line) others_.insert(*kept);
    return true;
}

std::uint64_t JournalLines::first_other_behind(std::uint64_t covered) const {
    const auto found = others_.upper_bound(covered);
    return found == others_.end() ? 0 : found->first;
}

void JournalLines::watch_anew() {
    last_ = 0;
    others_.clear();
}

}  // namespace server
