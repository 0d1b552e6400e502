#include "server/audit_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "server/audit_record.h"
#include "server/audit_segments.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::uint64_t first_tail_bytes = 64UL * 1024;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
    throw Error(ErrorCode::failed_precondition, "the audit log " + path.string() + " " + why);
}

[[noreturn]] void refuse_errno(const std::filesystem::path& path, const std::string& what) {
    const int error = errno;
    refuse(path, what + ": " + std::strerror(error));
}

[[noreturn]] void unavailable(const char* what) {
    const int error = errno;
    throw Error(ErrorCode::unavailable, "the audit log can't be written",
                std::string(what) + ": " + std::strerror(error));
}

void require_private(const std::filesystem::path& path, const struct stat& status,
                     const char* mode) {
    if ((status.st_mode & 0077U) != 0) {
        refuse(path, std::string("can be accessed by other users; run: chmod ") + mode + " " +
                         path.string());
    }
}

// How much of that is lines, without the last one if it is torn or has a hole: of a line that was
// not in the journal yet a power failure may leave any part.
std::size_t whole_lines(std::string_view tail) {
    std::size_t end = tail.rfind('\n') + 1;  // npos + 1 is 0: no whole line at all
    while (end > 0) {
        const std::size_t begin = tail.substr(0, end - 1).rfind('\n') + 1;
        if (tail.substr(begin, end - begin).find('\0') == std::string_view::npos) break;
        end = begin;
    }
    return end;
}

// New names in a folder are durable only when the folder is.
void sync_folder(const std::filesystem::path& folder) {
    const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) refuse_errno(folder, "can't be opened");
    const bool synced = ::fsync(descriptor) == 0;
    ::close(descriptor);
    if (!synced) refuse_errno(folder, "can't be synced");
}

// Which run of the machine this is; empty where the system does not tell.
std::optional<base::Uuid> read_boot_id(const std::filesystem::path& file) {
    std::ifstream in(file);
    std::string text;
    std::getline(in, text);
    return base::Uuid::parse(text);
}

void prepare_folder(const std::filesystem::path& folder) {
    if (::mkdir(folder.c_str(), 0700) == 0) {
        sync_folder(std::filesystem::absolute(folder).lexically_normal().parent_path());
    } else if (errno != EEXIST) {
        refuse_errno(folder, "can't be created");
    }
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0) refuse_errno(folder, "can't be read");
    if (!S_ISDIR(status.st_mode)) refuse(folder, "is no folder");
    require_private(folder, status, "0700");
}

}  // namespace

DiskAuditFile::Descriptor::~Descriptor() {
    if (value_ >= 0) ::close(value_);
}

void DiskAuditFile::Descriptor::open(const std::filesystem::path& path, int flags) {
    value_ = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (value_ < 0) refuse_errno(path, "can't be opened");
    struct stat status {};
    if (::fstat(value_, &status) != 0) refuse_errno(path, "can't be read");
    if (!S_ISREG(status.st_mode)) refuse(path, "is not a regular file");
    require_private(path, status, "0600");
}

void DiskAuditFile::Descriptor::take(int value) {
    if (value_ >= 0) ::close(value_);
    value_ = value;
}

DiskAuditFile::DiskAuditFile(const std::filesystem::path& directory, SegmentLimits limits,
                             base::Log& log, const std::filesystem::path& boot_id)
    : path_(directory / growing_segment),
      boot_(read_boot_id(boot_id)),
      journal_(journal_file_.get(), boot_.value_or(base::Uuid())),
      limits_(limits) {
    prepare_folder(directory);
    lock_.open(directory / "audit.lock", O_RDWR | O_CREAT);
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        refuse(path_, "is in use by another process; stop that one first");
    }
    file_.open(path_, O_RDWR | O_CREAT);
    journal_file_.open(directory / journal_name, O_RDWR | O_CREAT);
    sync_folder(directory);
    recover(log);
    read_tail(log);
    read_head();
}

DiskAuditFile::~DiskAuditFile() {
    try {
        sync_segment();
        journal_.clear();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
        // The journal has it: the next opening puts it back.
    }
}

