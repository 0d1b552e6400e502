// One way of being known by something that a request carries. Implementations are
// server/api_tokens, jwt_verifier, introspection and shared_secret; server/identity chooses between
// them.
#pragma once

#include <string_view>

#include "server/caller.h"

namespace server {

// Thread-safe.
class CredentialVerifier {
public:
    virtual ~CredentialVerifier() = default;

    virtual AuthenticationMethod method() const noexcept = 0;
    // Whether a bearer credential has this method's form: then its verdict is final. Looks at the
    // text only. Throws nothing.
    virtual bool recognizes(std::string_view credential) const = 0;
    // The caller who is proven by it, without an address. May block, within a bound of its own.
    // Throws unauthenticated (identity_words.h, refuse_credential); unavailable when it can't be
    // told now.
    virtual Caller verify(std::string_view credential) = 0;
    // The same, for methods that bound what one peer may occupy. `peer` says from whom it came, by
    // certificate or address; empty: not known.
    virtual Caller verify_from(std::string_view /*peer*/, std::string_view credential) {
        return verify(credential);
    }
};

}  // namespace server
