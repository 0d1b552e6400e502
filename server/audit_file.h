// The file under the audit log. It keeps lines whole and durable; what they say is audit_record's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "server/audit_journal.h"

namespace server {

// A seam, so that tests can have a disk that fails or hangs. Used by one thread at a time.
class AuditFile {
public:
    virtual ~AuditFile() = default;

    // Adds `lines` (each with its line end) and returns when they are on stable storage. Throws
    // unavailable when they are not; then none of them stays in the file: what was written in part
    // is cut off at once or, when that fails too, before the next append.
    virtual void append(std::string_view lines) = 0;

    // Closes the segment and begins another when it is full or old; called before an append, with
    // the sequence number of its first line. Throws unavailable when that was due and failed; then
    // the next append goes on in the old segment.
    virtual void begin_segment_if_due(std::uint64_t next_sequence, base::Time now) {
        static_cast<void>(next_sequence);
        static_cast<void>(now);
    }
};

inline constexpr const char* system_boot_id = "/proc/sys/kernel/random/boot_id";

struct SegmentLimits {
    std::uint64_t bytes;
    std::chrono::hours age;
};

// `audit.jsonl` (mode 0600) in a folder of mode 0700, locked by `audit.lock` against a second
// writer for as long as this lives. A closed segment beside it is `audit-<first sequence>.jsonl`.
//
// Lines are durable in `audit.journal` (server/audit_journal.h) before they are in the segment
// itself, which is synced when the journal is full, when the segment is closed, and at the end.
// What a power failure takes from the segment the next opening puts back.
class DiskAuditFile final : public AuditFile {
public:
    // Creates folder and files when missing. Puts back what only the journal has, cuts a torn last
    // line, which was never acknowledged, and says so in `log`. Throws failed_precondition naming
    // the file: held by another process, not private, unreadable, shorter than the journal says.
    // `boot_id` is where the system tells which run of the machine this is: within one, lines that
    // were written can't be lost, and a difference from the journal is refused.
    DiskAuditFile(const std::filesystem::path& directory, SegmentLimits limits, base::Log& log,
                  const std::filesystem::path& boot_id = system_boot_id);
    ~DiskAuditFile() override;
    DiskAuditFile(const DiskAuditFile&) = delete;
    DiskAuditFile& operator=(const DiskAuditFile&) = delete;

    // The last whole line as it was at opening, without its end; empty when there was none.
    const std::string& last_line() const { return last_line_; }
    const std::filesystem::path& path() const { return path_; }

    void append(std::string_view lines) override;
    void begin_segment_if_due(std::uint64_t next_sequence, base::Time now) override;

private:
    void read_tail(base::Log& log);
    void read_head();
    void close_segment();
    std::string read_range(std::uint64_t from, std::uint64_t to) const;
    void recover(base::Log& log);
    bool begins_with(std::uint64_t sequence) const;
    std::uint64_t end_of_chain(std::uint64_t from, std::uint64_t to,
                               std::string_view last_line) const;
    void write_at(std::uint64_t at, std::string_view lines) const;
    void make_names_durable();
    void make_durable(std::string_view lines);
    void sync_segment();
    void cut_to_end();

    class Descriptor {
    public:
        Descriptor() = default;
        ~Descriptor();
        Descriptor(const Descriptor&) = delete;
        Descriptor& operator=(const Descriptor&) = delete;
        // Throws failed_precondition naming `path`.
        void open(const std::filesystem::path& path, int flags);
        void take(int value);
        const int& get() const { return value_; }

    private:
        int value_ = -1;
    };

    std::filesystem::path path_;
    Descriptor lock_;
    Descriptor file_;
    Descriptor journal_file_;
    std::optional<base::Uuid> boot_;
    AuditJournal journal_;
    bool rewrite_ = false;   // a sync of the segment failed: what the journal has is written again
    std::uint64_t end_ = 0;  // of the last durable line
    bool longer_than_end_ = false;  // a failed append left bytes behind end_
    bool folder_unsynced_ = false;  // the names of a closed and a begun segment
    std::string last_line_;
    SegmentLimits limits_;
    std::uint64_t first_ =
        0;  // sequence of the first line; 0 when there is none or it is no record
    base::Time begun_;
};

}  // namespace server
