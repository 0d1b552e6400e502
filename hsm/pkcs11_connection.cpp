#include "hsm/pkcs11_connection.h"

namespace hsm {
namespace {

using base::refuse;

constexpr std::chrono::milliseconds heal_patience{250};

std::string describe(const CK_TOKEN_INFO& token) {
    return "token=" + std::string(trim_padding(token.label)) +
           ";serial=" + std::string(trim_padding(token.serialNumber));
}

// Asked before every login, since others may have used up the attempts. Not latched: a person may
// have settled it before the next time.
void refuse_locked_pin(const Module& module, CK_SLOT_ID slot) {
    CK_TOKEN_INFO token{};
    check_call(module->C_GetTokenInfo(slot, &token), "C_GetTokenInfo");
    if ((token.flags & CKF_USER_PIN_LOCKED) != 0)
        refuse("the token's user PIN is locked; the security officer must set a new one");
    if ((token.flags & CKF_USER_PIN_FINAL_TRY) != 0) {
        refuse(
            "one login attempt is left before the token locks; it is left to a person: log in once "
            "by hand");
    }
}

}  // namespace

FoundToken find_token(const Module& module, const TokenUri& uri, const std::string& hint) {
    std::vector<FoundToken> matching;
    std::string present;
    for (const CK_SLOT_ID slot : slots_with_tokens(module)) {
        FoundToken found{slot, {}};
        if (module->C_GetTokenInfo(slot, &found.info) != CKR_OK) continue;
        if ((found.info.flags & CKF_TOKEN_INITIALIZED) == 0) continue;
        present += (present.empty() ? "" : ", ") + describe(found.info);
        if (uri.matches(found.info)) matching.push_back(found);
    }
    if (matching.size() == 1) return matching.front();
    if (matching.empty()) {
        refuse("there is no token that " + uri.text() +
               " names; present: " + (present.empty() ? "none" : present) +
               ". A missing token is never initialised here: check the URI, the module and its "
               "configuration" +
               (hint.empty() ? "" : ". " + hint));
    }
    refuse("more than one token is named by " + uri.text() + "; present: " + present +
           ". Add serial=… to the URI");
}

Connection::Connection(std::shared_ptr<Module> module, TokenUri uri, const FoundToken& token,
                       const KeptPin& pin, base::Log& log, ConnectionOptions options)
    : module_(std::move(module)),
      uri_(std::move(uri)),
      pin_(pin),
      log_(log),
      options_(std::move(options)),
      breaker_(log, Breaker::Times{options_.pauses.probe, heal_patience}, Breaker::Clock::now) {
    connect(token.slot);
}

void Connection::connect(CK_SLOT_ID slot) {
    Session anchor(module_, slot);
    log_in(anchor);
    anchor_.emplace(std::move(anchor));
    pool_ = std::make_unique<SessionPool>(module_, slot, options_.max_sessions, options_.patience);
}

void Connection::log_in(const Session& anchor) {
    if (pin_refused_)
        refuse("the token refused the PIN before; it is not tried again until a restart");
    refuse_locked_pin(*module_, anchor.info().slotID);
    const CK_RV code = anchor.log_in(pin_.reveal().expose());
    switch (code) {
        case CKR_OK:
        case CKR_USER_ALREADY_LOGGED_IN:
            break;
        case CKR_PIN_INCORRECT:
        case CKR_PIN_INVALID:
        case CKR_PIN_LEN_RANGE:
            pin_refused_ = true;
            refuse(
                "the token refused the user PIN; it was tried once. Check the PIN file before the "
                "next start",
                name_of(code));
        case CKR_PIN_LOCKED:
            pin_refused_ = true;
            refuse("the token's user PIN is locked; the security officer must set a new one",
                   name_of(code));
        case CKR_PIN_EXPIRED:
            pin_refused_ = true;
            refuse("the token's user PIN has expired; set a new one", name_of(code));
        case CKR_USER_PIN_NOT_INITIALIZED:
            refuse("the token has no user PIN yet; finish its initialisation", name_of(code));
        default:
            throw to_error(code, "C_Login");
    }
    if (anchor.info().state != CKS_RW_USER_FUNCTIONS) {
        refuse("another user than the token's normal user is logged in in this process");
    }
}

void Connection::check() {
    repeatable([&](const Operation& operation) { operation.session().require_login(); });
}

// A token that became read-only says so here already.
Lease Connection::lease_session() {
    try {
        return pool_->lease();
    } catch (const Pkcs11Error& error) {
        if (error.error_class() != ErrorClass::operator_latch) throw;
        restore([&error] { throw Pkcs11Error(error); });
        throw;  // not reached: restore() throws
    }
}

bool Connection::only_fails(ErrorClass what) {
    const bool is_trouble = what == ErrorClass::session_dead || what == ErrorClass::login_lost ||
                            what == ErrorClass::handles_stale || what == ErrorClass::ambiguous;
    return is_trouble && ++failures_in_a_row_ >= max_failures_in_a_row;
}

bool Connection::heal(ErrorClass what, Breaker::Visit& visit, std::uint64_t seen_epoch) {
    switch (what) {
        case ErrorClass::session_dead: {
            const CallGate::Call call = calls_.enter();
            if (pool_) pool_->drop_idle();
            return true;
        }
        case ErrorClass::login_lost:
            try {
                restore([&] { log_in_again(); });
                return true;
            } catch (const Pkcs11Error&) {
                // SoftHSM says nothing of its token any more once its write to token.object was
                // refused; other modules have their own reasons.
                return heal(ErrorClass::token_gone, visit, seen_epoch);
            }
        case ErrorClass::handles_stale:
            ++generation_;
            return true;
        case ErrorClass::objects_doubtful: {
            bool done = false;
            restore([&] { done = reconnect(seen_epoch); });
            return done;
        }
        case ErrorClass::token_gone:
            if (breaker_.take_over(visit, [&] { return module_->epoch() != seen_epoch; }))
                reconnect_or_fail(visit, seen_epoch);
            return true;
        case ErrorClass::caller_fault:
        case ErrorClass::ambiguous:
        case ErrorClass::back_pressure:
        case ErrorClass::operator_latch:
        case ErrorClass::against_contract:
            return false;
    }
    return false;
}

void Connection::reconnect_or_fail(Breaker::Visit& visit, std::uint64_t seen_epoch) {
    bool done = false;
    try {
        restore([&] { done = reconnect(seen_epoch); });
    } catch (...) {
        visit.fail();
        throw;
    }
    if (done) return;
    visit.leave_untried();
    throw to_error(CKR_TOKEN_NOT_PRESENT, "waiting before the next attempt to reconnect");
}

void Connection::restore(const std::function<void()>& step) {
    std::string refusal;
    try {
        step();
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::failed_precondition) throw;
        refusal = error.what();
    }
    {
        const std::lock_guard lock(refusal_mutex_);
        if (!refusal.empty() && refusal != refusal_)
            log_.error("the token can't be used until an operator acts", {{"why", refusal}});
        refusal_ = refusal;
    }
    if (!refusal.empty())
        throw base::Error(base::ErrorCode::unavailable, "the token is not available", refusal);
}

