#include "hsm/call_gate.h"

#include "base/error.h"

namespace hsm {
namespace {

[[noreturn]] void wait_in_vain(const char* what) {
    throw base::Error(base::ErrorCode::unavailable, "the token does not answer", what);
}

}  // namespace

CallGate::Call CallGate::enter() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience_, [&] { return !shut_; }))
        wait_in_vain("its module is being initialised for too long");
    ++inside_;
    return Call(*this);
}

void CallGate::leave() {
    bool last = false;
    {
        const std::lock_guard lock(mutex_);
        last = --inside_ == 0 && shut_;
    }
    if (last) changed_.notify_all();
}

CallGate::Alone CallGate::shut() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience_, [&] { return !shut_; }))
        wait_in_vain("its module is being initialised for too long");
    shut_ = true;
    if (!changed_.wait_for(lock, patience_, [&] { return inside_ == 0; })) {
        shut_ = false;
        lock.unlock();
        changed_.notify_all();
        wait_in_vain("a call hangs in its module, which can't be initialised anew meanwhile");
    }
    return Alone(*this);
}

void CallGate::open_again() {
    {
        const std::lock_guard lock(mutex_);
        shut_ = false;
    }
    changed_.notify_all();
}

}  // namespace hsm
