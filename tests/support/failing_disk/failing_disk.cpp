// Loaded into a program before its libraries (LD_PRELOAD), makes chosen calls fail that change
// files, as a full or broken disk does. The file that FAILING_DISK names says which and counts
// them:
//
//    0  4  the first that fails, counted from 1; 0: none
//    4  4  the last that fails
//    8  4  with this errno
//   12  4  how many there were
//   16  4  only calls of this name are counted (its place in the table, from 1); 0: all
//   20  4  what the first that fails does nonetheless, if it writes bytes (enum Part)
//   32     the table: the name of a call (24 bytes), how many were made (4), how many failed (4);
//          the program writes the names, an empty one ends them
//
// Numbers in the machine's order. From the first that fails to the last all calls do, of whatever
// name. What goes to sockets, pipes, terminals and the three standard streams is left alone, and so
// is what changes nothing: a flush of nothing, an open of what is there.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>  // NOLINT(modernize-deprecated-headers): for the functions of C below
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr std::array<std::string_view, 32> names{
    "write",       "writev",      "pwrite",  "pwrite64", "pwritev", "pwritev64", "pwritev2",
    "pwritev64v2", "fflush",      "fclose",  "fseek",    "fsync",   "fdatasync", "syncfs",
    "ftruncate",   "ftruncate64", "fchmod",  "chmod",    "open",    "open64",    "openat",
    "openat64",    "fopen",       "fopen64", "mkdir",    "rename",  "renameat",  "renameat2",
    "unlink",      "unlinkat",    "remove",  "rmdir"};

constexpr std::size_t place_of(std::string_view name) {
    std::size_t place = 0;
    while (names.at(place) != name) ++place;  // at(): none but these compile
    return place;
}

enum class Part : std::uint32_t {
    none = 0,
    half = 1,
    half_and_said = 2,  // with the count of these bytes, as a short write does
};

struct Call {
    std::array<char, 24> name;
    std::atomic<std::uint32_t> made, failed;
};
static_assert(sizeof(Call) == 32);

struct Orders {
    std::atomic<std::uint32_t> first, last, error, count, only;
    std::atomic<Part> part;
    std::array<std::uint32_t, 2> unused;
    std::array<Call, names.size()> calls;
};
static_assert(offsetof(Orders, calls) == 32);

Orders* orders() {
    static Orders* const mapped = [] {
        const char* path = std::getenv("FAILING_DISK");  // NOLINT(concurrency-mt-unsafe)
        const int file =
            path == nullptr
                ? -1
                : static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC));
        if (file < 0) return static_cast<Orders*>(nullptr);
        void* const at =
            ::mmap(nullptr, sizeof(Orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        ::close(file);
        if (at == MAP_FAILED) return static_cast<Orders*>(nullptr);
        auto* const made = static_cast<Orders*>(at);
        for (std::size_t i = 0; i < names.size(); ++i)
            names.at(i).copy(made->calls.at(i).name.data(), names.at(i).size());
        return made;
    }();
    return mapped;
}
[[gnu::constructor]] void open_orders() { orders(); }

