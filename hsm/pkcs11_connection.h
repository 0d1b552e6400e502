// The connection with one token: which slot it is in, the one login, the sessions, and the ladder
// by which a broken connection heals. Knows nothing of keys.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "base/log.h"
#include "hsm/breaker.h"
#include "hsm/call_gate.h"
#include "hsm/kept_pin.h"
#include "hsm/pkcs11_error.h"
#include "hsm/pkcs11_pool.h"
#include "hsm/pkcs11_uri.h"
#include "hsm/token_config.h"

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

// What a connection is told, and tells.
struct ConnectionOptions {
    std::size_t max_sessions = 16;
    std::chrono::milliseconds patience{2000};  // of a call, for a session
    RecoveryPauses pauses{};
    // Each may be empty. Called whenever the module is about to be initialised again; and as
    // TokenConfig says.
    std::function<void()> before_initialising{};
    std::function<void()> logged_in_again{};
    std::function<void(std::string_view)> beyond_repair{};
};

// Safe to share between threads. Recovery, each step at most once per operation:
//   session dead      the idle sessions are dropped
//   login lost        one login on the anchor session, by one thread; every key proves itself anew
//   handles stale     a new generation
//   objects doubtful  C_Finalize, C_Initialize, the token found and logged in anew, by one thread,
//                     with no operation under way; not twice within a pause
//   token gone        the same, behind the breaker: while it fails, calls are refused at once
// A login that can't be made again is a token that is gone, and so are failures of whatever kind
// when nothing else comes.
class Connection {
public:
    // Opens the anchor session and logs in, once. `pin` and `log` must outlive the connection.
    // Throws failed_precondition: PIN refused, locked, not set, last attempt before a lock. Later
    // the same is unavailable, and a PIN that was refused is never tried again.
    Connection(std::shared_ptr<Module> module, TokenUri uri, const FoundToken& token,
               const KeptPin& pin, base::Log& log, ConnectionOptions options);

    // One attempt, for what must not happen twice. Throws what `operation` throws; what only an
    // operator can settle (a token that became read-only) as unavailable, see restore().
    template <typename Work>
    auto once(Work&& work) {
        breaker_.require_closed();
        return attempt(work);
    }

    // As many attempts as there are steps of recovery; `operation` must be repeatable.
    template <typename Work>
    auto repeatable(Work&& work) {
        Breaker::Visit visit = breaker_.enter();
        std::set<ErrorClass> tried;
        if (visit.heals()) {
            tried.insert(ErrorClass::token_gone);
            reconnect_or_fail(visit, module_->epoch());
        }
        for (;;) {
            const std::uint64_t seen_epoch = module_->epoch();
            try {
                return attempt(work);
            } catch (const Pkcs11Error& error) {
                ErrorClass what = error.error_class();
                bool healed = tried.insert(what).second && heal(what, visit, seen_epoch);
                if (!healed && only_fails(what)) {
                    what = ErrorClass::token_gone;
                    healed = tried.insert(what).second && heal(what, visit, seen_epoch);
                }
                if (healed) continue;
                if (what == ErrorClass::token_gone) visit.fail();
                throw;
            }
        }
    }

    // What was looked up so far must prove itself again.
    void doubt_handles() { ++generation_; }

    // The token wrote something: whatever kept it from that is settled, and is logged when it is
    // back.
    void note_written();

    // Proof that the token answers and that we are logged in; heals on the way.
    void check();

    // So many failures without an answer between them are a token that is gone.
    static constexpr int max_failures_in_a_row = 8;
    // So many attempts in a row to initialise the module anew, then it is beyond repair.
    static constexpr int max_failed_reconnects = 5;

private:
    template <typename Work>
    auto attempt(Work&& work) {
        const CallGate::Call call = calls_.enter();
        if (!pool_) throw to_error(CKR_TOKEN_NOT_PRESENT, "the token is not connected");
        Lease lease = lease_session();
        const Answered answered(failures_in_a_row_);
        try {
            return work(Operation{lease, generation_.load(), module_->epoch()});
        } catch (const Pkcs11Error& error) {
            if (error.error_class() != ErrorClass::operator_latch) throw;
            // No session that saw an error is used again. One that could not be renewed is gone.
            if (lease.has_session()) lease.renew();
            restore([&error] { throw Pkcs11Error(error); });
            throw;  // not reached: restore() throws
        }
    }

    Lease lease_session();

    // An operation that ends without an exception was answered.
    class Answered {
    public:
        explicit Answered(std::atomic<int>& failures)
            : failures_(failures), exceptions_(std::uncaught_exceptions()) {}
        ~Answered() {
            if (std::uncaught_exceptions() == exceptions_ && failures_.load() != 0) failures_ = 0;
        }
        Answered(const Answered&) = delete;
        Answered& operator=(const Answered&) = delete;

    private:
        std::atomic<int>& failures_;
        int exceptions_;
    };

    // An operation failed for good, by that class: true when nothing else happens any more.
    bool only_fails(ErrorClass what);
    // True when the operation is worth another attempt.
    bool heal(ErrorClass what, Breaker::Visit& visit, std::uint64_t seen_epoch);
    // Of one that heals.
    void reconnect_or_fail(Breaker::Visit& visit, std::uint64_t seen_epoch);
    // Runs one step of recovery. What only an operator can settle is logged, once until it changes,
    // and is `unavailable` to callers, who did nothing wrong and need not know the token's names.
    void restore(const std::function<void()>& step);
    void log_in_again();
    // False when it was tried too short a time ago.
    bool reconnect(std::uint64_t seen_epoch);
    CallGate::Alone shut_out_calls();
    void initialise_anew();
    void tell_beyond_repair(std::string_view why);
    void connect(CK_SLOT_ID slot);
    void log_in(const Session& anchor);

    std::shared_ptr<Module> module_;
    TokenUri uri_;
    const KeptPin& pin_;
    base::Log& log_;
    ConnectionOptions options_;

    Breaker breaker_;
    CallGate calls_;  // alone: the connection is replaced
    std::atomic<std::uint64_t> generation_{1};
    std::atomic<int> failures_in_a_row_{0};
    std::chrono::steady_clock::time_point next_reconnect_;
    int failed_reconnects_ = 0;
    // The anchor holds the login: it stays open as long as the connection. Null pool: not
    // connected.
    std::mutex login_;
    bool pin_refused_ = false;
    std::mutex refusal_mutex_;
    // The last that was logged; empty when the token came back, or wrote something, since.
    std::string refusal_;
    std::optional<Session> anchor_;
    std::unique_ptr<SessionPool> pool_;
};

}  // namespace hsm
