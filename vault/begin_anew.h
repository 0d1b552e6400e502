// When a credential begins anew: what a store does where the current version does not open. What
// stays of it would be sealed as true, so nothing of it does, and only who may give the credential
// tags whatever it has may do that: or a store would be a way around the rules by tag. No HTTP and
// no SQL in here.
#pragma once

#include <optional>

#include "base/error.h"
#include "server/authorizer.h"
#include "vault/record.h"
#include "vault/service.h"

namespace vault {

// Whether the operation's caller may have the credential begin anew: give it tags whatever it has
// and gets, so that a rule by tag allows nothing and a deny by tag refuses it as what may fit.
// Noted in the operation.
bool may_begin_anew(const server::Authorizer& authorizer, server::Operation& operation,
                    const CredentialId& id);

// What one store knows of a current version that does not open.
class Doubt {
public:
    // `request` must outlive it.
    explicit Doubt(const StoreRequest& request) : request_(request) {}

    // From now on the credential begins anew on `head`. Throws integrity_failure, or
    // failed_precondition when the key service refuses the version's data key, if the request may
    // not do that.
    void replace(const Head& head, const base::Error& why);

    // The same for what could be read. A rewrap may have moved it meanwhile, and the key that it
    // had be gone: what is refused for the first time is to be read once more, and nothing is
    // thrown. Throws `why` for what is neither wrong nor refused, and for what is refused while a
    // token is refreshed: failed_precondition says there that another store came first.
    void look_again_or_replace(const Head& head, const base::Error& why, bool refreshes);

    bool replaces(const Head& head) const { return replaced_ == head; }
    bool is_damage() const { return is_damage_; }  // else: it is refused

private:
    const StoreRequest& request_;
    std::optional<Head> refused_, replaced_;
    bool is_damage_ = false;
};

}  // namespace vault
