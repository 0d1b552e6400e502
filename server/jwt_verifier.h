// Callers by JSON Web Token: an issuer's key, its signature, and the claims. RFC 8725 is the list
// of what can go wrong.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "server/credential_verifier.h"
#include "server/jwks_source.h"
#include "server/jwt.h"

namespace server {

struct JwtIssuer {
    JwtRules rules;
    std::shared_ptr<JwksSource> keys;
};

class JwtVerifier final : public CredentialVerifier {
public:
    // Issuers differ. `clock` must outlive it.
    JwtVerifier(std::vector<JwtIssuer> issuers, const base::Clock& clock)
        : issuers_(std::move(issuers)), clock_(clock) {}

    AuthenticationMethod method() const noexcept override { return AuthenticationMethod::jwt; }
    // A token of one of the issuers, as it says itself. One of anybody else's is not for this
    // method: an identity provider that is asked (introspection) may have made it.
    bool recognizes(std::string_view credential) const override;
    // Throws as CredentialVerifier; unavailable while the issuer's keys can't be had.
    Caller verify(std::string_view credential) override;

private:
    const JwtIssuer* find(std::string_view issuer) const;

    std::vector<JwtIssuer> issuers_;
    const base::Clock& clock_;
};

}  // namespace server
