// Where the sealed text of a credential stands beside the vault's own store, for who reads it
// there: the seam to it. The vault's own comes first, always; a copy follows it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "vault/record.h"

namespace vault {

// What became of a credential's copy.
struct CopyOutcome {
    enum class State {
        none,     // it has no copy anywhere
        written,  // the copy is what the vault has, or gone with it
        failed    // nobody knows
    };
    State state = State::none;
    std::string detail{};  // of a failure, for the log; never a secret
};

// Implementations are safe to share between threads and answer within a deadline of their own.
class Copies {
public:
    // The credential's current version in the vault; empty when it has none.
    using Look = std::function<std::optional<StoredVersion>()>;

    virtual ~Copies() = default;

    // The one credential of the owner that has a copy; empty when none has.
    virtual std::optional<CredentialId> of(const std::string& owner) const = 0;

    // Makes the copy what `look` tells, or takes it away. It looks again after each write, until
    // nothing has changed meanwhile: of calls at once the last leaves what the vault has. Throws
    // unavailable when the copy is not known to be so, and what `look` throws.
    virtual void follow(const CredentialId& id, const Look& look) const = 0;
};

}  // namespace vault
