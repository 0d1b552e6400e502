// How the fields of an encryption context stand in audit records: in clear, as a keyed hash, or not
// at all, field by field. Values of a context may be personal (a user's id, an account), and a log
// is kept for years; who has the key can still tell whether a record is of a value that he knows.
//
//     in clear   "context":{"tenant":"acme"}
//     hashed     "context_hmac":{"tenant":"<HMAC-SHA-256, hex>"}     of name || 0x00 || value
//     dropped    not even the name
//
// `kmsctl audit hash` makes the same hash.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/secret_bytes.h"

namespace server {

enum class ContextMode { clear, hash, drop };

struct ContextRules {
    ContextMode others = ContextMode::clear;  // of fields that are not named
    std::map<std::string, ContextMode, std::less<>> fields;
    bool need_key() const;
};

// RFC 2104 with SHA-256, lower-case hex. Throws internal when the library fails.
std::string context_hash(base::ByteView key, std::string_view name, std::string_view value);

// Thread-safe.
class AuditContext {
public:
    // `key` may be empty unless the rules need one; throws invalid_argument when it has under 16
    // bytes.
    AuditContext(ContextRules rules, base::SecretBytes key);

    // Adds the member "context", and "context_hmac" when a field of `context` is hashed, to the
    // object that is being written.
    void write(base::JsonWriter& out, const std::map<std::string, std::string>& context) const;

private:
    ContextMode mode_of(std::string_view name) const;

    ContextRules rules_;
    base::SecretBytes key_;
};

}  // namespace server
