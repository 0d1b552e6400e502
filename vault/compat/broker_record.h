// What a broker keeps of one client: a JSON object as it was sent. All of it is sealed; the fields
// that identify the client and its accounts, and the expiry, are metadata, too. No HTTP in here.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/json.h"
#include "base/secret_bytes.h"

namespace vault::compat {

// How an expired token is replaced (RFC 6749): "refresh" of the record. Views into the record.
struct RefreshOrder {
    std::string_view token_endpoint;
    std::string_view client_id;
    std::string_view client_secret;
    std::string_view refresh_token;  // empty: by client credentials (section 4.4), else section 6
    std::string_view scope;          // empty: none is asked for
};

// What a token endpoint gave.
struct FreshToken {
    base::WipedString access_token;
    std::optional<base::Time> expires_at;
    base::WipedString refresh_token;  // empty: the old one goes on
};

// Whether a field of that name says whose token it is, and is no secret.
bool is_public(std::string_view name);

// A value type; the secret parts of it sit in wiped memory.
class BrokerRecord {
public:
    // From a client's body. Throws invalid_argument with the message for the client.
    static BrokerRecord from_client(base::JsonValue fields);
    // From what was sealed. Throws failed_precondition when another API stored something else
    // there.
    static BrokerRecord from_secret(const base::SecretBytes& secret);

    // A number's digits; the field itself stays a number.
    const std::string& client_id() const { return client_id_; }
    const std::optional<base::Time>& expires_at() const { return expires_at_; }
    bool is_expired(base::Time now) const { return expires_at_ && *expires_at_ <= now; }
    std::optional<RefreshOrder> refresh() const;

    base::SecretBytes secret() const;
    // A compact JSON object.
    std::string metadata() const;

    // Writes the fields that are no secret, in the order of the record.
    void write_public(base::JsonWriter& out) const;
    // Writes every field but "refresh", whose secrets are for the token endpoint only, and
    // "token_expired", which the answer has for itself.
    void write_token(base::JsonWriter& out) const;

    // The same record with another token.
    BrokerRecord with(const FreshToken& token) const;

private:
    explicit BrokerRecord(base::JsonValue fields);

    base::JsonValue fields_;
    std::string client_id_;
    std::optional<base::Time> expires_at_;
};

}  // namespace vault::compat
