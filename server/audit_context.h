// How the fields of an encryption context stand in audit records: in clear, as a keyed hash, or not
// at all, field by field. Values of a context may be personal (a user's id, an account), and a log
// is kept for years; who has the key can still tell whether a record is of a value that he knows.
//
//     in clear   "context":{"tenant":"acme"}
//     hashed     "context_hmac":{"tenant":"<HMAC-SHA-256, hex>"}     of name || 0x00 || value
//     dropped    not even the name
//
// `kmsctl audit hash` makes the same hash.
//
// The contexts of one record have room_for_contexts together, since a record that is long in
// writing holds up the records of all others. One that does not fit in what is left has in place of
// these members
//
//     without rules, or all in clear   "context_digest":{"sha256":"<SHA-256, hex>"}
//     with a key                       "context_digest":{"hmac_sha256":"<HMAC-SHA-256, hex>"}
//     fields dropped, and no key       "context_left_out":true     a plain hash could be guessed
//
// over the JSON object of the fields that are not dropped: names in the order of their bytes, no
// white space, nothing escaped but quotes, backslashes and control characters (\b \f \n \r \t,
// else \u00xx), as "context" has it. Who knows the context, and has the key where there is one, can
// show that it was this one.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/secret_bytes.h"
#include "server/digest.h"

namespace server {

// Bytes of all contexts of one record, in the text that they have there.
inline constexpr std::size_t room_for_contexts = 1024UL * 1024;

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

    // How many bytes write() adds, at most: every escape counts as the longest.
    std::size_t most_bytes(const std::map<std::string, std::string>& context) const;

    // Adds "context_digest" or "context_left_out" in place of what write() adds. `hasher` is used
    // where there is no key. Throws internal when the library fails.
    void write_digest(base::JsonWriter& out, const std::map<std::string, std::string>& context,
                      Sha256& hasher) const;

private:
    ContextMode mode_of(std::string_view name) const;
    bool all_clear() const;

    ContextRules rules_;
    base::SecretBytes key_;
};

// Writes the contexts of one record, one after the other. Not thread-safe.
class RecordContexts {
public:
    // `rules` may be null: all in clear. They must outlive this.
    explicit RecordContexts(const AuditContext* rules);

    // Adds the members for `context` to the object that is being written: in full where there is
    // room for it, else its digest. Throws internal when the library fails.
    void write(base::JsonWriter& out, const std::map<std::string, std::string>& context);

private:
    const AuditContext& rules_;
    std::size_t room_ = room_for_contexts;
    std::optional<Sha256> hasher_;  // made when the first digest is
};

}  // namespace server
