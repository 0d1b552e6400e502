// An issuer's public keys as they change: fetched, kept for a while, fetched again. How they are
// fetched (file, HTTPS) is a function; when, and what an outage means, is here.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "server/jwk.h"

namespace server {

struct JwksTimes {
    std::chrono::seconds refresh{300};  // age at which keys are fetched again
    std::chrono::seconds pause{10};     // shortest time between fetches, whoever asks for them
    std::chrono::seconds keep{3600};    // age at which keys that can't be fetched count no more
};

// Moved on by hand in tests; a step of the wall clock must not make old keys young.
using MonotonicClock = std::function<std::chrono::steady_clock::time_point()>;

// Thread-safe. `log` must outlive it.
class JwksSource {
public:
    // Returns a JWK set as text, within a bound of its own, or throws: whatever it throws is a
    // failed fetch.
    using Fetch = std::function<std::string()>;

    JwksSource(
        std::string issuer, Fetch fetch, JwksTimes times, base::Log& log,
        MonotonicClock clock = [] { return std::chrono::steady_clock::now(); });

    // The key of that name; empty when the issuer has none. A name that is not known makes the
    // calling thread fetch the keys anew, at most once in JwksTimes::pause for all callers. Throws
    // unavailable when it can't be told: keys too old, the last fetch failed, or one is under way.
    std::optional<JwtKey> find(std::string_view key_id);

    // Fetches when the keys' age or ask_anew() asks for it, and no other fetch is under way. A
    // fetch that fails, or brings no good set, leaves the keys that are there. False when it
    // failed.
    bool refresh_if_due();
    // Makes a fetch due that begins after this, whatever the keys' age. Waits for nothing.
    void ask_anew();

private:
    using TimePoint = std::chrono::steady_clock::time_point;
    // Of the keys in force; null when there are none young enough.
    std::shared_ptr<const JwkSet> current() const;
    bool may_fetch() const;
    bool fetch_failed() const;
    bool fetch();
    void note_failure(const std::string& reason);

    const std::string issuer_;
    const Fetch fetch_;
    const JwksTimes times_;
    base::Log& log_;
    const MonotonicClock clock_;

    std::mutex fetching_;       // held during a fetch; nobody waits for it
    mutable std::mutex mutex_;  // of what follows; held for moments
    std::shared_ptr<const JwkSet> keys_;
    TimePoint fetched_{};
    std::optional<TimePoint> attempted_;
    bool failed_ = false;  // the last attempt
    bool asked_ = false;   // a fetch is due whatever the keys' age
};

}  // namespace server
