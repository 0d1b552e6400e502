// Who refreshes which token, in the store, so that of several nodes on it one asks the provider: a
// lease for a time, and after a failure a pause. Rows and times only; no token is known here.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "vault/record.h"

namespace server {
class Database;
}

namespace vault::compat {

// Thread-safe. `database` must outlive it. Every function throws unavailable.
class RefreshLeases {
public:
    // Brings its table to the newest version: throws as Database::migrate.
    explicit RefreshLeases(server::Database& database);

    enum class Taken {
        yes,
        held,           // by another holder
        after_failure,  // nobody asks again yet: the last try failed
        after_refusal,  // the same, and the provider refused
    };
    // Takes the lease until `until`, unless another has it or a pause after that version's failure
    // lasts. A lease whose time is over is nobody's: clocks of nodes may differ by less than a
    // lease lasts.
    Taken take(const CredentialId& id, std::uint64_t version, const std::string& holder,
               base::Time now, base::Time until);
    // Whether somebody has it now.
    bool is_held(const CredentialId& id, base::Time now);

    // Gives it back; nothing happens when another has it by now, or when it was made a pause.
    void release(const CredentialId& id, const std::string& holder);
    // After a try that failed: nobody asks again for that version before `until`.
    void pause(const CredentialId& id, const std::string& holder, bool refused, base::Time until);

private:
    server::Database& database_;
};

}  // namespace vault::compat
