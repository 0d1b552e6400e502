#include "server/audit_journal.h"

#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace server {
namespace {

constexpr std::string_view frame_magic{"SRjrnl\0\1", 8};
constexpr std::size_t frame_head_bytes = 48;
constexpr std::size_t frame_digest_bytes = 32;
constexpr std::uint64_t frame_extra_bytes = frame_head_bytes + frame_digest_bytes;

[[noreturn]] void journal_fails(const char* what) {
    const int error = errno;
    throw base::Error(base::ErrorCode::unavailable, "the audit log can't be written",
                      std::string(what) + " the journal: " + std::strerror(error));
}

void append_number(std::string& out, std::uint64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xFFU);
}

std::uint64_t number_at(std::string_view text, std::size_t at) {
    std::uint64_t value = 0;
    for (const char c : text.substr(at, 8)) value = value << 8U | static_cast<unsigned char>(c);
    return value;
}

std::string_view text_of(const Sha256::Digest& digest) {
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

// In place and durable. A short write is a failure: the next frame overwrites it.
void write_durably(int file, std::string_view bytes, std::uint64_t at) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: it is only read
    ssize_t written = -1;
    do {
        written = ::pwritev2(file, &part, 1, static_cast<off_t>(at), RWF_DSYNC);
    } while (written < 0 && errno == EINTR);
    if (written < 0) journal_fails("write");
    if (static_cast<std::size_t>(written) == bytes.size()) return;
    errno = ENOSPC;
    journal_fails("write");
}

std::string read_begin(int file, std::uint64_t up_to) {
    struct stat status {};
    if (::fstat(file, &status) != 0) journal_fails("read");
    std::string text(std::min<std::uint64_t>(static_cast<std::uint64_t>(status.st_size), up_to),
                     '\0');
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t got =
            ::pread(file, text.data() + done, text.size() - done, static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) journal_fails("read");
        if (got == 0) break;
        done += static_cast<std::size_t>(got);
    }
    text.resize(done);
    return text;
}

}  // namespace

std::optional<AuditJournal::Kept> AuditJournal::read(std::uint64_t up_to) const {
    const std::string text = read_begin(file_, up_to);
    std::string_view rest = text;
    std::optional<Kept> kept;
    while (rest.size() >= frame_extra_bytes && rest.starts_with(frame_magic)) {
        const std::uint64_t segment = number_at(rest, 24);
        const std::uint64_t offset = number_at(rest, 32);
        const std::uint64_t length = number_at(rest, 40);
        if (length == 0 || length > rest.size() - frame_extra_bytes) break;
        const std::string_view framed = rest.substr(0, frame_head_bytes + length);
        const std::string_view digest = rest.substr(framed.size(), frame_digest_bytes);
        if (text_of(sha256_.digest(framed)) != digest) break;
        if (!kept) kept = Kept{{}, segment, offset, {}};
        if (segment != kept->segment || offset != kept->offset + kept->lines.size()) break;
        kept->boot = base::Uuid::from_bytes(base::as_bytes(rest.substr(8, base::Uuid::size)));
        kept->lines += framed.substr(frame_head_bytes);
        rest.remove_prefix(framed.size() + frame_digest_bytes);
    }
    return kept;
}

bool AuditJournal::has_room_for(std::uint64_t bytes) const {
    return end_ + bytes + frame_extra_bytes <= capacity_bytes;
}

void AuditJournal::add(std::uint64_t segment, std::uint64_t offset, std::string_view lines) {
    frame_.assign(frame_magic);
    frame_ += base::as_text(boot_.bytes());
    append_number(frame_, segment);
    append_number(frame_, offset);
    append_number(frame_, lines.size());
    frame_ += lines;
    const Sha256::Digest digest = sha256_.digest(frame_);
    frame_ += text_of(digest);
    write_durably(file_, frame_, end_);
    end_ += frame_.size();
}

void AuditJournal::clear() {
    struct stat status {};
    if (::fstat(file_, &status) != 0) journal_fails("read");
    const auto size = std::min(static_cast<std::uint64_t>(status.st_size), capacity_bytes);
    write_durably(file_, std::string(std::max(size, frame_extra_bytes), '\0'), 0);
    end_ = 0;
}

}  // namespace server