// What stands behind the journal's last line was never acknowledged: of that, whole lines that
// continue the chain stay (a kill between the two writes), the rest goes (a power failure leaves
// anything).
void DiskAuditFile::recover(base::Log& log) {
    // What stands in the segment may be only in the page cache of a machine that has not crashed.
    if (::fdatasync(file_.get()) != 0) refuse_errno(path_, "can't be synced");
    const auto kept = journal_.read();
    if (!kept) return;
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) refuse_errno(path_, "can't be read");
    auto size = static_cast<std::uint64_t>(status.st_size);
    const std::uint64_t end = kept->offset + kept->lines.size();
    const bool is_whole = size >= end && read_range(kept->offset, end) == kept->lines;
    // A process that ends, however, leaves what it wrote: only the machine's end takes lines away.
    const bool may_have_lost = !boot_ || kept->boot != *boot_;
    // Nor is the segment's first line safe before a sync of the segment, which moves the offset on.
    const bool is_other = (kept->offset > 0 || !may_have_lost) && !begins_with(kept->segment);
    if (size < kept->offset || is_other || (!is_whole && !may_have_lost)) {
        refuse(path_,
               "is not as it was written, by what audit.journal beside it says: it was changed or "
               "cut. Keep both for an investigation and start with an empty folder");
    }
    if (!is_whole) {
        write_at(kept->offset, kept->lines);
        log.warning("put the last lines of the audit log back from its journal",
                    {{"bytes", static_cast<std::int64_t>(kept->lines.size())}});
    }
    std::string_view last_line = kept->lines;
    last_line.remove_suffix(1);
    last_line.remove_prefix(last_line.rfind('\n') + 1);  // npos + 1 is 0
    size = std::max(size, end);
    end_ = may_have_lost ? end_of_chain(end, size, last_line) : size;
    if (end_ < size) {
        log.warning("cut what was never acknowledged off the audit log",
                    {{"bytes", static_cast<std::int64_t>(size - end_)}});
        cut_to_end();
    }
    if (::fdatasync(file_.get()) != 0) refuse_errno(path_, "can't be synced");
    journal_.clear();
}

bool DiskAuditFile::begins_with(std::uint64_t sequence) const {
    SegmentLines lines({path_, 0, false});
    std::string_view line;
    return !lines.next(line) || leading_sequence(line) == sequence;
}

std::uint64_t DiskAuditFile::end_of_chain(std::uint64_t from, std::uint64_t to,
                                          std::string_view last_line) const {
    const std::string text = read_range(from, to);
    MerkleHasher hasher;
    std::string previous = line_hash(last_line, hasher);
    std::string_view rest = text;
    for (std::size_t line_end = rest.find('\n'); line_end != std::string_view::npos;
         line_end = rest.find('\n')) {
        const std::string_view line = rest.substr(0, line_end);
        // A line's end says what it follows, and may be there without its begin.
        if (line.find('\0') != std::string_view::npos || !follows(line, previous)) break;
        previous = line_hash(line, hasher);
        rest.remove_prefix(line_end + 1);
    }
    return to - rest.size();
}

std::string DiskAuditFile::read_range(std::uint64_t from, std::uint64_t to) const {
    std::string text(to - from, '\0');
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t got = ::pread(file_.get(), text.data() + done, text.size() - done,
                                    static_cast<off_t>(from + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) refuse_errno(path_, "can't be read");
        if (got == 0) refuse(path_, "became shorter while it was read");
        done += static_cast<std::size_t>(got);
    }
    return text;
}

// Reads from the end only: a log of years must not slow the start.
void DiskAuditFile::read_tail(base::Log& log) {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) refuse_errno(path_, "can't be read");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    std::string tail;
    for (std::uint64_t wanted = first_tail_bytes;; wanted *= 2) {
        tail = read_range(size - std::min(wanted, size), size);
        const std::size_t lines = whole_lines(tail);
        const bool whole_line = lines > 1 && tail.rfind('\n', lines - 2) != std::string::npos;
        if (whole_line || wanted >= size) break;
    }
    const std::size_t lines = whole_lines(tail);
    const std::size_t torn = tail.size() - lines;
    end_ = size - torn;
    if (torn > 0) {
        cut_to_end();
        if (::fdatasync(file_.get()) != 0) refuse_errno(path_, "can't be synced");
        log.warning("cut a torn last line off the audit log",
                    {{"bytes", static_cast<std::int64_t>(torn)}});
    }
    if (lines == 0) return;
    tail.resize(lines - 1);
    last_line_ = tail.substr(tail.rfind('\n') + 1);
}

