// Loaded into a program before its libraries (LD_PRELOAD), notes each change of files, each sync
// and each answer to a network peer. DISK_RECORD names the file of notes; all programs that are
// started with it share that file, each note is one write at its end, so its order is that of all
// of them. Files on other file systems than that one's are left out, and so are the three standard
// streams. A note, numbers in the machine's order (recorded_disk.py reads them):
//
//    0  4  its length, these 32 bytes included
//    4  4  what happened (enum Note)
//    8  8  inode
//   16  8  a number, see Note
//   24  8  another
//   32     bytes or path
//
// A change is noted when it is done, a sync before it begins and again when it has succeeded: what
// it covers is what was noted before it began. An answer is noted before it is sent.
//
// Streams of stdio write inside the C library, where nothing can be put between: what they hold is
// noted when they are flushed, which suits files smaller than their buffers. Files that are mapped
// are not seen at all. Whether that was all is for the reader to find out: recorded_disk.py
// compares.
//
// The file DISK_RECORD.boot_id, if there is one, is opened in place of the system's boot id: who
// starts the programs on what was left of the disk without it does so "after the machine was
// started anew".
#include <fcntl.h>
#include <stdarg.h>  // NOLINT(modernize-deprecated-headers): for the functions of C below
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <dlfcn.h>
#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

enum class Note : std::uint32_t {
    created = 1,      // number: mode with type; path
    written = 2,      // number: offset, other: 1 when durable at once; bytes
    resized = 3,      // number: size
    mode_set = 4,     // number: mode
    renamed = 5,      // path, NUL, path
    removed = 6,      // path
    sync_begins = 7,  // number: which, other: 1 for the whole file system; path for that
    sync_ends = 8,    // number: which
    answer = 9,       // number: the peer's port
};

struct Head {
    std::uint32_t length;
    Note note;
    std::uint64_t inode;
    std::int64_t number, other;
};
static_assert(sizeof(Head) == 32);

struct Record {
    int file = -1;
    dev_t device = 0;
    std::string boot_id;
};

// Opened when the program is loaded: later it may be forbidden, or look like one of its own files.
const Record& record() {
    static const Record opened = [] {
        Record made;
        const char* path = std::getenv("DISK_RECORD");  // NOLINT(concurrency-mt-unsafe)
        if (path == nullptr) return made;
        made.file = static_cast<int>(
            ::syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC));
        struct stat status {};
        if (made.file < 0 || ::fstat(made.file, &status) != 0) std::abort();
        made.device = status.st_dev;
        made.boot_id = std::string(path) + ".boot_id";
        return made;
    }();
    return opened;
}
[[gnu::constructor]] void open_record() { record(); }

void note(Note what, std::uint64_t inode, std::int64_t number, std::int64_t other = 0,
          std::string_view more = {}) {
    if (record().file < 0) return;
    const int error = errno;
    Head head{static_cast<std::uint32_t>(sizeof(Head) + more.size()), what, inode, number, other};
    const std::array<iovec, 2> parts{
        {{&head, sizeof head}, {const_cast<char*>(more.data()), more.size()}}};
    // A record with holes says nothing.
    if (::syscall(SYS_writev, record().file, parts.data(), parts.size()) !=
        static_cast<long>(head.length)) {
        std::abort();
    }
    errno = error;
}

