// What waits for the gate's workers, and which of them wakes for it. Nothing of what is done with a
// request is known here.
//
// Requests of a route that has a joint handler (Route::together) are given out together: what waits
// when a worker comes. While one works on such a group the next gathers, and nobody is woken for
// it: a group costs the switches of threads and the exchange with the token of one request. That
// pays where the token takes less time for an item than a switch; one that takes longer is asked by
// as many workers side by side as there are. Which it is shows in how long they take.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "server/request.h"
#include "server/route.h"

namespace server {

struct GateJob {
    Request request;
    std::function<void(Response)> done;
    std::chrono::steady_clock::time_point queued{};
};

// Thread-safe.
class GateQueue {
public:
    using SteadyTime = std::chrono::steady_clock::time_point;

    // Requests given out together, at most.
    static constexpr std::size_t most_together = 8;
    // Bytes of a body, at most: a call on many is work enough for a worker by itself.
    static constexpr std::size_t most_joint_bytes = 4096;
    // An item that takes longer than this waits for the token and not for a processor.
    static constexpr std::chrono::microseconds quick_item{200};
    // A group that takes longer than this may hang: the next does not wait for it.
    static constexpr std::chrono::milliseconds usual_patience{5};

    // `routes` must outlive it. Joint handlers on routes with parameters in their path are ignored.
    GateQueue(std::size_t max_queued, const std::vector<Route>& routes,
              std::chrono::milliseconds patience = usual_patience);
    // All workers must be gone.
    ~GateQueue();
    GateQueue(const GateQueue&) = delete;
    GateQueue& operator=(const GateQueue&) = delete;

    // Takes request and `done`, to be ended with leave(). False when the queue is full or draining:
    // then both are left as they were.
    bool push(Request& request, std::function<void(Response)>& done);

    // What a worker works on: one job or several, all of one joint route when `lane_` is set.
    struct Work {
        std::vector<GateJob> jobs;
        bool refused = false;  // the queue is closed: they are to be told so
        // Set by who worked on it: all of it was done, so that its time says how long an item
        // takes. A refusal takes none at all.
        bool is_telling = false;

    private:
        friend class GateQueue;
        std::size_t lane_ = no_lane;
        bool is_group_ = false;
        SteadyTime begun_;
    };
    // Gives back the last work of this worker, and waits for the next. False: closed and empty.
    bool next(Work& work);

    // Puts the jobs of `work` from `first` on back at the head, for other workers: those before
    // them take long.
    void hand_back(Work& work, std::size_t first);

    // One pushed request is answered.
    void leave();

    // Pushes fail from now on. Waits until all that was pushed has left, at most `bound`; true when
    // it has.
    bool drain(std::chrono::milliseconds bound);
    // The same without a bound, and workers are sent home.
    void close();
    void wait_until_left();

private:
    static constexpr std::size_t no_lane = static_cast<std::size_t>(-1);

    // The requests of one joint route.
    struct Lane {
        const Route* route;
        std::deque<GateJob> waiting{};
        bool has_group = false;  // a worker is at it
        SteadyTime group_begun{};
        // How quick an item is: the shortest time of the works of the last round.
        bool is_quick = true;
        std::chrono::nanoseconds shortest = std::chrono::nanoseconds::max();
        std::size_t works = 0;  // in this round
    };

    std::size_t lane_of(const Request& request) const;
    // With `mutex_` held.
    bool is_ready(const Lane& lane, SteadyTime now) const;
    bool has_work(SteadyTime now) const;
    bool must_wake(SteadyTime now);
    void give_back(Work& work, std::size_t items);
    void end_group(Work& work);
    void take(Work& work);
    void take_from(Lane& lane, Work& work);
    void note_time(Lane& lane, std::chrono::nanoseconds time, std::size_t items);
    void watch();

    const std::size_t max_queued_;
    const std::chrono::milliseconds patience_;
    std::mutex mutex_;
    std::condition_variable work_;
    std::condition_variable idle_;
    std::condition_variable watched_;
    std::deque<GateJob> queue_;
    std::vector<Lane> lanes_;
    std::size_t queued_ = 0;    // in the queue and in all lanes
    std::size_t sleeping_ = 0;  // workers that wait for work
    bool waking_ = false;       // one of them was called and is not awake yet
    std::size_t pending_ = 0;   // pushed and not left
    std::size_t groups_ = 0;    // given out since the watcher looked
    bool watcher_sleeps_ = false;
    bool draining_ = false;
    bool closed_ = false;
    std::jthread watcher_;  // none without lanes
};

}  // namespace server
