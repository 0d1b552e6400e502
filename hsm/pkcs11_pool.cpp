#include "hsm/pkcs11_pool.h"

#include <exception>

#include "base/error.h"

namespace hsm {

Lease::Lease(SessionPool& pool, Session session)
    : pool_(pool), session_(std::move(session)), exceptions_(std::uncaught_exceptions()) {}

Lease::~Lease() {
    if (!session_) return;  // renew() failed; it was counted out there
    if (std::uncaught_exceptions() == exceptions_) {
        pool_.give_back(std::move(*session_));
        return;
    }
    session_.reset();
    pool_.forget_one();
}

void Lease::renew() {
    session_.reset();
    try {
        session_.emplace(pool_.open_session());
    } catch (...) {
        pool_.forget_one();
        throw;
    }
}

SessionPool::SessionPool(std::shared_ptr<Module> module, CK_SLOT_ID slot, std::size_t max,
                         std::chrono::milliseconds patience)
    : module_(std::move(module)), slot_(slot), max_(max), patience_(patience) {
    idle_.reserve(max_);  // give_back() must not throw
}

Session SessionPool::take() {
    {
        std::unique_lock lock(mutex_);
        if (!freed_.wait_for(lock, patience_, [&] { return !idle_.empty() || open_ < max_; })) {
            throw base::Error(base::ErrorCode::unavailable, "the token is busy",
                              "every session stayed in use");
        }
        if (!idle_.empty()) {
            Session session = std::move(idle_.back());
            idle_.pop_back();
            return session;
        }
        ++open_;
    }
    try {
        return open_session();
    } catch (...) {
        forget_one();
        throw;
    }
}

Session SessionPool::open_session() { return {module_, slot_}; }

void SessionPool::give_back(Session session) {
    {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(session));
    }
    freed_.notify_one();
}

void SessionPool::forget_one() {
    {
        const std::lock_guard lock(mutex_);
        --open_;
    }
    freed_.notify_one();
}

void SessionPool::drop_idle() {
    std::vector<Session> dropped;
    {
        const std::lock_guard lock(mutex_);
        dropped.reserve(max_);
        dropped.swap(idle_);
        open_ -= dropped.size();
    }
    freed_.notify_all();
}

std::size_t SessionPool::idle() const {
    const std::lock_guard lock(mutex_);
    return idle_.size();
}

std::size_t SessionPool::open() const {
    const std::lock_guard lock(mutex_);
    return open_;
}

}  // namespace hsm
