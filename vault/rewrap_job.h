// Rewrap jobs as plain values: the data keys of all stored credentials are wrapped anew under the
// newest version of the master key, so that an older one is needed no more. No SQL, no JSON and no
// HTTP may appear here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/uuid.h"
#include "vault/data_keys.h"
#include "vault/record.h"

namespace vault {

inline constexpr std::uint64_t max_rewraps_per_second = 1'000'000;

// The enumerators are the words of the API.
enum class RewrapState {
    running,     // workers move records
    concluding,  // all is counted; what was found is being written into the audit log
    completed,
    cancelled,
};
std::string_view to_string(RewrapState state) noexcept;
// Empty for a word that is none.
std::optional<RewrapState> to_rewrap_state(std::string_view word) noexcept;

// How many stored texts were still wrapped by another master key than the job's, or by an older
// version of it, when the job ended. None: those versions may be retired, as far as this store
// goes.
struct RewrapStatement {
    std::uint64_t remaining = 0;  // as their rows' columns say
    // Beyond those, texts that don't name the master key that their row's columns do (or none at
    // all), or that stand in a row which says that it was erased: which one they need nobody knows.
    std::uint64_t differing = 0;
    base::Time counted_at;
    bool is_safe() const { return remaining == 0 && differing == 0; }
};

struct RewrapJob {
    base::Uuid id;
    RewrapState state = RewrapState::running;
    MasterKeyVersion target;       // this version or a newer one will do
    std::uint64_t total = 0;       // versions of credentials that needed it at the start
    std::uint64_t done = 0;        // moved
    std::uint64_t failed = 0;      // did not open, or were refused by the key service: see failures
    std::uint64_t superseded = 0;  // stored anew or destroyed by somebody else meanwhile
    std::uint32_t pass = 1;        // what failed or came late is tried again in the next one
    std::uint64_t per_second = 0;  // records, of all workers together; 0: no limit
    std::string created_by;        // a caller's id
    base::Time created_at;
    base::Time updated_at;
    std::optional<base::Time> finished_at;
    std::string trouble;  // why the last attempt failed, while none succeeded since
    std::optional<RewrapStatement> statement;
    // For the rate: where the job stood some time ago.
    base::Time mark_at;
    std::uint64_t mark_done = 0;

    bool is_over() const {
        return state == RewrapState::completed || state == RewrapState::cancelled;
    }
    std::uint64_t left() const;
    // Records per second: of the last ten seconds or so, or of the whole job when it is over.
    double rate(base::Time now) const;
};

// A version of a credential that could not be moved.
struct RewrapFailure {
    CredentialId id;
    std::uint64_t version = 0;
    std::string reason;  // an error code's word
    base::Time at;
};

// A version of a credential by its place in the store.
struct RewrapPlace {
    long long credential = 0;
    std::uint64_t version = 0;
    auto operator<=>(const RewrapPlace&) const = default;  // NOLINT(modernize-use-nullptr)
};

// What one worker does at a time: the rows of one master key version that come after one place, up
// to another.
struct RewrapPiece {
    MasterKeyVersion from;
    RewrapPlace after;
    RewrapPlace last;
    std::uint64_t records = 0;
};

// The right to a piece, or (without one) to conclude the job, for a time. Who takes over what was
// left gets a lease of another id, and the first one is worth nothing then.
struct RewrapLease {
    base::Uuid id;
    base::Uuid job;
    MasterKeyVersion target;
    std::uint32_t pass = 1;
    std::optional<RewrapPiece> piece;
};

// One row of a piece, as it stands.
struct RewrapRow {
    RewrapPlace place;
    CredentialId id;
    MasterKeyVersion master_key;  // by the row's columns
    std::string sealed;
};

// What came of a row: another text, or the reason why not.
struct RewrapResult {
    RewrapPlace place;
    std::string before;  // the text that was read
    std::string after;   // empty: it failed
    MasterKeyVersion master_key;
    std::string reason;  // of a failure: an error code's word
};

}  // namespace vault
