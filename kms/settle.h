// What becomes of a key version whose making was cut short: the token says. Used at start for all
// of them, and before a key is made again for what stands in its way.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "hsm/token.h"
#include "kms/store.h"
#include "kms/usage.h"

namespace kms {

enum class Settled {
    finished,      // the token has it and it is good: enabled now, and primary
    abandoned,     // the token has none, or none that can be trusted: destroyed now
    left_pending,  // nobody can say yet whether it survives this process; the log says why
};

// What is about to be given up, for the audit log. `why` may be shown to who may describe the key.
struct GivenUp {
    VersionName name;
    hsm::KeyId token_key_id;
    std::string why;
};
// Writes it down durably, before it is done. Throws when it can't: then it is not done.
using RecordGivenUp = std::function<void(const GivenUp&)>;

// A version was never acknowledged before it is settled, so giving up a good one costs nothing but
// its object in the token. It is given up when the token answers and the answer is that it is not
// as ordered, does not prove itself, or is not what a second process finds: asking again would
// bring the same answer for ever, and the version would stand in the way of the next one. The log
// says why, its object stays in the token as a leftover, and a tombstone stays of it, as of what
// was destroyed: when, why, and whether the token was asked and had nothing.
//
// Trouble that may pass says nothing of the version, and so decides nothing about it. When the
// token or the store does not answer, it is thrown: nobody can go on without them. When only the
// second process can't be asked, the version is left pending for the next occasion, since a start
// that failed for that would take all other keys out of service.
//
// Makes and deletes nothing in the token. Everything passed by reference must outlive it. The
// caller holds the MakingLock, as `holder`, so that nobody is in the middle of making what is
// settled. Throws unavailable and failed_precondition as the token and the store do.
class Settler {
public:
    Settler(Store& store, hsm::Token& token, UsageCounter& usage, const base::Clock& clock,
            base::Log& log)
        : store_(store), token_(token), usage_(usage), clock_(clock), log_(log) {}

    // The first version of a pending key. When the alias that it asked for has gone to another key
    // meanwhile, it stays without one.
    Settled settle_key(const Key& key, const std::string& holder, const RecordGivenUp& record = {});

    // A pending version of a key that is in service.
    Settled settle_version(const Key& key, const KeyVersion& version, const std::string& holder,
                           const RecordGivenUp& record = {});

private:
    struct Finding {
        Settled settled = Settled::abandoned;
        hsm::Encrypted known_answer{};  // when it can be finished
        std::string why{};              // when it is given up
        bool is_absent = false;         // then: the token said that it has nothing of it
    };
    Finding examine(const Key& key, const KeyVersion& version);
    Finding prove(const Key& key, const KeyVersion& version);
    Finding give_up(const Key& key, const KeyVersion& version, const std::string& why,
                    const std::string& detail = {});
    static void write_tombstone(base::JsonWriter& out, const KeyVersion& version,
                                const Finding& finding, base::Time at);
    static std::string key_tombstone(const Key& key, const Finding& finding, base::Time at);

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
