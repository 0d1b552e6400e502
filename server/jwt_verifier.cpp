#include "server/jwt_verifier.h"

#include <algorithm>

#include "server/identity_words.h"

namespace server {

const JwtIssuer* JwtVerifier::find(std::string_view issuer) const {
    const auto found =
        std::find_if(issuers_.begin(), issuers_.end(),
                     [issuer](const JwtIssuer& known) { return known.rules.issuer == issuer; });
    return found == issuers_.end() ? nullptr : &*found;
}

bool JwtVerifier::recognizes(std::string_view credential) const {
    return find(claimed_issuer(credential)) != nullptr;
}

Caller JwtVerifier::verify(std::string_view credential) {
    const Jwt token = parse_jwt(credential);
    const base::JsonValue* claim = token.claims.find("iss");
    const auto* name = claim == nullptr ? nullptr : claim->string();
    const JwtIssuer* issuer = name == nullptr ? nullptr : find(*name);
    if (issuer == nullptr) refuse_credential("jwt_issuer");
    const auto key = issuer->keys->find(token.key_id);
    if (!key) refuse_credential("jwt_key_id");
    // The algorithm is the key's; a token that says another one is refused, not obeyed.
    if (key->algorithm() != token.algorithm) refuse_credential("jwt_algorithm");
    if (!key->verifies(token.signed_text, token.signature)) refuse_credential("jwt_signature");
    return caller_of(token, issuer->rules, clock_.now());
}

}  // namespace server
