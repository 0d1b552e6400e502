#include "tests/support/daemon.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "base/json.h"

namespace tests {
namespace {

constexpr uid_t nobody = 65534;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::vector<char*> to_pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void become(char* const* arguments, char* const* environment, int output,
                         bool drop_root) {
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    const int no_input = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(no_input, STDIN_FILENO);
    if (drop_root &&
        (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0)) {
        ::_exit(126);
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // the daemon never outlives its test
    ::execve(arguments[0], arguments, environment);
    ::_exit(127);
}

// The port of a "ready" line, or nothing when the line is another.
std::uint16_t ready_port(std::string_view line) {
    if (line.find("\"ready\"") == std::string_view::npos) return 0;
    try {
        const base::JsonValue value = base::parse_json(line);
        const base::JsonValue* message = value.find("message");
        const base::JsonValue* port = value.find("port");
        if (message == nullptr || message->string() == nullptr || *message->string() != "ready" ||
            port == nullptr) {
            return 0;
        }
        return static_cast<std::uint16_t>(port->integer().value_or(0));
    } catch (const base::Error&) {
        return 0;
    }
}

}  // namespace

std::filesystem::path built_program(std::string_view name) {
    return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

void give_to_daemon_user(const std::filesystem::path& path) {
    if (::geteuid() != 0) return;
    const auto give = [](const std::filesystem::path& one) {
        if (::lchown(one.c_str(), nobody, nobody) != 0) fail("can't chown " + one.string());
    };
    give(path);
    if (!std::filesystem::is_directory(path)) return;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        give(entry.path());
    }
}

struct Daemon::Process {
    pid_t pid = -1;
    int status = 0;
    bool reaped = false;
    int output = -1;  // our end of the pipe

    std::thread reader;
    mutable std::mutex mutex;
    std::condition_variable grown;
    std::string text;
    bool ended = false;  // the pipe is at its end

    void read_output() {
        std::array<char, 4096> buffer{};
        for (;;) {
            const ssize_t size = ::read(output, buffer.data(), buffer.size());
            if (size < 0 && errno == EINTR) continue;
            const std::lock_guard lock(mutex);
            if (size <= 0) {
                ended = true;
                grown.notify_all();
                return;
            }
            text.append(buffer.data(), static_cast<std::size_t>(size));
            grown.notify_all();
        }
    }

    // With `mutex` held.
    std::uint16_t find_ready() const {
        std::size_t start = 0;
        for (std::size_t end = text.find('\n'); end != std::string::npos;
             end = text.find('\n', start)) {
            const std::uint16_t port =
                ready_port(std::string_view(text).substr(start, end - start));
            if (port != 0) return port;
            start = end + 1;
        }
        return 0;
    }

    bool reap(int flags) {
        if (reaped) return true;
        reaped = ::waitpid(pid, &status, flags) == pid;
        return reaped;
    }
};

Daemon::Daemon(const DaemonOptions& options) : process_(std::make_unique<Process>()) {
    std::vector<std::string> arguments = {options.program.string()};
    arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
    std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8"};
    for (const auto& [name, value] : options.environment) {
        environment.push_back(name + "=" + value);
    }
    const std::vector<char*> argument_pointers = to_pointers(arguments);
    const std::vector<char*> environment_pointers = to_pointers(environment);
    const bool drop_root = ::geteuid() == 0 && !options.keep_user;

    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("no pipe for the daemon's output");
    process_->pid = ::fork();
    if (process_->pid == 0) {
        become(argument_pointers.data(), environment_pointers.data(), ends[1], drop_root);
    }
    ::close(ends[1]);
    process_->output = ends[0];
    if (process_->pid < 0) fail("can't fork");
    process_->reader = std::thread([process = process_.get()] { process->read_output(); });
}

Daemon::~Daemon() {
    kill();
    if (process_->reader.joinable()) process_->reader.join();
    ::close(process_->output);
}

std::uint16_t Daemon::wait_ready(std::chrono::milliseconds bound) {
    std::unique_lock lock(process_->mutex);
    std::uint16_t port = 0;
    process_->grown.wait_for(lock, bound, [&] {
        port = process_->find_ready();
        return port != 0 || process_->ended;
    });
    if (port == 0) fail("the daemon did not become ready; it said: " + process_->text);
    return port;
}

int Daemon::wait_exit(std::chrono::milliseconds bound) {
    const auto deadline = std::chrono::steady_clock::now() + bound;
    while (!process_->reap(WNOHANG)) {
        if (std::chrono::steady_clock::now() > deadline) {
            fail("the daemon did not end; it said: " + output());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    {
        // A child of the daemon may hold the pipe open for a moment longer.
        std::unique_lock lock(process_->mutex);
        process_->grown.wait_for(lock, std::chrono::seconds(2), [&] { return process_->ended; });
    }
    return WIFEXITED(process_->status) ? WEXITSTATUS(process_->status)
                                       : 128 + WTERMSIG(process_->status);
}

int Daemon::stop() {
    if (!process_->reaped) ::kill(process_->pid, SIGTERM);
    return wait_exit();
}

void Daemon::reload() {
    if (!process_->reaped) ::kill(process_->pid, SIGHUP);
}

bool Daemon::wait_said(std::string_view part, std::chrono::milliseconds bound) {
    std::unique_lock lock(process_->mutex);
    const auto said = [&] { return process_->text.find(part) != std::string::npos; };
    process_->grown.wait_for(lock, bound, [&] { return said() || process_->ended; });
    return said();
}

void Daemon::kill() {
    if (process_->reaped) return;
    ::kill(process_->pid, SIGKILL);
    process_->reap(0);
}

std::string Daemon::output() const {
    const std::lock_guard lock(process_->mutex);
    return process_->text;
}

pid_t Daemon::pid() const { return process_->pid; }

}  // namespace tests
