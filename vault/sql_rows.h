// How credentials lie in the tables: what a row holds, and reading it back. For the SQL store's own
// files only.
#pragma once

#include <string>
#include <string_view>

#include "server/database.h"
#include "vault/record.h"

namespace vault {

inline std::uint64_t to_number(long long value) {
    return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}
inline long long to_column(std::uint64_t value) { return static_cast<long long>(value); }
inline long long to_column(base::Time time) { return base::to_milliseconds(time); }

struct CredentialRow {
    long long id = 0, current = 0, last = 0, created_at = 0, updated_at = 0;
    long long first = 0;       // version since the last destruction; 0: not known
    long long expires_at = 0;  // of the current version
    soci::indicator expires = soci::i_null;
    std::string name, metadata, tags;
};

struct VersionRow {
    long long version = 0, key_version = 0, expires_at = 0, created_at = 0, restored_from = 0;
    soci::indicator expires = soci::i_null, restored = soci::i_null;
    std::string key_id, sealed;
};

// Where a credential's numbering stands; `id` is 0 when it was never stored.
struct HeadRow {
    long long id = 0;
    Head head;
};

// Throws integrity_failure: rows that only a hand in the database can have made so.
[[noreturn]] void contradiction(const CredentialId& id, std::string_view what);

// Why it can't be read: its master key, or a time; empty when it can.
std::string_view fault_of(const VersionRow& row);
// Throws integrity_failure for one that can't be read.
VersionInfo to_version(const CredentialId& id, const VersionRow& row);
// The version it was made from. Throws integrity_failure for a number that none has.
std::optional<std::uint64_t> to_restored_from(const CredentialId& id, const VersionRow& row);
std::string tags_to_text(const Tags& tags);
// Throws integrity_failure for what is none of ours.
Tags text_to_tags(const CredentialId& id, std::string_view text);

// Without its versions. Throws integrity_failure for a time that can't be read.
CredentialInfo to_credential(CredentialId id, CredentialRow& row);

bool is_safe(const CredentialId& id);
// Where a row stands in a list, for a cursor.
CredentialId to_place(const CredentialId& id, long long row);
// As an answer may name it.
UnsoundCredential to_unsound(CredentialId id, std::string reason);
// Throws invalid_argument when `row` is not there, or has no place in the lists of `owner`.
void require_row(server::Session& sql, const std::string& owner, std::uint64_t row);

struct ExpiringRow {
    CredentialId id;
    ExpiryPlace place;
    std::uint64_t row = 0;
};
// One more than asked for when there are more. Throws as require_row().
std::vector<ExpiringRow> select_expiring(server::Session& sql, const ExpiryQuestion& question);
// Those of the question's owners whose expiry is no number; up to its limit.
std::vector<CredentialId> select_without_order(server::Session& sql,
                                               const ExpiryQuestion& question);

HeadRow select_head(soci::session& sql, const CredentialId& id);

// Those of a credential that are not erased.
long long count_versions(soci::session& sql, long long credential);

}  // namespace vault
