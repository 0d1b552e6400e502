// What the vault keeps: credentials and their versions, as plain values. A secret is in here only
// as ciphertext (vault/sealed.h). No SQL, no JSON type and no HTTP may appear here.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/uuid.h"

namespace vault {

inline constexpr std::size_t max_name_bytes = 128;             // of an owner, and of a name
inline constexpr std::size_t max_secret_bytes = 64UL * 1024;   // as compact JSON
inline constexpr std::size_t max_metadata_bytes = 8UL * 1024;  // as compact JSON
inline constexpr std::size_t max_versions_shown = 20;          // in one CredentialInfo
inline constexpr std::uint64_t max_version = 1ULL << 53U;      // exact in any JSON reader

inline constexpr std::size_t max_tags = 16;
inline constexpr std::size_t max_tag_name_bytes = 64;
inline constexpr std::size_t max_tag_value_bytes = 128;

// What policies select credentials by, beside owner and name. Never secret.
using Tags = std::map<std::string, std::string>;
// At most max_tags, whose names and values are safe names of at most those lengths.
bool are_tags(const Tags& tags) noexcept;

// Owner and name together name a credential. See is_safe_name().
struct CredentialId {
    std::string owner;
    std::string name;
    auto operator<=>(const CredentialId&) const = default;
};

// True for 1 to 128 bytes of ASCII letters, digits and ". _ - : @ + = , ~" that are not dots alone:
// what goes through URLs, shells, policies and logs unchanged. No '/' and no '*': policies write
// <owner>/<name> with wildcards.
bool is_safe_name(std::string_view text) noexcept;

struct VersionInfo {
    std::uint64_t version =
        0;  // from 1, never used twice, also when the credential is destroyed and stored anew
    base::Uuid key_id;  // the master key that wraps its data key
    std::uint32_t key_version = 0;
    std::optional<base::Time> expires_at;
    base::Time created_at;
};

// Whether a version is past its expiry at `now`. An expired credential is revealed all the same,
// and marked.
bool is_expired(const VersionInfo& version, base::Time now);

struct CredentialInfo {
    CredentialId id;
    base::Time
        created_at;  // of the first version since the last destruction, or since it began anew
    base::Time updated_at;
    std::string metadata;  // a compact JSON object, for everybody who may describe; never secret
    std::vector<VersionInfo> versions;  // newest first, at most max_versions_shown; never empty
    Tags tags{};
    // Of those since it was made, or was last destroyed; 0: not known, as of one of format 2 that a
    // vault of before made.
    std::uint64_t first_version = 0;

    const VersionInfo& current() const { return versions.front(); }
};

struct NewVersion {
    CredentialId id;
    VersionInfo version;
    std::string sealed;                            // vault/sealed.h
    std::optional<std::string> metadata;           // empty: stays as it is
    std::optional<std::uint64_t> restored_from{};  // the version it was made from
    std::optional<Tags> tags{};                    // empty: they stay as they are
    bool begins_anew =
        false;  // nothing of what is there is kept: the credential is created with it
};

// Where the numbering of a credential stands.
struct Head {
    std::uint64_t current = 0;  // 0: there is none, or it was destroyed
    std::uint64_t last = 0;     // the highest number ever used; 0: never stored
    std::uint64_t first = 0;    // CredentialInfo::first_version, or that of before a destruction
    // Whether they are of the same state: `first` follows from it.
    bool operator==(const Head& other) const {
        return current == other.current && last == other.last;
    }
};

// The sealed text of the current version beside an older one.
struct CurrentSeal {
    std::string sealed;
    std::optional<std::uint64_t> restored_from;
};

// One version with what is needed to open it.
struct StoredVersion {
    CredentialInfo info;
    VersionInfo version;
    std::string sealed;
    std::optional<std::uint64_t> restored_from{};
    std::optional<CurrentSeal> current{};  // of an older version: that of info.current()
};

// What is known of a version for ever.
struct VersionRecord {
    VersionInfo version;
    std::optional<std::uint64_t> restored_from;  // the version it was made from
    std::optional<base::Time> erased_at;         // its secret was destroyed
};

struct VersionPage {
    std::vector<VersionRecord> versions;  // newest first
    std::uint64_t current = 0;            // 0: the credential was destroyed
    bool more = false;                    // there are older ones after the last
};

// A place in a list by expiry, or in one by name, which has no expiry. A row whose owner or name is
// not a safe name, as only a hand in the database can have it, can't be told by them: its place is
// {"", row_mark and its number}.
struct ExpiryPlace {
    base::Time expires_at;
    CredentialId id;
};
inline constexpr char row_mark = '#';  // in no safe name
CredentialId place_of_row(std::uint64_t row);
// The row's number; empty when the place is told by owner and name.
std::optional<std::uint64_t> row_of_place(const CredentialId& place);

// A credential whose rows contradict each other or make no sense, as only a hand in the database
// can have them.
struct UnsoundCredential {
    CredentialId id;     // cut to max_name_bytes each
    std::string reason;  // for the log: what is wrong, never a secret
};

struct CredentialPage {
    std::vector<CredentialInfo> credentials;  // in the list's order
    std::vector<UnsoundCredential> unsound;   // those of the page that can't be shown
    bool more = false;                        // there are further ones after the last
    ExpiryPlace last{};  // where the page ends, sound or not; with an expiry in lists by expiry
    CredentialId last_row{};  // the same place by its row's number, for who may not know the name
};

// Which credentials have a current version that expires before a time, or did so: by expiry, then
// owner, then name.
struct ExpiryQuestion {
    std::string owner;  // empty: all owners
    base::Time before;
    std::optional<ExpiryPlace> after;  // empty: from the beginning
    std::size_t limit = 0;
};

}  // namespace vault
