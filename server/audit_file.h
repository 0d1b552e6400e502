// The file under the audit log. It keeps lines whole and durable; what they say is audit_record's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/log.h"

namespace server {

// A seam, so that tests can have a disk that fails or hangs. Used by one thread at a time.
class AuditFile {
public:
    virtual ~AuditFile() = default;

    // Adds `lines` (each with its line end) and returns when they are on stable storage. Throws
    // unavailable when they are not; then none of them stays in the file: what was written in part
    // is cut off at once or, when that fails too, before the next append.
    virtual void append(std::string_view lines) = 0;
};

// `audit.jsonl` (mode 0600) in a folder of mode 0700, locked by `audit.lock` against a second
// writer for as long as this lives.
class DiskAuditFile final : public AuditFile {
public:
    // Creates folder and file when missing. Cuts a torn last line, which was never acknowledged,
    // and says so in `log`. Throws failed_precondition naming the file: held by another process,
    // not private, unreadable.
    DiskAuditFile(const std::filesystem::path& directory, base::Log& log);
    ~DiskAuditFile() override;
    DiskAuditFile(const DiskAuditFile&) = delete;
    DiskAuditFile& operator=(const DiskAuditFile&) = delete;

    // The last whole line as it was at opening, without its end; empty when there was none.
    const std::string& last_line() const { return last_line_; }
    const std::filesystem::path& path() const { return path_; }

    void append(std::string_view lines) override;

private:
    void read_tail(base::Log& log);
    std::string read_range(std::uint64_t from, std::uint64_t to) const;
    void write_at_end(std::string_view lines) const;
    void cut_to_end();

    class Descriptor {
    public:
        Descriptor() = default;
        ~Descriptor();
        Descriptor(const Descriptor&) = delete;
        Descriptor& operator=(const Descriptor&) = delete;
        // Throws failed_precondition naming `path`.
        void open(const std::filesystem::path& path, int flags);
        int get() const { return value_; }

    private:
        int value_ = -1;
    };

    std::filesystem::path path_;
    Descriptor lock_;
    Descriptor file_;
    std::uint64_t end_ = 0;         // of the last durable line
    bool longer_than_end_ = false;  // a failed append left bytes behind end_
    std::string last_line_;
};

}  // namespace server