bool is_recorded(const struct stat& status) {
    return record().file >= 0 && status.st_dev == record().device &&
           (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

// The inode; 0 when the file is none of those that are recorded.
std::uint64_t inode_of(int file) {
    const int error = errno;
    struct stat status {};
    const bool ours = file > STDERR_FILENO && ::fstat(file, &status) == 0 && is_recorded(status);
    errno = error;
    return ours ? status.st_ino : 0;
}

std::string path_of(int file) {
    std::array<char, 4096> path{};
    const std::string link = "/proc/self/fd/" + std::to_string(file);
    const ssize_t size = ::readlink(link.c_str(), path.data(), path.size());
    return {path.data(), size < 0 ? 0 : static_cast<std::size_t>(size)};
}

std::string path_of(int folder, const char* path) {
    if (*path == '/') return path;
    std::array<char, 4096> here{};
    if (folder != AT_FDCWD) return path_of(folder) + "/" + path;
    return std::string(::getcwd(here.data(), here.size()) == nullptr ? "" : here.data()) + "/" +
           path;
}

void note_created(int folder, const char* path) {
    struct stat status {};
    if (::fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) != 0 || !is_recorded(status)) return;
    note(Note::created, status.st_ino, status.st_mode, 0, path_of(folder, path));
}

void note_mode(int folder, const char* path) {
    struct stat status {};
    if (::fstatat(folder, path, &status, 0) != 0 || !is_recorded(status)) return;
    note(Note::mode_set, status.st_ino, status.st_mode);
}

void note_removed(int folder, const char* path) {
    note(Note::removed, 0, 0, 0, path_of(folder, path));
}

void note_renamed(int from_folder, const char* from, int to_folder, const char* to) {
    std::string both = path_of(from_folder, from);
    both.append(1, '\0').append(path_of(to_folder, to));
    note(Note::renamed, 0, 0, 0, both);
}

void note_resized(int file) {
    struct stat status {};
    if (inode_of(file) == 0 || ::fstat(file, &status) != 0) return;
    note(Note::resized, status.st_ino, status.st_size);
}

void note_written(int file, std::int64_t at, std::string_view bytes, bool durable) {
    const std::uint64_t inode = inode_of(file);
    if (inode == 0 || bytes.empty()) return;
    durable = durable || (::fcntl(file, F_GETFL) & O_DSYNC) != 0;
    note(Note::written, inode, at, durable ? 1 : 0, bytes);
}

std::string joined(const iovec* parts, int count, std::size_t size) {
    std::string bytes;
    for (int i = 0; i < count && bytes.size() < size; ++i)
        bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    bytes.resize(size);
    return bytes;
}

// Where the descriptor stands after it wrote that much.
void note_written_there(int file, std::string_view bytes) {
    if (inode_of(file) == 0) return;
    const auto size = static_cast<std::int64_t>(bytes.size());
    note_written(file, ::lseek(file, 0, SEEK_CUR) - size, bytes, false);
}

// getpeername() is nothing that the token worker may call, but its sockets are no network's either.
void note_answer(int file) {
    if (record().file < 0) return;
    const int error = errno;
    int domain = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(file, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_INET) {
        sockaddr_in peer{};
        size = sizeof peer;
        if (::getpeername(file, reinterpret_cast<sockaddr*>(&peer), &size) == 0)
            note(Note::answer, 0, ntohs(peer.sin_port));
    }
    errno = error;
}

// Whether it was made by this call is known from O_EXCL alone.
template <typename Open>
int open_and_note(int folder, const char* path, int flags, Open beneath) {
    int file = -1;
    bool is_new = false;
    if ((flags & O_CREAT) != 0) {
        file = beneath(flags | O_EXCL);
        is_new = file >= 0;
        if (!is_new && (errno != EEXIST || (flags & O_EXCL) != 0)) return file;
    }
    if (!is_new) file = beneath(flags);
    if (file < 0) return file;
    if (is_new) {
        note_created(folder, path);
    } else if ((flags & O_TRUNC) != 0) {
        note_resized(file);
    }
    return file;
}

template <typename Sync>
int sync_and_note(int file, bool whole, Sync beneath) {
    static std::atomic<std::int64_t> count{0};
    const std::uint64_t inode = inode_of(file);
    if (inode == 0) return beneath(file);
    constexpr unsigned process_bits = 32;
    const std::int64_t which = static_cast<std::int64_t>(::getpid()) << process_bits | ++count;
    note(Note::sync_begins, inode, which, whole ? 1 : 0, whole ? path_of(file) : std::string());
    const int result = beneath(file);
    if (result == 0) note(Note::sync_ends, inode, which);
    return result;
}

// What the stream is about to write, and where.
struct Pending {
    explicit Pending(FILE* stream)
        : file(::fileno(stream)),
          bytes(stream->_IO_write_base,
                static_cast<std::size_t>(stream->_IO_write_ptr - stream->_IO_write_base)) {
        if (bytes.empty() || inode_of(file) == 0) return;
        at = ::lseek(file, 0, SEEK_CUR) + (stream->_IO_write_base - stream->_IO_read_end);
    }
    int file;
    std::int64_t at = -1;
    std::string bytes;
};

// A stream that is opened to write.
template <typename Open>
FILE* open_stream_and_note(const char* path, const char* mode, Open beneath) {
    if (record().file < 0) return beneath(path, mode);
    constexpr std::string_view boot_id = "/proc/sys/kernel/random/boot_id";
    const std::string& other = record().boot_id;
    if (path == boot_id && ::access(other.c_str(), R_OK) == 0) return beneath(other.c_str(), mode);
    const bool was_there = ::access(path, F_OK) == 0;
    FILE* const stream = beneath(path, mode);
    if (stream == nullptr || std::strpbrk(mode, "wa") == nullptr) return stream;
    if (!was_there) {
        note_created(AT_FDCWD, path);
    } else if (std::strchr(mode, 'w') != nullptr) {
        note_resized(::fileno(stream));
    }
    return stream;
}

mode_t mode_in(va_list& arguments, int flags) {
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

template <typename Function>
Function* real(Function* /*type*/, const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// The function of the library beneath.
#define BENEATH(name) static auto* const beneath = real(&(name), #name)

int flush_and_note(FILE* stream) {
    BENEATH(fflush);
    if (stream == nullptr || record().file < 0) return beneath(stream);
    const Pending pending(stream);
    const int result = beneath(stream);
    if (result == 0 && pending.at >= 0)
        note_written(pending.file, pending.at, pending.bytes, false);
    return result;
}

}  // namespace

// The call beneath, and the note of it when it succeeded.
#define NOTED(name, arguments, noting)           \
    do {                                         \
        BENEATH(name);                           \
        const auto result = beneath arguments;   \
        if (record().file >= 0 && result >= 0) { \
            noting;                              \
        }                                        \
        return result;                           \
    } while (false)

#define OPEN(name)                                                               \
    int name(const char* path, int flags, ...) {                                 \
        BENEATH(name);                                                           \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        const mode_t mode = mode_in(more, flags);                                \
        va_end(more);                                                            \
        return open_and_note(AT_FDCWD, path, flags,                              \
                             [&](int how) { return beneath(path, how, mode); }); \
    }
#define OPENAT(name)                                                                     \
    int name(int folder, const char* path, int flags, ...) {                             \
        BENEATH(name);                                                                   \
        va_list more;                                                                    \
        va_start(more, flags);                                                           \
        const mode_t mode = mode_in(more, flags);                                        \
        va_end(more);                                                                    \
        return open_and_note(folder, path, flags,                                        \
                             [&](int how) { return beneath(folder, path, how, mode); }); \
    }

#define PWRITEV(name, offset)                                                                    \
    ssize_t name(int file, const iovec* parts, int count, offset at) {                           \
        NOTED(name, (file, parts, count, at),                                                    \
              note_written(file, at, joined(parts, count, static_cast<size_t>(result)), false)); \
    }
#define PWRITEV2(name, offset)                                                          \
    ssize_t name(int file, const iovec* parts, int count, offset at, int flags) {       \
        NOTED(name, (file, parts, count, at, flags),                                    \
              note_written(file, at, joined(parts, count, static_cast<size_t>(result)), \
                           (flags & (RWF_DSYNC | RWF_SYNC)) != 0));                     \
    }

extern "C" {

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

FILE* fopen(const char* path, const char* mode) {
    BENEATH(fopen);
    return open_stream_and_note(path, mode, beneath);
}
FILE* fopen64(const char* path, const char* mode) {
    BENEATH(fopen64);
    return open_stream_and_note(path, mode, beneath);
}
int fflush(FILE* stream) { return flush_and_note(stream); }
int fclose(FILE* stream) {
    BENEATH(fclose);
    if (record().file >= 0) flush_and_note(stream);
    return beneath(stream);
}
int fseek(FILE* stream, long offset, int from) {
    BENEATH(fseek);
    if (record().file >= 0) flush_and_note(stream);
    return beneath(stream, offset, from);
}

ssize_t write(int file, const void* bytes, size_t size) {
    note_answer(file);
    NOTED(write, (file, bytes, size),
          note_written_there(file, {static_cast<const char*>(bytes), static_cast<size_t>(result)}));
}
ssize_t writev(int file, const iovec* parts, int count) {
    note_answer(file);
    NOTED(writev, (file, parts, count),
          note_written_there(file, joined(parts, count, static_cast<size_t>(result))));
}
ssize_t pwrite(int file, const void* bytes, size_t size, off_t at) {
    NOTED(pwrite, (file, bytes, size, at),
          note_written(file, at, {static_cast<const char*>(bytes), static_cast<size_t>(result)},
                       false));
}
ssize_t pwrite64(int file, const void* bytes, size_t size, off64_t at) {
    NOTED(pwrite64, (file, bytes, size, at),
          note_written(file, at, {static_cast<const char*>(bytes), static_cast<size_t>(result)},
                       false));
}
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)
ssize_t send(int file, const void* bytes, size_t size, int flags) {
    BENEATH(send);
    note_answer(file);
    return beneath(file, bytes, size, flags);
}
ssize_t sendmsg(int file, const msghdr* message, int flags) {
    BENEATH(sendmsg);
    note_answer(file);
    return beneath(file, message, flags);
}

int ftruncate(int file, off_t size) { NOTED(ftruncate, (file, size), note_resized(file)); }
int ftruncate64(int file, off64_t size) { NOTED(ftruncate64, (file, size), note_resized(file)); }
int fchmod(int file, mode_t mode) {
    NOTED(fchmod, (file, mode), note(Note::mode_set, inode_of(file), mode));
}
int chmod(const char* path, mode_t mode) { NOTED(chmod, (path, mode), note_mode(AT_FDCWD, path)); }
int fchmodat(int folder, const char* path, mode_t mode, int flags) {
    NOTED(fchmodat, (folder, path, mode, flags), note_mode(folder, path));
}

int mkdir(const char* path, mode_t mode) {
    NOTED(mkdir, (path, mode), note_created(AT_FDCWD, path));
}
int mkdirat(int folder, const char* path, mode_t mode) {
    NOTED(mkdirat, (folder, path, mode), note_created(folder, path));
}
int rename(const char* from, const char* to) {
    NOTED(rename, (from, to), note_renamed(AT_FDCWD, from, AT_FDCWD, to));
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) {
    NOTED(renameat, (from_folder, from, to_folder, to),
          note_renamed(from_folder, from, to_folder, to));
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
    NOTED(renameat2, (from_folder, from, to_folder, to, flags),
          note_renamed(from_folder, from, to_folder, to));
}
int unlink(const char* path) { NOTED(unlink, (path), note_removed(AT_FDCWD, path)); }
int unlinkat(int folder, const char* path, int flags) {
    NOTED(unlinkat, (folder, path, flags), note_removed(folder, path));
}
int remove(const char* path) { NOTED(remove, (path), note_removed(AT_FDCWD, path)); }
int rmdir(const char* path) { NOTED(rmdir, (path), note_removed(AT_FDCWD, path)); }

int fsync(int file) {
    BENEATH(fsync);
    return sync_and_note(file, false, beneath);
}
int fdatasync(int file) {
    BENEATH(fdatasync);
    return sync_and_note(file, false, beneath);
}
int syncfs(int file) {
    BENEATH(syncfs);
    return sync_and_note(file, true, beneath);
}

}  // extern "C"
