// Who gives way to whom among the edge's threads.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/edge_house.h"

namespace tests {
namespace {

// How the kernel schedules a thread: as sched_getattr(2) gives it, which C libraries before 2.41 do
// not declare.
struct Scheduling {
    std::uint32_t size = 0;
    std::uint32_t policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t slice = 0;  // in nanoseconds; 0 from a kernel that has none to set
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
};

Scheduling scheduling_of(pid_t thread) {
    Scheduling found;
    ::syscall(SYS_sched_getattr, thread, &found, sizeof(found), 0);
    return found;
}

std::set<pid_t> own_threads() {
    std::set<pid_t> threads;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
        threads.insert(std::stoi(entry.path().filename()));
    }
    return threads;
}

// A sandbox may refuse it; then the edge's threads are nicer, and no more.
bool may_be_set() {
    bool set = false;
    std::thread([&set] {
        Scheduling batch;
        batch.size = sizeof batch;
        batch.policy = SCHED_BATCH;
        batch.nice = ::getpriority(PRIO_PROCESS, 0);
        set = ::syscall(SYS_sched_setattr, 0, &batch, 0) == 0;
    }).join();
    return set;
}

TEST(EdgePriorityTest, ThreadsThatShakeHandsGiveWayToThoseThatServe) {
    if (!may_be_set()) GTEST_SKIP() << "this system does not let a thread be scheduled as batch";
    const std::set<pid_t> before = own_threads();
    EdgeHouse house;
    house.start();
    const int own_nice = ::getpriority(PRIO_PROCESS, 0);
    const auto gives_way = [own_nice](const Scheduling& thread) {
        constexpr std::uint64_t slice = 20'000'000;
        return thread.policy == SCHED_BATCH && thread.nice == std::min(own_nice + 10, 19) &&
               (thread.slice == slice || thread.slice == 0);
    };
    const auto is_as_usual = [own_nice, own = scheduling_of(0).policy](const Scheduling& thread) {
        return thread.policy == own && thread.nice == own_nice;
    };
    // Each sets its own when it begins.
    EXPECT_TRUE(eventually([&] {
        std::vector<Scheduling> edges;
        for (const pid_t thread : own_threads()) {
            if (before.count(thread) == 0) edges.push_back(scheduling_of(thread));
        }
        const auto threads = static_cast<std::ptrdiff_t>(house.config.threads);
        return std::count_if(edges.begin(), edges.end(), gives_way) == threads &&
               std::count_if(edges.begin(), edges.end(), is_as_usual) == threads;
    }));
}

}  // namespace
}  // namespace tests
