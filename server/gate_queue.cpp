#include "server/gate_queue.h"

#include <algorithm>
#include <utility>

namespace server {
namespace {

// Works after which the quickness of a route's items is judged anew.
constexpr std::size_t works_of_a_round = 64;

}  // namespace

GateQueue::GateQueue(std::size_t max_queued, const std::vector<Route>& routes,
                     std::chrono::milliseconds patience)
    : max_queued_(max_queued), patience_(patience) {
    for (const Route& route : routes) {
        if (route.together && route.pattern.find('{') == std::string_view::npos)
            lanes_.push_back({&route});
    }
    if (!lanes_.empty()) watcher_ = std::jthread([this] { watch(); });
}

GateQueue::~GateQueue() {
    close();
    watched_.notify_all();
}

std::size_t GateQueue::lane_of(const Request& request) const {
    if (request.body.size() > most_joint_bytes) return no_lane;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        const Route& route = *lanes_[i].route;
        if (route.method == request.method && route.pattern == request.path) return i;
    }
    return no_lane;
}

bool GateQueue::push(Request& request, std::function<void(Response)>& done) {
    const std::size_t lane = lane_of(request);
    bool wake = false;
    {
        const std::scoped_lock lock(mutex_);
        if (draining_ || queued_ >= max_queued_) return false;
        ++pending_;
        ++queued_;
        auto& queue = lane == no_lane ? queue_ : lanes_[lane].waiting;
        const SteadyTime now = std::chrono::steady_clock::now();
        queue.push_back({std::move(request), std::move(done), now});
        wake = must_wake(now);
    }
    if (wake) work_.notify_one();
    return true;
}

bool GateQueue::is_ready(const Lane& lane, SteadyTime now) const {
    return !lane.waiting.empty() && (!lane.has_group || now - lane.group_begun > patience_);
}

bool GateQueue::has_work(SteadyTime now) const {
    return !queue_.empty() || std::any_of(lanes_.begin(), lanes_.end(),
                                          [&](const Lane& lane) { return is_ready(lane, now); });
}

// One worker is woken at a time and wakes the next while there is more: a worker that is awake
// takes what is queued without a switch of threads.
bool GateQueue::must_wake(SteadyTime now) {
    if (sleeping_ == 0 || waking_ || !has_work(now)) return false;
    waking_ = true;
    return true;
}

bool GateQueue::next(Work& work) {
    const std::size_t items = work.jobs.size();
    work.jobs.clear();  // wipes bodies: not while others wait
    bool wake = false;
    {
        std::unique_lock lock(mutex_);
        give_back(work, items);
        while (!closed_ && !has_work(std::chrono::steady_clock::now())) {
            ++sleeping_;
            work_.wait(lock);
            --sleeping_;
            waking_ = false;
        }
        if (queued_ == 0) return false;
        take(work);
        work.refused = closed_;
        wake = must_wake(work.begun_);
    }
    if (wake) work_.notify_one();
    return true;
}

void GateQueue::give_back(Work& work, std::size_t items) {
    const bool is_telling = std::exchange(work.is_telling, false);
    if (work.lane_ == no_lane) return;
    if (is_telling)
        note_time(lanes_[work.lane_], std::chrono::steady_clock::now() - work.begun_, items);
    end_group(work);
    work.lane_ = no_lane;
}

// A later one may have taken the place of a group that took too long.
void GateQueue::end_group(Work& work) {
    Lane& lane = lanes_[work.lane_];
    if (std::exchange(work.is_group_, false) && lane.group_begun == work.begun_)
        lane.has_group = false;
}

void GateQueue::hand_back(Work& work, std::size_t first) {
    if (first >= work.jobs.size()) return;
    bool wake = false;
    {
        const std::scoped_lock lock(mutex_);
        end_group(work);
        Lane& lane = lanes_[work.lane_];
        queued_ += work.jobs.size() - first;
        while (work.jobs.size() > first) {
            lane.waiting.push_front(std::move(work.jobs.back()));
            work.jobs.pop_back();
        }
        wake = must_wake(std::chrono::steady_clock::now());
    }
    if (wake) work_.notify_one();
}

void GateQueue::note_time(Lane& lane, std::chrono::nanoseconds time, std::size_t items) {
    lane.shortest = std::min(lane.shortest, time / static_cast<std::int64_t>(items));
    if (++lane.works < works_of_a_round) return;
    lane.is_quick = lane.shortest <= quick_item;
    lane.shortest = std::chrono::nanoseconds::max();
    lane.works = 0;
}

// The first that came.
void GateQueue::take(Work& work) {
    work.begun_ = std::chrono::steady_clock::now();
    Lane* first = nullptr;
    for (Lane& lane : lanes_) {
        if (lane.waiting.empty() || (!closed_ && !is_ready(lane, work.begun_))) continue;
        if (first == nullptr ||
            lane.waiting.front().request.received < first->waiting.front().request.received)
            first = &lane;
    }
    if (first != nullptr && (queue_.empty() || first->waiting.front().request.received <
                                                   queue_.front().request.received)) {
        return take_from(*first, work);
    }
    work.jobs.push_back(std::move(queue_.front()));
    queue_.pop_front();
    --queued_;
}

void GateQueue::take_from(Lane& lane, Work& work) {
    const std::size_t count = lane.is_quick ? std::min(lane.waiting.size(), most_together) : 1;
    for (std::size_t i = 0; i < count; ++i) {
        work.jobs.push_back(std::move(lane.waiting.front()));
        lane.waiting.pop_front();
    }
    queued_ -= count;
    work.lane_ = static_cast<std::size_t>(&lane - lanes_.data());
    if (!lane.is_quick) return;
    work.is_group_ = true;
    lane.has_group = true;
    lane.group_begun = work.begun_;
    ++groups_;
    if (watcher_sleeps_) watched_.notify_one();
}

// Nobody may push any more while a group hangs: then this wakes a worker for what waits behind it.
void GateQueue::watch() {
    std::unique_lock lock(mutex_);
    while (!closed_) {
        const std::size_t before = groups_;
        watched_.wait_for(lock, patience_, [this] { return closed_; });
        if (must_wake(std::chrono::steady_clock::now())) work_.notify_one();
        const bool is_quiet =
            groups_ == before && std::none_of(lanes_.begin(), lanes_.end(),
                                              [](const Lane& lane) { return lane.has_group; });
        if (!is_quiet) continue;
        watcher_sleeps_ = true;
        watched_.wait(lock, [&] { return closed_ || groups_ != before; });
        watcher_sleeps_ = false;
    }
}

void GateQueue::leave() {
    const std::scoped_lock lock(mutex_);
    if (--pending_ == 0) idle_.notify_all();
}

bool GateQueue::drain(std::chrono::milliseconds bound) {
    std::unique_lock lock(mutex_);
    draining_ = true;
    return idle_.wait_for(lock, bound, [this] { return pending_ == 0; });
}

void GateQueue::close() {
    {
        const std::scoped_lock lock(mutex_);
        draining_ = true;
        closed_ = true;
    }
    work_.notify_all();
    watched_.notify_all();
}

void GateQueue::wait_until_left() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return pending_ == 0; });
}

}  // namespace server
