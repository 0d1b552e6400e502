// A token bucket on the wall clock, which may be set: a step back gives nothing and takes nothing,
// a step forward fills it at most. Not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace server {

struct Rate {
    double per_second = 0;
    double burst = 0;
};

class TokenBucket {
public:
    // How long until `items` may pass; zero: now. More than the burst pass when it is full and are
    // paid off afterwards, so that a large batch is possible and the average stays.
    std::chrono::milliseconds wait(const Rate& rate, std::uint64_t items, base::Time now) {
        if (!last_) tokens_ = rate.burst;
        const std::chrono::milliseconds none(0);
        const std::chrono::duration<double> elapsed = last_ ? std::max(now - *last_, none) : none;
        last_ = now;
        tokens_ = std::min(rate.burst, tokens_ + elapsed.count() * rate.per_second);
        const double missing = std::min(static_cast<double>(items), rate.burst) - tokens_;
        if (missing <= 0) return none;
        return std::chrono::milliseconds(
            static_cast<std::int64_t>(std::ceil(missing / rate.per_second * 1000)));
    }
    // After wait() said that they may pass.
    void take(std::uint64_t items) { tokens_ -= static_cast<double>(items); }
    std::uint64_t left() const {
        return tokens_ < 1 ? 0 : static_cast<std::uint64_t>(std::floor(tokens_));
    }

private:
    std::optional<base::Time> last_;
    double tokens_ = 0;
};

}  // namespace server