bool is_of_a_file(int descriptor) {
    struct stat status {};
    return descriptor > STDERR_FILENO && ::fstat(descriptor, &status) == 0 &&
           (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

enum class Fate { done, fails, half, half_and_said };

// Counts the call; errno is set when it is to fail.
Fate fate_of(std::size_t place) {
    Orders* const told = orders();
    if (told == nullptr) return Fate::done;
    ++told->calls.at(place).made;
    const std::uint32_t first = told->first;
    if (first == 0) return Fate::done;
    const bool counts = told->only == 0 || told->only == place + 1;
    const std::uint32_t number = counts ? ++told->count : told->count.load();
    const bool is_first = counts && number == first;
    // Those that are not counted fail behind the first, up to the last.
    if (number < first || number > told->last || (!counts && number == told->last))
        return Fate::done;
    ++told->calls.at(place).failed;
    errno = static_cast<int>(told->error.load());
    const Part part = is_first ? told->part.load() : Part::none;
    if (part == Part::none) return Fate::fails;
    return part == Part::half ? Fate::half : Fate::half_and_said;
}

bool fails(std::size_t place) { return fate_of(place) != Fate::done; }

// Disks write whole sectors.
std::size_t half_of(std::size_t bytes) {
    constexpr std::size_t sector = 512;
    const std::size_t half = bytes / 2;
    return half < sector ? half : half / sector * sector;
}

// `write_half` writes so many of the bytes.
template <typename Write>
ssize_t write_in_part(Fate fate, std::size_t bytes, Write write_half) {
    const int error = errno;
    const std::size_t half = half_of(bytes);
    if (fate != Fate::fails && half > 0) {
        const ssize_t written = write_half(half);
        if (written > 0 && fate == Fate::half_and_said) return written;
    }
    errno = error;
    return -1;
}

std::size_t size_of(const iovec* parts, int count) {
    std::size_t size = 0;
    for (int i = 0; i < count; ++i) size += parts[i].iov_len;
    return size;
}

std::vector<iovec> begin_of(const iovec* parts, int count, std::size_t size) {
    std::vector<iovec> some(parts, parts + count);
    for (iovec& part : some) {
        part.iov_len = std::min(part.iov_len, size);
        size -= part.iov_len;
    }
    return some;
}

// Whether the stream is about to write into a file.
bool is_pending(FILE* stream) {
    return stream != nullptr && stream->_IO_write_ptr > stream->_IO_write_base &&
           is_of_a_file(::fileno(stream));
}

// What a stream has gathered is lost with the call that would have written it; true when this one
// is to fail.
bool stream_fails(FILE* stream, std::size_t place) {
    if (!is_pending(stream)) return false;
    const Fate fate = fate_of(place);
    if (fate == Fate::done) return false;
    const auto size = static_cast<std::size_t>(stream->_IO_write_ptr - stream->_IO_write_base);
    write_in_part(fate == Fate::fails ? fate : Fate::half, size, [&](std::size_t half) {
        const int file = ::fileno(stream);
        const off_t at =
            ::lseek(file, 0, SEEK_CUR) + (stream->_IO_write_base - stream->_IO_read_end);
        return static_cast<ssize_t>(
            ::syscall(SYS_pwrite64, file, stream->_IO_write_base, half, at));
    });
    ::__fpurge(stream);
    return true;
}

// Whether that open makes a file or cuts one.
bool changes(int folder, const char* path, int flags) {
    if ((flags & (O_CREAT | O_TRUNC)) == 0) return false;
    const int error = errno;
    struct stat status {};
    const bool is_there = ::fstatat(folder, path, &status, 0) == 0;
    errno = error;
    if (!is_there) return (flags & O_CREAT) != 0;
    return (flags & O_TRUNC) != 0 && (flags & O_EXCL) == 0 && S_ISREG(status.st_mode);
}

int flags_of(const char* mode) {
    if (std::strchr(mode, 'w') != nullptr) return O_CREAT | O_TRUNC;
    return std::strchr(mode, 'a') != nullptr ? O_CREAT : 0;
}

mode_t mode_in(va_list& arguments, int flags) {
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

template <typename Function>
Function* real(Function* /*type*/, const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// The call of the library beneath, and its place in the table.
#define BENEATH(name)                                  \
    static auto* const beneath = real(&(name), #name); \
    constexpr std::size_t place = place_of(#name)

// The call beneath, unless it is to fail.
#define CALL(name, condition, ...)                  \
    do {                                            \
        BENEATH(name);                              \
        if ((condition) && fails(place)) return -1; \
        return beneath(__VA_ARGS__);                \
    } while (false)

// The same for one that writes bytes: `...` is the call that writes `half` of them.
#define WRITE(name, size, whole, ...)                                             \
    do {                                                                          \
        BENEATH(name);                                                            \
        const Fate fate = is_of_a_file(file) ? fate_of(place) : Fate::done;       \
        if (fate == Fate::done) return beneath whole;                             \
        return write_in_part(fate, size, [&](std::size_t half) { __VA_ARGS__; }); \
    } while (false)

#define PWRITEV(name, offset)                                                        \
    ssize_t name(int file, const iovec* parts, int count, offset at) {               \
        WRITE(name, size_of(parts, count), (file, parts, count, at),                 \
              return beneath(file, begin_of(parts, count, half).data(), count, at)); \
    }
#define PWRITEV2(name, offset)                                                              \
    ssize_t name(int file, const iovec* parts, int count, offset at, int flags) {           \
        WRITE(name, size_of(parts, count), (file, parts, count, at, flags),                 \
              return beneath(file, begin_of(parts, count, half).data(), count, at, flags)); \
    }
#define OPEN(name)                                                     \
    int name(const char* path, int flags, ...) {                       \
        va_list more;                                                  \
        va_start(more, flags);                                         \
        const mode_t mode = mode_in(more, flags);                      \
        va_end(more);                                                  \
        CALL(name, changes(AT_FDCWD, path, flags), path, flags, mode); \
    }
#define OPENAT(name)                                                         \
    int name(int folder, const char* path, int flags, ...) {                 \
        va_list more;                                                        \
        va_start(more, flags);                                               \
        const mode_t mode = mode_in(more, flags);                            \
        va_end(more);                                                        \
        CALL(name, changes(folder, path, flags), folder, path, flags, mode); \
    }
#define FOPEN(name)                                                                  \
    FILE* name(const char* path, const char* mode) {                                 \
        BENEATH(name);                                                               \
        if (changes(AT_FDCWD, path, flags_of(mode)) && fails(place)) return nullptr; \
        return beneath(path, mode);                                                  \
    }

extern "C" {

ssize_t write(int file, const void* bytes, size_t size) {
    WRITE(write, size, (file, bytes, size), return beneath(file, bytes, half));
}
ssize_t writev(int file, const iovec* parts, int count) {
    WRITE(writev, size_of(parts, count), (file, parts, count),
          return beneath(file, begin_of(parts, count, half).data(), count));
}
ssize_t pwrite(int file, const void* bytes, size_t size, off_t at) {
    WRITE(pwrite, size, (file, bytes, size, at), return beneath(file, bytes, half, at));
}
ssize_t pwrite64(int file, const void* bytes, size_t size, off64_t at) {
    WRITE(pwrite64, size, (file, bytes, size, at), return beneath(file, bytes, half, at));
}
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)

int fflush(FILE* stream) {
    BENEATH(fflush);
    return stream_fails(stream, place) ? EOF : beneath(stream);
}
int fclose(FILE* stream) {
    BENEATH(fclose);
    if (!stream_fails(stream, place)) return beneath(stream);
    const int error = errno;
    beneath(stream);
    errno = error;
    return EOF;
}
int fseek(FILE* stream, long offset, int from) {
    BENEATH(fseek);
    return stream_fails(stream, place) ? -1 : beneath(stream, offset, from);
}

int fsync(int file) { CALL(fsync, is_of_a_file(file), file); }
int fdatasync(int file) { CALL(fdatasync, is_of_a_file(file), file); }
int syncfs(int file) { CALL(syncfs, true, file); }
int ftruncate(int file, off_t size) { CALL(ftruncate, is_of_a_file(file), file, size); }
int ftruncate64(int file, off64_t size) { CALL(ftruncate64, is_of_a_file(file), file, size); }
int fchmod(int file, mode_t mode) { CALL(fchmod, is_of_a_file(file), file, mode); }
int chmod(const char* path, mode_t mode) { CALL(chmod, true, path, mode); }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

int mkdir(const char* path, mode_t mode) { CALL(mkdir, true, path, mode); }
int rename(const char* from, const char* to) { CALL(rename, true, from, to); }
int renameat(int from_folder, const char* from, int to_folder, const char* to) {
    CALL(renameat, true, from_folder, from, to_folder, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
    CALL(renameat2, true, from_folder, from, to_folder, to, flags);
}
int unlink(const char* path) { CALL(unlink, true, path); }
int unlinkat(int folder, const char* path, int flags) { CALL(unlinkat, true, folder, path, flags); }
int remove(const char* path) { CALL(remove, true, path); }
int rmdir(const char* path) { CALL(rmdir, true, path); }

}  // extern "C"
