#include "hsm/pkcs11_pool.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "hsm/pkcs11_error.h"

namespace hsm {
namespace {

constexpr std::chrono::seconds full_pause{1};

}  // namespace

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
    const auto end = std::chrono::steady_clock::now() + patience_;
    for (;;) {
        if (auto idle = wait_for_room(end)) return std::move(*idle);
        try {
            return open_session();
        } catch (const Pkcs11Error& error) {
            if (!forget_one(error.rv() == CKR_SESSION_COUNT)) throw;
        } catch (...) {
            forget_one();
            throw;
        }
    }
}

std::optional<Session> SessionPool::wait_for_room(std::chrono::steady_clock::time_point end) {
    std::unique_lock lock(mutex_);
    for (;;) {
        const auto now = std::chrono::steady_clock::now();
        if (!idle_.empty()) {
            Session session = std::move(idle_.back());
            idle_.pop_back();
            return session;
        }
        if (open_ < max_ && (now >= full_until_ || open_ == 0)) {
            ++open_;
            return std::nullopt;
        }
        if (now >= end) {
            throw base::Error(base::ErrorCode::unavailable, "the token is busy",
                              "every session stayed in use");
        }
        // Not past the moment from which more may be asked for.
        freed_.wait_until(lock, open_ < max_ ? std::min(end, full_until_) : end);
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

bool SessionPool::forget_one(bool token_is_full) {
    bool others = false;
    {
        const std::lock_guard lock(mutex_);
        --open_;
        others = token_is_full && open_ > 0;
        full_until_ = others ? std::chrono::steady_clock::now() + full_pause
                             : std::chrono::steady_clock::time_point();
    }
    freed_.notify_one();
    return others;
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
