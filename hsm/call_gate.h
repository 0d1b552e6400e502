// Calls side by side, or one thing alone: a module may be finalised only while no call is in it.
// Unlike a lock it has bounds: a call that hangs in a module keeps the module from being
// initialised anew, but nobody who waits for that.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace hsm {

// Safe to share between threads.
class CallGate {
public:
    // How long calls wait for what is done alone, and that for the calls under way.
    explicit CallGate(std::chrono::milliseconds patience = std::chrono::seconds(1))
        : patience_(patience) {}

    // Inside as long as it lives.
    class Call {
    public:
        ~Call() { gate_.leave(); }
        Call(const Call&) = delete;
        Call& operator=(const Call&) = delete;

    private:
        friend class CallGate;
        explicit Call(CallGate& gate) : gate_(gate) {}
        CallGate& gate_;
    };
    // Throws unavailable when something takes too long alone.
    Call enter();

    // Alone as long as it lives.
    class Alone {
    public:
        ~Alone() { gate_.open_again(); }
        Alone(const Alone&) = delete;
        Alone& operator=(const Alone&) = delete;

    private:
        friend class CallGate;
        explicit Alone(CallGate& gate) : gate_(gate) {}
        CallGate& gate_;
    };
    // Keeps new calls out and waits for those under way. Throws unavailable when they do not end in
    // time, or something else is alone too long. Not from within a call.
    Alone shut();

private:
    void leave();
    void open_again();

    std::chrono::milliseconds patience_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t inside_ = 0;
    bool shut_ = false;
};

}  // namespace hsm
