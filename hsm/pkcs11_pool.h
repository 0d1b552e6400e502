// A bounded pool of sessions. A session that saw a failure never comes back to it: some modules
// leave an operation active behind an error, and such a session then fails for ever.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "hsm/pkcs11_session.h"

namespace hsm {

class SessionPool;

// A session for the time of one operation. Goes back to the pool, unless an exception is under way
// when it ends. Must not outlive the pool.
class Lease {
public:
    Lease(SessionPool& pool, Session session);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Session& session() { return *session_; }
    // Throws the session away and takes a fresh one in its place.
    void renew();
    // False after a renew() that failed.
    bool has_session() const noexcept { return session_.has_value(); }

private:
    SessionPool& pool_;
    std::optional<Session> session_;
    int exceptions_;
};

// Safe to share between threads.
class SessionPool {
public:
    // Opens sessions on demand, never more than `max` at a time. A lease waits at most `patience`.
    SessionPool(std::shared_ptr<Module> module, CK_SLOT_ID slot, std::size_t max,
                std::chrono::milliseconds patience = std::chrono::seconds(2));

    // Throws unavailable when all sessions stay busy, and what C_OpenSession answers. A token that
    // has no more sessions than are open already makes a caller wait for one of these.
    Lease lease() { return {*this, take()}; }
    // A session beside the pool, not counted.
    Session open_extra() { return open_session(); }
    // Closes the sessions that nobody uses now.
    void drop_idle();

    std::size_t idle() const;
    std::size_t open() const;

private:
    friend class Lease;
    Session take();
    // An idle session, or empty: the caller may open one, and is counted for it.
    std::optional<Session> wait_for_room(std::chrono::steady_clock::time_point end);
    Session open_session();
    void give_back(Session session);
    // True when the token has no more sessions and others of ours are open, to be waited for.
    bool forget_one(bool token_is_full = false);

    std::shared_ptr<Module> module_;
    CK_SLOT_ID slot_;
    std::size_t max_;
    std::chrono::milliseconds patience_;
    mutable std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<Session> idle_;
    std::size_t open_ = 0;                              // idle and leased
    std::chrono::steady_clock::time_point full_until_;  // no more are asked for before
};

}  // namespace hsm
