#include "vault/import/patience.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds first_wait{100};
constexpr milliseconds longest_wait{5000};

bool time_may_help(ErrorCode code) {
    return code == ErrorCode::unavailable || code == ErrorCode::resource_exhausted ||
           code == ErrorCode::quota_check_failed;
}

}  // namespace

void with_patience(std::chrono::seconds limit, const std::function<void()>& work) {
    const auto end = steady_clock::now() + limit;
    milliseconds pause = first_wait;
    for (;;) {
        try {
            work();
            return;
        } catch (const Error& error) {
            if (!time_may_help(error.code()) || steady_clock::now() + pause >= end) throw;
        }
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, longest_wait);
    }
}

void in_parallel(std::size_t workers, std::size_t count,
                 const std::function<void(std::size_t)>& work) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    const auto run = [&] {
        for (std::size_t i = next++; i < count; i = next++) {
            try {
                work(i);
            } catch (...) {
                const std::lock_guard lock(mutex);
                if (!failure) failure = std::current_exception();
                next = count;
            }
        }
    };
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 1; i < std::min(workers, count); ++i) threads.emplace_back(run);
        run();
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace vault
