#include "kms/token_worker_filter.h"

#include <sched.h>
#include <seccomp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>

#include "base/error.h"

namespace kms {
namespace {

constexpr auto softhsm_needs = std::to_array<const char*>({
    // memory
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "mlock",
    "mlock2",
    "munlock",
    // threads (begun as allow_threads says) and signals
    "exit",
    "exit_group",
    "futex",
    "gettid",
    "getpid",
    "getppid",
    "rseq",
    "set_robust_list",
    "set_tid_address",
    "arch_prctl",
    "sched_yield",
    "sched_getaffinity",
    "sigaltstack",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "tgkill",
    "restart_syscall",
    "membarrier",
    // files
    "open",
    "openat",
    "close",
    "close_range",
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "pwrite64",
    "lseek",
    "fcntl",
    "flock",
    "dup",
    "dup2",
    "dup3",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    "ftruncate",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "chmod",
    "fchmod",
    "fchmodat",
    "umask",
    "ioctl",
    "copy_file_range",
    "sendfile",
    // the sockets that are open, and pairs for the read-back program
    "recvmsg",
    "recvfrom",
    "sendmsg",
    "sendto",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "socketpair",
    "poll",
    "ppoll",
    // time, chance, and who we are
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "getrandom",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "uname",
    "sysinfo",
    "getrlimit",
    "setrlimit",
    "prlimit64",
    "getrusage",
    "prctl",
    // to run the read-back program
    "execve",
    "wait4",
    "kill",
    "pidfd_open",
    "mlockall",
});

constexpr auto no_module_needs = std::to_array<const char*>({
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "add_key",
    "request_key",
    "keyctl",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsmount",
    "unshare",
    "setns",
    "swapon",
    "swapoff",
    "reboot",
    "acct",
    "quotactl",
    "syslog",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "iopl",
    "ioperm",
    "open_by_handle_at",
    "personality",
});

constexpr std::uint32_t refuse = SCMP_ACT_ERRNO(EPERM);

[[noreturn]] void refused_filter(const char* doing, int result) {
    throw base::Error(base::ErrorCode::unavailable,
                      "the system refused to restrict the token worker's system calls",
                      std::string(doing) + ": " + std::strerror(-result));
}

class Filter {
public:
    explicit Filter(std::uint32_t otherwise)
        : context_(::seccomp_init(otherwise), seccomp_release) {
        if (!context_) refused_filter("seccomp_init", -ENOMEM);
        // Threads that the module has started are bound, too.
        const int result = ::seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_TSYNC, 1);
        if (result != 0) refused_filter("seccomp_attr_set", result);
    }

    // Names that this machine's kernel or library does not know are left out.
    void add(std::uint32_t action, std::span<const char* const> names) {
        for (const char* name : names) {
            const int number = ::seccomp_syscall_resolve_name(name);
            if (number == __NR_SCMP_ERROR) continue;
            const int result = ::seccomp_rule_add(context_.get(), action, number, 0);
            if (result != 0 && result != -EDOM) refused_filter(name, result);
        }
    }

    // New threads, and a child that shares the memory until it runs another program (posix_spawn);
    // a fork would copy PIN and module, and a process of another kind would keep them. What clone3
    // is asked for lies in memory, where no filter can look: where it is unknown, the C library
    // asks clone.
    void allow_threads(std::uint32_t otherwise) {
        constexpr std::uint64_t thread = CLONE_THREAD;
        constexpr std::uint64_t spawned = CLONE_VFORK;
        constexpr std::uint64_t kinds = CLONE_VM | thread | spawned;
        constexpr std::uint64_t spaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                                         CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
        if (otherwise == refuse) {
            for (const std::uint64_t kind : {thread, spawned})
                add_clone(SCMP_ACT_ALLOW, CLONE_VM | kind | spaces, CLONE_VM | kind);
        } else {
            add_clone(refuse, CLONE_VM, 0);
            add_clone(refuse, kinds, CLONE_VM);
            for (std::uint64_t bit = 1; bit <= spaces; bit <<= 1U) {
                if ((spaces & bit) != 0) add_clone(refuse, bit, bit);
            }
            add(refuse, std::array{"fork"});
        }
        constexpr std::uint32_t unknown = SCMP_ACT_ERRNO(ENOSYS);
        add(unknown, std::array{"clone3"});
    }

    void load() {
        const int result = ::seccomp_load(context_.get());
        if (result != 0) refused_filter("seccomp_load", result);
    }

private:
    // For calls whose flags are `value` as far as `mask` goes.
    void add_clone(std::uint32_t action, std::uint64_t mask, std::uint64_t value) {
        const scmp_arg_cmp flags{0, SCMP_CMP_MASKED_EQ, mask, value};
        const int result =
            ::seccomp_rule_add_array(context_.get(), action, SCMP_SYS(clone), 1, &flags);
        if (result != 0) refused_filter("clone", result);
    }

    std::unique_ptr<void, decltype(&seccomp_release)> context_;
};

}  // namespace

void restrict_system_calls(const hsm::TokenInfo& token) {
    const std::uint32_t otherwise = token.is_softhsm ? refuse : SCMP_ACT_ALLOW;
    Filter filter(otherwise);
    filter.allow_threads(otherwise);
    if (token.is_softhsm) {
        filter.add(SCMP_ACT_ALLOW, softhsm_needs);
    } else {
        filter.add(refuse, no_module_needs);
    }
    filter.load();
}

}  // namespace kms
