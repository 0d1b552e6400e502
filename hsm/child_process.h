// A program that runs beside this one and ends with it: its standard input and output are what we
// give it, its standard error is ours, nothing else is open in it. What it must know goes over its
// input, never through arguments or the environment.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <utility>

namespace hsm {

// Closes what it holds. Not thread-safe.
class Descriptor {
public:
    explicit Descriptor(int value = -1) noexcept : value_(value) {}
    ~Descriptor() { close(); }
    Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    int get() const noexcept { return value_; }
    void close() noexcept;

private:
    int value_;
};

// Both ends of a socket pair (AF_UNIX, stream), closed in children. Throws unavailable.
struct SocketPair {
    Descriptor ours, theirs;
};
SocketPair make_socket_pair();

// For a program that is run so, first of all: the kernel kills this process when the thread that
// started it ends, also with its whole process. `socket` is one end of a pair that the process made
// which started us. False when that process has ended already, or was another: then nothing must be
// read from the socket.
bool end_with_parent(int socket) noexcept;

enum class ChildEnvironment { none, ours };

// Not thread-safe.
class ChildProcess {
public:
    // Starts `program` without arguments; `input` and `output` are copied. No signal is blocked or
    // ignored in it. Throws unavailable, with the program and the reason in the detail.
    ChildProcess(const std::filesystem::path& program, int input, int output,
                 ChildEnvironment environment);
    // Kills it, if it still runs, and waits for its end, at most a second.
    ~ChildProcess();
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    pid_t pid() const noexcept { return pid_; }
    // Ends it at once; it is not waited for. Thread-safe until wait_exit() is called.
    void kill() const noexcept;
    // Whether it has ended within `patience`.
    bool wait_exit(std::chrono::milliseconds patience) noexcept;

private:
    pid_t pid_ = -1;  // -1: it has ended
};

}  // namespace hsm
