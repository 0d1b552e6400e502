#include "server/audit_journal.h"

#include <fcntl.h>
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

std::size_t blocks_for(std::uint64_t bytes) {
    return (bytes + AuditJournal::block_bytes - 1) / AuditJournal::block_bytes;
}

std::string_view text_of(const Sha256::Digest& digest) {
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

void set_direct(int file, bool direct) {
    const int flags = ::fcntl(file, F_GETFL);
    if (flags >= 0)  // where that can't be, the writes go through the cache
        static_cast<void>(::fcntl(file, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT));
}

bool is_direct(int file) {
    const int flags = ::fcntl(file, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) != 0;
}

// In place and durable. A short write is a failure: the next frame overwrites it.
void write_durably(int file, std::string_view bytes, std::uint64_t at) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: it is only read
    ssize_t written = -1;
    bool may_be_direct = true;
    do {
        written = ::pwritev2(file, &part, 1, static_cast<off_t>(at), RWF_DSYNC);
        // Some file systems take O_DIRECT and refuse the writes, or want larger blocks.
        if (written < 0 && errno == EINVAL && may_be_direct && is_direct(file)) {
            set_direct(file, false);
            may_be_direct = false;
            errno = EINTR;
        }
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
    set_direct(file_, false);  // which wants aligned reads, too
    is_prepared_ = false;
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
    const std::uint64_t before = end_ % block_bytes;  // bytes of the block that the frame begins in
    const std::uint64_t filled = before + frame_.size();
    blocks_.resize(blocks_for(filled));
    char* const bytes = blocks_.data()->data();
    frame_.copy(bytes + before, frame_.size());
    std::fill(bytes + filled, bytes + blocks_.size() * block_bytes, '\0');
    write_blocks(end_ - before);
    end_ += frame_.size();
    if (filled / block_bytes < blocks_.size()) blocks_.front() = blocks_[filled / block_bytes];
}

void AuditJournal::clear() {
    struct stat status {};
    if (::fstat(file_, &status) != 0) journal_fails("read");
    const auto size = std::min(static_cast<std::uint64_t>(status.st_size), capacity_bytes);
    end_ = 0;  // nothing of the block that it is in will be there
    blocks_.assign(blocks_for(std::max(size, frame_extra_bytes)), Block{});
    write_blocks(0);
    blocks_.resize(1);
    blocks_.shrink_to_fit();
}

// A write through the page cache takes half as much of a processor again.
void AuditJournal::write_blocks(std::uint64_t at) {
    if (!is_prepared_) set_direct(file_, true);
    is_prepared_ = true;
    write_durably(file_, {blocks_.data()->data(), blocks_.size() * block_bytes}, at);
}

}  // namespace server
