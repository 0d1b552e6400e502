// What the vault's calls on credentials have in common: parameters of path and query, a page, how a
// credential looks in an answer and what of it stands in the audit record.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "server/operation.h"
#include "server/request.h"
#include "vault/copies.h"
#include "vault/record.h"

namespace vault {

struct StoreResult;  // vault/service.h

// A parameter of the path that is a safe name. Throws invalid_argument naming it.
std::string safe_parameter(const server::Request& request, std::string_view name);

// Throws invalid_argument: `"<name>" in the query <complaint>`.
[[noreturn]] void refuse_parameter(std::string_view name, std::string_view complaint);

// A page of a list: "limit" and "cursor" of the query, and those of the parameters `known` that it
// has; others are refused. A cursor is where the page before ended, in hexadecimal.
struct PageRequest {
    std::size_t limit = 0;
    std::string after;  // empty: from the beginning
    std::map<std::string, std::string, std::less<>> more;
};
PageRequest read_page(const server::Request& request,
                      std::initializer_list<std::string_view> known = {});
[[noreturn]] void refuse_cursor();
// "next_cursor".
void write_cursor(base::JsonWriter& out, std::string_view after);

// RFC 3339. Throws invalid_argument naming the field.
base::Time read_time(const base::JsonReader& reader, std::string_view name, std::string_view text);
// An optional version's number from `min`, which is 0 or 1.
std::optional<std::uint64_t> read_version(base::JsonReader& reader, std::string_view name,
                                          std::int64_t min);

// Throws integrity_failure when the stored metadata are no JSON object.
void require_sound(const CredentialInfo& info);
void write_expiry(base::JsonWriter& out, const VersionInfo& version);
// The fields of a credential, as seen from `shown`: the current version, or the one revealed.
// Throws integrity_failure when its stored metadata are no JSON object.
void write_fields(base::JsonWriter& out, const CredentialInfo& info, const VersionInfo& shown,
                  base::Time now);
server::Response credential_answer(const CredentialInfo& info, base::Time now, unsigned status);

// The facts "version", "key_id" and "key_version".
void note_version(server::Operation& operation, const VersionInfo& version);
// The fact "replaced_damaged" or "replaced_unopened", "yes", where the credential began anew: who
// looks into an attack must find that what was there is gone.
void note_replaced(server::Operation& operation, const StoreResult& result);
// The fact "write_through", "written" or "failed", where there is a copy elsewhere. The second
// throws unavailable with `message` when it failed: the caller must know, and repeats.
void note_copy(server::Operation& operation, const CopyOutcome& copy);
void require_copy(server::Operation& operation, const CopyOutcome& copy, std::string_view message);
inline constexpr std::string_view not_copied =
    "it is in the vault and its copy elsewhere is older: store it again";
inline constexpr std::string_view copy_not_destroyed =
    "it is destroyed in the vault and its copy elsewhere is not: try again";
// The fact "data_key", "cache", for a secret that was opened without asking the key service.
void note_data_key(server::Operation& operation, bool from_cache);

}  // namespace vault
