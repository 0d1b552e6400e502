#include "hsm/breaker.h"

#include "base/error.h"

namespace hsm {
namespace {

[[noreturn]] void refuse_call() {
    throw base::Error(base::ErrorCode::unavailable, "the token does not answer",
                      "calls are refused until one that is let through finds it again");
}

}  // namespace

void Breaker::wait_for_healing(std::unique_lock<std::mutex>& lock) {
    if (!settled_.wait_for(lock, times_.heal_patience, [&] { return state_ != State::healing; }))
        refuse_call();
}

void Breaker::begin_probe() {
    if (state_ == State::probing || now_() < begun_ + times_.probe_pause) refuse_call();
    state_ = State::probing;
    begun_ = now_();
}

Breaker::Visit Breaker::enter() {
    std::unique_lock lock(mutex_);
    wait_for_healing(lock);
    if (state_ == State::closed) return {*this, false};
    begin_probe();
    return {*this, true};
}

void Breaker::require_closed() {
    std::unique_lock lock(mutex_);
    wait_for_healing(lock);
    if (state_ != State::closed) refuse_call();
}

bool Breaker::take_over(Visit& visit, const std::function<bool()>& is_healed) {
    std::unique_lock lock(mutex_);
    wait_for_healing(lock);
    if (state_ == State::closed) {
        if (is_healed()) return false;
        state_ = State::healing;
        begun_ = now_();
    } else {
        begin_probe();
    }
    visit.heals_ = true;
    return true;
}

void Breaker::settle(Outcome outcome) {
    bool tell = false;
    bool answered = false;
    {
        const std::lock_guard lock(mutex_);
        answered = outcome == Outcome::answered ||
                   (outcome == Outcome::untried && state_ == State::healing);
        state_ = answered ? State::closed : State::open;
        tell = told_ == answered;
        told_ = !answered;
    }
    settled_.notify_all();
    if (!tell) return;
    if (answered) {
        log_.warning("the token answers again");
    } else {
        log_.error("the token does not answer; calls are refused at once, and one a second tries");
    }
}

bool Breaker::is_closed() const {
    const std::lock_guard lock(mutex_);
    return state_ == State::closed;
}

}  // namespace hsm