// Where the segment begins and since when it is written; for an empty one, where the last closed
// one ends.
void DiskAuditFile::read_head() {
    std::string_view line;
    if (end_ > 0) {
        SegmentLines lines({path_, 0, false});
        if (!lines.next(line)) return;
        first_ = leading_sequence(line).value_or(0);
        base::JsonLimits whole;
        whole.bytes = line.size();
        try {
            const base::JsonValue record = base::parse_json(line, whole);
            const base::JsonValue* time = record.find("time");
            const auto* text = time == nullptr ? nullptr : time->string();
            begun_ =
                text == nullptr ? base::Time() : base::parse_rfc3339(*text).value_or(base::Time());
        } catch (const Error&) {
            first_ = 0;
        }
        return;
    }
    const auto segments = audit_segments(path_.parent_path());
    if (segments.size() < 2) return;
    SegmentLines lines(segments[segments.size() - 2]);
    while (lines.next(line)) last_line_ = line;
}

void DiskAuditFile::begin_segment_if_due(std::uint64_t next_sequence, base::Time now) {
    const bool due = end_ >= limits_.bytes || now - begun_ >= limits_.age;
    if (end_ > 0 && due && first_ != 0 && !longer_than_end_) close_segment();
    if (end_ > 0) return;
    first_ = next_sequence;
    begun_ = now;
}

// At every moment all lines are there under names that readers know; a crash between the two
// renames leaves a log whose growing segment is yet to be made.
void DiskAuditFile::close_segment() {
    sync_segment();
    journal_.clear();
    const std::filesystem::path folder = path_.parent_path();
    const std::filesystem::path closed = folder / closed_segment_name(first_);
    const std::filesystem::path fresh = folder / ".audit.jsonl.new";
    const int next =
        ::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (next < 0) unavailable("begin a segment");
    bool moved =
        ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, closed.c_str(), RENAME_NOREPLACE) == 0;
    if (moved && ::rename(fresh.c_str(), path_.c_str()) != 0) {
        const int error = errno;
        static_cast<void>(::rename(closed.c_str(), path_.c_str()));
        errno = error;
        moved = false;
    }
    if (!moved) {
        const int error = errno;
        ::close(next);
        ::unlink(fresh.c_str());
        errno = error;
        unavailable("close a segment");
    }
    file_.take(next);
    end_ = 0;
    folder_unsynced_ = true;
}

// The names of a closed and a begun segment; before they are durable nothing is written under them.
void DiskAuditFile::make_names_durable() {
    if (!folder_unsynced_) return;
    try {
        sync_folder(path_.parent_path());
    } catch (const Error& error) {
        throw Error(ErrorCode::unavailable, "the audit log can't be written", error.message());
    }
    folder_unsynced_ = false;
}

void DiskAuditFile::write_at(std::uint64_t at, std::string_view lines) const {
    while (!lines.empty()) {
        const ssize_t written =
            ::pwrite(file_.get(), lines.data(), lines.size(), static_cast<off_t>(at));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) unavailable("write");
        lines.remove_prefix(static_cast<std::size_t>(written));
        at += static_cast<std::uint64_t>(written);
    }
}

// The lines stand in the segment, from `end_` on.
void DiskAuditFile::make_durable(std::string_view lines) {
    if (!journal_.has_room_for(lines.size())) sync_segment();
    if (first_ != 0 && journal_.has_room_for(lines.size())) {
        journal_.add(first_, end_, lines);
    } else if (::fdatasync(file_.get()) != 0) {  // more than the journal holds at a time
        rewrite_ = true;
        unavailable("fdatasync");
    }
}

// After a failed sync the kernel may forget the pages and call the next sync a success: only
// writing them again makes them durable.
void DiskAuditFile::sync_segment() {
    if (rewrite_) {
        if (const auto kept = journal_.read_own()) write_at(kept->offset, kept->lines);
    }
    if (::fdatasync(file_.get()) != 0) {
        rewrite_ = true;
        unavailable("fdatasync");
    }
    rewrite_ = false;
    journal_.begin_anew();
}

void DiskAuditFile::cut_to_end() {
    longer_than_end_ = ::ftruncate(file_.get(), static_cast<off_t>(end_)) != 0;
    if (longer_than_end_) unavailable("truncate");
}

void DiskAuditFile::append(std::string_view lines) {
    make_names_durable();
    if (longer_than_end_) cut_to_end();
    if (rewrite_) sync_segment();
    longer_than_end_ = true;  // until these lines are durable, whatever is thrown
    try {
        write_at(end_, lines);
        make_durable(lines);
    } catch (const Error& failure) {
        try {
            cut_to_end();
        } catch (const Error& also) {
            throw Error(failure.code(), failure.message(),
                        failure.detail() + ", then " + also.detail());
        }
        throw;
    }
    longer_than_end_ = false;
    end_ += lines.size();
}

}  // namespace server
