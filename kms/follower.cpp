#include "kms/follower.h"

#include "base/error.h"

namespace kms {

CatalogueFollower::CatalogueFollower(Catalogue& catalogue, Store& store, std::uint64_t since,
                                     base::Log& log)
    : catalogue_(catalogue), store_(store), log_(log), seen_(since) {
    // Until the store has answered once, nobody knows whether what was loaded still holds.
    if (store_.is_shared()) {
        catalogue_.valid_until(std::chrono::steady_clock::time_point::min());
    }
    follow();
    thread_ = std::thread([this] { run(); });
}

CatalogueFollower::~CatalogueFollower() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

bool CatalogueFollower::follow() {
    const std::lock_guard lock(follow_mutex_);
    // What is read now was true at this moment at the earliest.
    const auto began = std::chrono::steady_clock::now();
    try {
        if (store_.change_count() != seen_) {
            Store::Changes changes = store_.load_changed(seen_);
            if (!changes.keys.empty()) catalogue_.put(std::move(changes.keys));
            seen_ = changes.count;
        }
        if (store_.is_shared()) catalogue_.valid_until(began + follow_patience);
        if (is_away_) log_.info("the key store answers again");
        is_away_ = false;
        return true;
    } catch (const base::Error& error) {
        if (!is_away_) log_.error("the key store does not answer", {{"reason", error.what()}});
        is_away_ = true;
        return false;
    }
}

void CatalogueFollower::run() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, follow_interval, [this] { return stopping_; })) {
        lock.unlock();
        follow();
        lock.lock();
    }
}

}  // namespace kms