void Connection::note_written() {
    const std::lock_guard lock(refusal_mutex_);
    refusal_.clear();
}

void Connection::log_in_again() {
    const CallGate::Call connected = calls_.enter();
    const std::lock_guard one_at_a_time(login_);
    if (!pool_) return;  // the next attempt finds that out
    try {
        if (anchor_->info().state == CKS_RW_USER_FUNCTIONS) return;  // another thread was quicker
    } catch (const Pkcs11Error& error) {
        if (error.error_class() != ErrorClass::session_dead) throw;
        anchor_.emplace(pool_->open_extra());
    }
    log_in(*anchor_);
    ++generation_;
    log_.warning("logged in at the token again");
    if (options_.logged_in_again) options_.logged_in_again();
}

bool Connection::reconnect(std::uint64_t seen_epoch) {
    const CallGate::Alone alone = shut_out_calls();
    if (module_->epoch() != seen_epoch && pool_) return true;  // another thread was quicker
    const auto now = std::chrono::steady_clock::now();
    if (now < next_reconnect_) return false;
    next_reconnect_ = now + options_.pauses.initialise;
    if (failed_reconnects_ == max_failed_reconnects)
        tell_beyond_repair("its module can't be initialised anew");
    initialise_anew();
    failed_reconnects_ = 0;
    return true;
}

CallGate::Alone Connection::shut_out_calls() {
    try {
        return calls_.shut();
    } catch (const base::Error& error) {
        // A call that hangs can't be ended from within its process.
        tell_beyond_repair(error.detail());
        throw;
    }
}

void Connection::tell_beyond_repair(std::string_view why) {
    log_.error("the token's module is beyond repair in this process", {{"why", std::string(why)}});
    if (options_.beyond_repair) options_.beyond_repair(why);
}

void Connection::initialise_anew() {
    pool_.reset();
    anchor_.reset();
    ++generation_;
    if (failed_reconnects_ == 0)
        log_.warning("the token is gone or was changed by others; initialising its module again");
    ++failed_reconnects_;
    if (options_.before_initialising) options_.before_initialising();
    module_->reinitialise();
    connect(find_token(*module_, uri_).slot);
    failures_in_a_row_ = 0;
    log_.warning("the token is back");
    if (options_.logged_in_again) options_.logged_in_again();
}

}  // namespace hsm
