#include "hsm/child_process.h"

#include <poll.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): POSIX names
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"

namespace hsm {
namespace {

constexpr std::chrono::milliseconds last_wait{1000};

[[noreturn]] void not_started(const std::string& what, int error) {
    throw base::Error(base::ErrorCode::unavailable, "a program beside this one can't be started",
                      what + ": " + std::strerror(error));
}

class SpawnSettings {
public:
    SpawnSettings(int input, int output) {
        sigset_t none;
        sigset_t ignored;
        ::sigemptyset(&none);
        ::sigemptyset(&ignored);
        ::sigaddset(&ignored, SIGPIPE);
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawn_file_actions_adddup2(&actions_, input, STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
        ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
        ::posix_spawnattr_init(&attributes_);
        ::posix_spawnattr_setsigmask(&attributes_, &none);
        ::posix_spawnattr_setsigdefault(&attributes_, &ignored);
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    ~SpawnSettings() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;

    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        close();
        value_ = std::exchange(other.value_, -1);
    }
    return *this;
}

void Descriptor::close() noexcept {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
}

SocketPair make_socket_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        not_started("socketpair", errno);
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

// A parent that ended before the kernel knew of the wish sends no signal: then we are another's
// child. Whose we were the socket pair says, which keeps the process that made it.
bool end_with_parent(int socket) noexcept {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return false;
    ucred maker{};
    socklen_t size = sizeof maker;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &maker, &size) != 0) return false;
    return maker.pid == ::getppid();
}

ChildProcess::ChildProcess(const std::filesystem::path& program, int input, int output,
                           ChildEnvironment environment) {
    const SpawnSettings settings(input, output);
    std::string name = program.string();
    std::array<char*, 2> arguments{name.data(), nullptr};
    std::array<char*, 1> nothing{nullptr};
    const int error = ::posix_spawn(
        &pid_, name.c_str(), &settings.actions_, &settings.attributes_, arguments.data(),
        environment == ChildEnvironment::ours ? environ : nothing.data());
    if (error != 0) {
        pid_ = -1;
        not_started(name, error);
    }
}

ChildProcess::~ChildProcess() {
    if (pid_ < 0) return;
    kill();
    // One that a driver holds within the kernel does not end yet: nobody waits for it.
    static_cast<void>(wait_exit(last_wait));
}

void ChildProcess::kill() const noexcept {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
}

bool ChildProcess::wait_exit(std::chrono::milliseconds patience) noexcept {
    if (pid_ < 0) return true;
    // A descriptor of the process becomes readable when it ends.
    const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    pollfd ended{process.get(), POLLIN, 0};
    if (process.get() >= 0) ::poll(&ended, 1, static_cast<int>(patience.count()));
    if (::waitpid(pid_, nullptr, WNOHANG) != pid_) return false;
    pid_ = -1;
    return true;
}

}  // namespace hsm
