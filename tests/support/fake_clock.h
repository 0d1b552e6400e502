// A clock that stands still until a test moves it.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace tests {

class FakeClock final : public base::Clock {
public:
    explicit FakeClock(std::int64_t milliseconds = 1'800'000'000'000)
        : milliseconds_(milliseconds) {}
    base::Time now() const override { return base::from_milliseconds(milliseconds_.load()); }
    void advance(std::chrono::milliseconds by) { milliseconds_ += by.count(); }

private:
    std::atomic<std::int64_t> milliseconds_;
};

}  // namespace tests
