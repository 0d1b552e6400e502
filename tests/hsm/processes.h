// Processes that the tests' tokens have started, and waiting for what they do.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tests {

struct ProcessStatus {
    std::string name;  // its first 15 characters
    char state = 0;    // Z: has ended and was not waited for
    pid_t parent = 0;
};

// Empty when there is none of that id.
inline std::optional<ProcessStatus> status_of(pid_t process) {
    std::ifstream file("/proc/" + std::to_string(process) + "/stat");
    std::string line;
    std::getline(file, line);
    const auto begin = line.find('(');
    const auto end = line.rfind(')');
    if (end == std::string::npos) return std::nullopt;
    return ProcessStatus{line.substr(begin + 1, end - begin - 1), line[end + 2],
                         std::stoi(line.substr(end + 4))};
}

inline bool is_running(pid_t process) {
    const auto status = status_of(process);
    return status && status->state != 'Z';
}

// The running children of a process that have that name, the oldest first.
inline std::vector<pid_t> children_of(pid_t parent, std::string_view name) {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string number = entry.path().filename();
        if (number.find_first_not_of("0123456789") != std::string::npos) continue;
        const auto status = status_of(std::stoi(number));
        if (!status || status->state == 'Z' || status->parent != parent || status->name != name)
            continue;
        found.push_back(std::stoi(number));
    }
    std::sort(found.begin(), found.end());
    return found;
}

// The token workers of this process.
inline std::vector<pid_t> workers() { return children_of(::getpid(), "strongroom-toke"); }

// Whether it does within a minute.
template <typename Condition>
bool comes_true(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

}  // namespace tests
