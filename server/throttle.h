// Keeps what a stranger can cause without any right (log lines, audit records of refusals) to a
// bounded rate, and counts what was left out. Not for callers' quotas.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

namespace server {

// A token bucket. Thread-safe.
class Throttle {
public:
    Throttle(double per_second, double burst)
        : per_second_(per_second), burst_(burst), tokens_(burst) {}

    // Whether one more may pass at `now`. When it may: how many were held back since the last one
    // that passed. Empty when it may not.
    std::optional<std::uint64_t> pass(std::chrono::steady_clock::time_point now) {
        const std::scoped_lock lock(mutex_);
        const std::chrono::duration<double> elapsed = now - last_;
        tokens_ = std::min(burst_, tokens_ + elapsed.count() * per_second_);
        last_ = now;
        if (tokens_ < 1) {
            ++held_back_;
            return std::nullopt;
        }
        tokens_ -= 1;
        return std::exchange(held_back_, 0);
    }

private:
    std::mutex mutex_;
    double per_second_;
    double burst_;
    double tokens_;
    std::chrono::steady_clock::time_point last_{};
    std::uint64_t held_back_ = 0;
};

}  // namespace server
