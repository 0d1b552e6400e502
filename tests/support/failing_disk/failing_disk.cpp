// Loaded into a program before its libraries (LD_PRELOAD), makes chosen calls fail that write to
// files, as a full or broken disk does. The file that FAILING_DISK names says which and counts
// them:
//
//    0  4  the first that fails, counted from 1; 0: none
//    4  4  the last that fails
//    8  4  with this errno
//   12  4  how many there were
//
// Numbers in the machine's order. What goes to sockets, pipes, terminals and the three standard
// streams is left alone.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

struct Orders {
    std::atomic<std::uint32_t> first, last, error, count;
};

Orders* orders() {
    static Orders* const mapped = [] {
        const char* path = std::getenv("FAILING_DISK");  // NOLINT(concurrency-mt-unsafe)
        const int file = path == nullptr ? -1 : ::open(path, O_RDWR | O_CLOEXEC);
        if (file < 0) return static_cast<Orders*>(nullptr);
        void* const at =
            ::mmap(nullptr, sizeof(Orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        ::close(file);
        return at == MAP_FAILED ? nullptr : static_cast<Orders*>(at);
    }();
    return mapped;
}

bool is_of_a_file(int descriptor) {
    struct stat status {};
    return descriptor > STDERR_FILENO && ::fstat(descriptor, &status) == 0 &&
           (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
}

// Counts the call; errno is set when it is to fail.
bool fails() {
    Orders* const told = orders();
    if (told == nullptr || told->first == 0) return false;
    const std::uint32_t number = ++told->count;
    if (number < told->first || number > told->last) return false;
    errno = static_cast<int>(told->error.load());
    return true;
}

template <typename Function>
Function* real(Function* /*type*/, const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// The call of the library beneath, unless it is to fail.
#define CALL(name, failure, condition, ...)                \
    do {                                                   \
        static auto* const beneath = real(&(name), #name); \
        if ((condition) && fails()) return failure;        \
        return beneath(__VA_ARGS__);                       \
    } while (false)

extern "C" {

ssize_t write(int file, const void* bytes, size_t size) {
    CALL(write, -1, is_of_a_file(file), file, bytes, size);
}
ssize_t writev(int file, const iovec* parts, int count) {
    CALL(writev, -1, is_of_a_file(file), file, parts, count);
}
ssize_t pwrite(int file, const void* bytes, size_t size, off_t at) {
    CALL(pwrite, -1, is_of_a_file(file), file, bytes, size, at);
}
ssize_t pwrite64(int file, const void* bytes, size_t size, off64_t at) {
    CALL(pwrite64, -1, is_of_a_file(file), file, bytes, size, at);
}
int fsync(int file) { CALL(fsync, -1, is_of_a_file(file), file); }
int fdatasync(int file) { CALL(fdatasync, -1, is_of_a_file(file), file); }
int syncfs(int file) { CALL(syncfs, -1, true, file); }
int ftruncate(int file, off_t size) { CALL(ftruncate, -1, is_of_a_file(file), file, size); }
int ftruncate64(int file, off64_t size) { CALL(ftruncate64, -1, is_of_a_file(file), file, size); }
// What a stream has gathered is lost with the call that would have written it.
int fflush(FILE* stream) {
    static auto* const beneath = real(&fflush, "fflush");
    if (stream == nullptr || !is_of_a_file(::fileno(stream)) || !fails()) return beneath(stream);
    ::__fpurge(stream);
    return EOF;
}
int rename(const char* from, const char* to) { CALL(rename, -1, true, from, to); }
int unlink(const char* path) { CALL(unlink, -1, true, path); }

}  // extern "C"
