// Keeps calls away from a token that is known to be gone, so that none waits for it and it is not
// hammered, and lets one through now and then that finds out whether it is back. Knows nothing of
// tokens; what healing is its user knows.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "base/log.h"

namespace hsm {

// Safe to share between threads.
//
//     closed ── a call finds the token gone, and heals ──> healing ── it failed ──> open
//       ^                                                   │                       │ ^
//       │<────────────────── the call was answered ─────────┘      after the pause, │ │ it failed
//       │                                                              one call     v │
//       └<────────────────────── it was answered ───────────────────────────────  probing
//
// While healing, which is most often done in some milliseconds, other calls wait a moment. While
// open or probing they are refused at once.
class Breaker {
public:
    using Clock = std::chrono::steady_clock;
    struct Times {
        std::chrono::milliseconds probe_pause{1000};   // between the beginnings of two probes
        std::chrono::milliseconds heal_patience{250};  // of others, while the first call heals
    };
    // `log` must outlive it: it says once that calls are refused, and once that they are not.
    Breaker(base::Log& log, Times times, std::function<Clock::time_point()> now)
        : log_(log), times_(times), now_(std::move(now)) {}

    enum class Outcome { answered, failed, untried };

    // One call's stay. Must not outlive the breaker; one thread.
    class Visit {
    public:
        ~Visit() {
            if (heals_) breaker_.settle(outcome_);
        }
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;

        // It has to heal before it does its own work, or is doing so. When it ends, the token
        // counts as back, unless one of these was called.
        bool heals() const noexcept { return heals_; }
        void fail() noexcept { outcome_ = Outcome::failed; }
        // Nothing was tried: all is as it was before this call.
        void leave_untried() noexcept { outcome_ = Outcome::untried; }

    private:
        friend class Breaker;
        Visit(Breaker& breaker, bool heals) : breaker_(breaker), heals_(heals) {}

        Breaker& breaker_;
        bool heals_;
        Outcome outcome_ = Outcome::answered;
    };

    // Throws unavailable when calls are refused now.
    Visit enter();
    // For a call that could not heal: throws unavailable unless the breaker is closed.
    void require_closed();

    // The call found the token gone: true when it is the one to heal it, false when another has
    // healed it meanwhile, which `is_healed` tells. Throws unavailable when calls are refused now.
    bool take_over(Visit& visit, const std::function<bool()>& is_healed);

    bool is_closed() const;

private:
    enum class State { closed, healing, open, probing };
    // What there is to do once nobody heals for the first time; throws when that takes too long.
    void wait_for_healing(std::unique_lock<std::mutex>& lock);
    // True when the time for a probe has come, which the caller then is; else throws.
    void begin_probe();
    void settle(Outcome outcome);

    base::Log& log_;
    Times times_;
    std::function<Clock::time_point()> now_;
    mutable std::mutex mutex_;
    std::condition_variable settled_;
    State state_ = State::closed;
    bool told_ = false;  // that calls are refused
    Clock::time_point begun_;
};

}  // namespace hsm
