// What becomes of a key version whose making was cut short: the token says. Used at start for all
// of them, and before a key is made again for what stands in its way.
#pragma once

#include "base/clock.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/store.h"
#include "kms/usage.h"

namespace kms {

enum class Settled {
    finished,      // the token has it and it is good: enabled now, and primary
    abandoned,     // the token has none, or what a crash left of one: destroyed now
    left_pending,  // the token has one that can't be trusted; the log says why
};

// Makes and deletes nothing in the token. Everything passed by reference must outlive it. The
// caller holds the MakingLock, as `holder`, so that nobody is in the middle of making what is
// settled.
class Settler {
public:
    Settler(Store& store, hsm::Token& token, UsageCounter& usage, const base::Clock& clock,
            base::Log& log)
        : store_(store), token_(token), usage_(usage), clock_(clock), log_(log) {}

    // The first version of a pending key. When the alias that it asked for has gone to another key
    // meanwhile, it stays without one.
    Settled settle_key(const Key& key, const std::string& holder);

    // A pending version of a key that is in service.
    Settled settle_version(const Key& key, const KeyVersion& version, const std::string& holder);

private:
    bool is_half_made(const Key& key, const KeyVersion& version, const hsm::KeyAttributes& found);
    bool is_as_ordered(const Key& key, const KeyVersion& version, const hsm::KeyAttributes& found);
    bool is_durable(const Key& key, const KeyVersion& version);
    void complain(const Key& key, const KeyVersion& version, const std::string& why);
    std::optional<hsm::Encrypted> known_answer(const Key& key, const KeyVersion& version);

    Store& store_;
    hsm::Token& token_;
    UsageCounter& usage_;
    const base::Clock& clock_;
    base::Log& log_;
};

// When the key's next version is due after one that is made at `now`; empty without a period.
std::optional<base::Time> next_rotation(const Key& key, base::Time now);

// The label of the version's key in the token, for people.
std::string token_label(const base::Uuid& key_id, std::uint32_t version);

}  // namespace kms
