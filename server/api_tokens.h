// API tokens: bearer credentials that the daemon makes itself, for callers that can't have a
// certificate. What is kept of one is its hash; the token is shown once, when it is made.
//
//   srt_<16 hex digits: its id>_<43 characters of base64url: 32 random bytes>
//
// A token names a caller, "token:<name>"; several can name the same one, so that one can be changed
// for another. It may carry claims. The hash is HMAC-SHA-256 over the token and all that its row
// says of it (but for a revocation), under a key that is not in the database: who can write the
// database can neither make a token nor give one another name, claim or end. There is nothing to
// guess in 256 random bits, so a slow hash would protect nothing more.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/secret_bytes.h"
#include "server/authorizer.h"
#include "server/credential_verifier.h"

namespace server {

class Database;

inline constexpr std::string_view api_token_start = "srt_";
// Before the name of a caller who is known by a token.
inline constexpr std::string_view api_token_prefix = "token:";

// What is known of a token; nothing of it is secret.
struct ApiToken {
    std::string id;
    std::string name;  // the caller is "token:<name>"
    Claims claims;
    std::string made_by;  // a caller's id
    base::Time created_at{};
    base::Time expires_at{};
    std::optional<base::Time> revoked_at;
    std::string revoked_by;  // a caller's id
};

struct MadeApiToken {
    ApiToken token;
    base::SecretBytes text;  // the credential itself
};

// Whether a token's name, or a shared secret's, is one: 1 to 64 of a-z, 0-9, '.', '-' and '_'.
bool is_token_name(std::string_view name);
// Whether `id` has the form of a token's id.
bool is_api_token_id(std::string_view id);

// The id in a token's text; empty for what has not the form of one.
std::optional<std::string> api_token_id_in(std::string_view credential);

// The id of the token that the order of that name makes (OrdersOnce::Order::name): the table can't
// hold two of one order.
std::string api_token_id_of(std::string_view order);
// What an order that has made this token is told when it is repeated: failed_precondition.
base::Error api_token_was_made(const std::string& id);

// Thread-safe. Every call asks the database, so a revocation holds from its answer on, on every
// node that shares it. While the database does not answer nobody is let in: unavailable.
class ApiTokens final : public CredentialVerifier {
public:
    // Brings its table to the newest version. `key`, of 32 bytes at least, is the same on every
    // node that shares the database; tokens made under another one are unknown. `database` and
    // `clock` must outlive it. Throws invalid_argument for a shorter key, and as Database::migrate.
    ApiTokens(Database& database, base::SecretBytes key, const base::Clock& clock);

    // `order` is an order's name, or empty. Throws api_token_was_made when that one has made a
    // token already, and unavailable.
    MadeApiToken create(const Grant& grant, const std::string& name, const Claims& claims,
                        std::chrono::seconds lifetime, const std::string& order = {});
    // At most `limit`, also expired and revoked ones, sorted by id, those behind `after`.
    std::vector<ApiToken> list(const Grant& grant, const std::string& after, std::size_t limit);
    // For asking the policy about the token. Empty when there is none.
    std::optional<ApiToken> find(const std::string& id);
    // Of one that is revoked already the first revocation stays. Throws not_found.
    ApiToken revoke(const Grant& grant, const std::string& id);

    AuthenticationMethod method() const noexcept override {
        return AuthenticationMethod::api_token;
    }
    // By how it starts.
    bool recognizes(std::string_view credential) const override {
        return credential.starts_with(api_token_start);
    }
    // The caller has the token's claims and "token_id"; his credential is that id.
    Caller verify(std::string_view credential) override;

private:
    Database& database_;
    const base::SecretBytes key_;
    const base::Clock& clock_;
};

}  // namespace server
