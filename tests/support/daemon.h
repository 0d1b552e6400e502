// A daemon under test as a process of its own: started, waited for by its "ready" line, stopped or
// killed, with everything it said. Run by root, the process becomes the user nobody, since the
// daemons refuse root.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tests {

// A program of this build, found beside the running test.
std::filesystem::path built_program(std::string_view name);

// Makes `path` and everything in it the property of the user that daemons run as; nothing to do
// when the test is not run by root.
void give_to_daemon_user(const std::filesystem::path& path);

struct DaemonOptions {
    std::filesystem::path program;
    std::vector<std::string> arguments;
    std::map<std::string, std::string> environment;  // besides PATH and LANG; nothing is inherited
    bool keep_user = false;                          // true: root stays root
};

// Not thread-safe. Throws std::runtime_error, with what the daemon said, when it does not do as
// told.
class Daemon {
public:
    explicit Daemon(const DaemonOptions& options);
    // Kills the process if it still runs.
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    // Waits for the "ready" line and returns the port in it.
    std::uint16_t wait_ready(std::chrono::milliseconds bound = std::chrono::seconds(20));
    // The exit code, or 128 + the signal that ended the process.
    int wait_exit(std::chrono::milliseconds bound = std::chrono::seconds(20));

    // SIGTERM, then the exit code.
    int stop();
    // SIGHUP: read anew what can be.
    void reload();
    // Waits until it has said `part`; false when it did not in time.
    bool wait_said(std::string_view part,
                   std::chrono::milliseconds bound = std::chrono::seconds(20));
    // SIGKILL: what a crash or a power cut does to the process.
    void kill();

    // Standard error so far; standard output is in it as well.
    std::string output() const;
    pid_t pid() const;

private:
    struct Process;
    std::unique_ptr<Process> process_;
};

}  // namespace tests
