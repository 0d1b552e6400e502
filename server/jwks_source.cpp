#include "server/jwks_source.h"

#include "base/error.h"

namespace server {
namespace {

base::Error keys_unavailable(const std::string& issuer) {
    return {base::ErrorCode::unavailable, "the credential can't be judged now: try again",
            "no keys of " + issuer};
}

}  // namespace

JwksSource::JwksSource(std::string issuer, Fetch fetch, JwksTimes times, base::Log& log,
                       MonotonicClock clock)
    : issuer_(std::move(issuer)),
      fetch_(std::move(fetch)),
      times_(times),
      log_(log),
      clock_(std::move(clock)) {}

std::optional<JwtKey> JwksSource::find(std::string_view key_id) {
    auto keys = current();
    const JwtKey* key = keys ? keys->find(key_id) : nullptr;
    if (key != nullptr) return *key;

    const std::unique_lock lock(fetching_, std::try_to_lock);
    if (!lock.owns_lock()) throw keys_unavailable(issuer_);
    if (may_fetch()) fetch();
    keys = current();
    if (!keys) throw keys_unavailable(issuer_);
    key = keys->find(key_id);
    if (key != nullptr) return *key;
    // A failed fetch might have brought it.
    if (fetch_failed()) throw keys_unavailable(issuer_);
    return std::nullopt;
}

void JwksSource::ask_anew() {
    const std::lock_guard lock(mutex_);
    asked_ = true;
}

bool JwksSource::refresh_if_due() {
    const std::unique_lock lock(fetching_, std::try_to_lock);
    if (!lock.owns_lock()) return true;
    {
        const std::lock_guard guard(mutex_);
        const bool is_old = !keys_ || clock_() - fetched_ >= times_.refresh;
        const bool paused = attempted_ && clock_() - *attempted_ < times_.pause;
        if (!asked_ && (!is_old || paused)) return true;
    }
    return fetch();
}

std::shared_ptr<const JwkSet> JwksSource::current() const {
    const std::lock_guard lock(mutex_);
    return keys_ && clock_() - fetched_ < times_.keep ? keys_ : nullptr;
}

bool JwksSource::may_fetch() const {
    const std::lock_guard lock(mutex_);
    return !attempted_ || clock_() - *attempted_ >= times_.pause;
}

bool JwksSource::fetch_failed() const {
    const std::lock_guard lock(mutex_);
    return failed_;
}

bool JwksSource::fetch() {
    const auto begin = clock_();
    {
        const std::lock_guard lock(mutex_);
        attempted_ = begin;
        asked_ = false;
    }
    try {
        auto keys = std::make_shared<const JwkSet>(fetch_());
        const std::lock_guard lock(mutex_);
        keys_ = std::move(keys);
        fetched_ = begin;
        failed_ = false;
        return true;
    } catch (const std::exception& error) {
        // Also what is no Error, such as too little memory: an outage of the keys, not of the
        // daemon.
        note_failure(error.what());
        return false;
    } catch (...) {
        note_failure("an unexpected error");
        return false;
    }
}

void JwksSource::note_failure(const std::string& reason) {
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = !failed_;
        failed_ = true;
    }
    // Said once for each outage: it may be asked for often.
    if (first) log_.error("keys can't be fetched", {{"issuer", issuer_}, {"reason", reason}});
}

}  // namespace server
