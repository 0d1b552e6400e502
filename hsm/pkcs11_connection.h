// The connection with one token: which slot it is in, the one login, the sessions, and the ladder
// by which a broken connection heals. Knows nothing of keys.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>

#include "base/log.h"
#include "hsm/kept_pin.h"
#include "hsm/pkcs11_error.h"
#include "hsm/pkcs11_pool.h"
#include "hsm/pkcs11_uri.h"

namespace hsm {

// The one token that `uri` names. Throws failed_precondition when there is none or more than one,
// listing the tokens that are there; `hint` is added to the message then.
struct FoundToken {
    CK_SLOT_ID slot = 0;
    CK_TOKEN_INFO info{};
};
FoundToken find_token(const Module& module, const TokenUri& uri, const std::string& hint = {});

// What an operation gets. `generation` says how long a key handle stays good: a handle that was
// looked up under another generation must not be used.
struct Operation {
    Lease& lease;
    std::uint64_t generation;
    std::uint64_t epoch;  // the module's initialisation; across it a key must prove itself again

    Session& session() const { return lease.session(); }
};

// Safe to share between threads. Recovery, each step at most once per operation:
//   session dead   the idle sessions are dropped
//   login lost     one login on the anchor session, by one thread
//   handles stale  a new generation
//   token gone     C_Finalize, C_Initialize, the token found and logged in anew, by one thread,
//   with no
//                  operation under way; at most once in `reconnect_pause`
class Connection {
public:
    // Opens the anchor session and logs in, once. `pin` and `log` must outlive the connection.
    // `before_initialising` is called whenever the module is about to be initialised again.
    // Throws failed_precondition: PIN refused, locked, not set, last attempt before a lock. Later
    // the same is unavailable, and a PIN that was refused is never tried again.
    Connection(std::shared_ptr<Module> module, TokenUri uri, const FoundToken& token,
               const KeptPin& pin, std::size_t max_sessions, base::Log& log,
               std::function<void()> before_initialising = {});

    // One attempt, for what must not happen twice. Throws what `operation` throws; what only an
    // operator can settle (a token that became read-only) as unavailable, see restore().
    template <typename Work>
    auto once(Work&& work) {
        const std::shared_lock lock(connection_);
        if (!pool_) throw to_error(CKR_TOKEN_NOT_PRESENT, "the token is not connected");
        Lease lease = pool_->lease();
        try {
            return work(Operation{lease, generation_.load(), module_->epoch()});
        } catch (const Pkcs11Error& error) {
            if (error.error_class() != ErrorClass::operator_latch) throw;
            lease.renew();  // no session that saw an error is used again
            restore([&error] { throw Pkcs11Error(error); });
            throw;  // not reached: restore() throws
        }
    }

    // As many attempts as there are steps of recovery; `operation` must be repeatable.
    template <typename Work>
    auto repeatable(Work&& work) {
        std::set<ErrorClass> tried;
        for (;;) {
            const std::uint64_t seen_epoch = module_->epoch();
            try {
                return once(work);
            } catch (const Pkcs11Error& error) {
                if (!tried.insert(error.error_class()).second || !heal(error, seen_epoch)) throw;
            }
        }
    }

    // Proof that the token answers and that we are logged in; heals on the way.
    void check();

    // Before the first operation: who is told of each login from now on (TokenConfig).
    void tell_logins_to(std::function<void()> hook) { logged_in_again_ = std::move(hook); }

    static constexpr std::chrono::milliseconds reconnect_pause{500};

private:
    bool heal(const Pkcs11Error& error, std::uint64_t seen_epoch);
    // Runs one step of recovery. What only an operator can settle is logged, once until it changes,
    // and is `unavailable` to callers, who did nothing wrong and need not know the token's names.
    void restore(const std::function<void()>& step);
    void log_in_again();
    void reconnect(std::uint64_t seen_epoch);
    void connect(CK_SLOT_ID slot);
    void log_in(const Session& anchor);

    std::shared_ptr<Module> module_;
    TokenUri uri_;
    const KeptPin& pin_;
    std::size_t max_sessions_;
    base::Log& log_;
    std::function<void()> logged_in_again_;
    std::function<void()> before_initialising_;

    std::shared_mutex
        connection_;  // shared: an operation is under way; exclusive: the connection is replaced
    std::atomic<std::uint64_t> generation_{1};
    std::chrono::steady_clock::time_point next_reconnect_;
    // The anchor holds the login: it stays open as long as the connection. Null pool: not
    // connected.
    std::mutex login_;
    bool pin_refused_ = false;
    std::mutex refusal_mutex_;
    std::string refusal_;  // the last that was logged; empty when the token came back since
    std::optional<Session> anchor_;
    std::unique_ptr<SessionPool> pool_;
};

}  // namespace hsm
