// A master key as the key service knows it: a name for callers, its state, and its versions, each
// of which is one key in the token. No key material, ever.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/uuid.h"
#include "hsm/token.h"
#include "kms/envelope.h"

namespace kms {

// What a key is for: follows from its kind. The enumerators are the words on the wire.
enum class KeyUse { encrypt, sign, mac };
std::string_view to_string(KeyUse use) noexcept;
KeyUse use_of(hsm::KeyKind kind) noexcept;

// pending → enabled ⇄ disabled → pending_deletion → destroyed; compromised opens old data only with
// an explicit right. The enumerators are the words on the wire and in the store.
enum class KeyState { pending, enabled, disabled, pending_deletion, destroyed, compromised };
std::string_view to_string(KeyState state) noexcept;
std::optional<KeyState> parse_key_state(std::string_view text) noexcept;

// AES-256-GCM with random 96-bit IVs is safe for 2^32 encryptions under one key (NIST SP
// 800-38D 8.3). Some are kept back for the proofs that hsm/ makes for itself, one at each start of
// a process and one when a key is made durable.
inline constexpr std::uint64_t kept_back_for_proofs = 1ULL << 20U;
inline constexpr std::uint64_t max_wraps_per_version = (1ULL << 32U) - kept_back_for_proofs;
// A version that has made as many gets a successor by itself, long before it may make no more.
inline constexpr std::uint64_t wraps_before_rotation = 1ULL << 30U;

inline constexpr int max_rotation_period_days = 3653;  // ten years, three of them leap years

// What an encryption context must look like under a key (kms/context_rule.h checks it). The default
// is that of a key without a rule: it lets every context pass.
struct ContextRule {
    std::vector<std::string> required;            // these keys must be there; sorted, no duplicates
    std::map<std::string, std::string> patterns;  // a context key and what its value must match;
                                                  // '*' stands for any text
    bool allow_others = true;  // keys beside those in `required` and `patterns`; a rule that does
                               // not say so refuses them (kms/context_rule_json.h)
    std::size_t max_bytes = max_context_bytes;  // of all keys and values together

    bool operator==(const ContextRule&) const = default;
};

// A version is pending, enabled or destroyed: what may be done with it follows from its key's
// state. A version whose making failed for good is destroyed; its number is not used again.
struct KeyVersion {
    std::uint32_t version = 0;  // from 1
    KeyState state = KeyState::pending;
    hsm::KeyId token_key_id;
    base::Time created_at{};
    std::uint64_t wraps_reserved =
        0;  // encryptions that may have been made, see Store::reserve_wraps
    // Figures for people, persisted now and then: a crash loses the newest.
    std::uint64_t wraps_used = 0;  // data keys and ciphertexts made under it
    std::uint64_t rewrapped_away =
        0;  // of those, known to have been moved to another key or version
    std::optional<base::Time> last_used_at;
    std::optional<base::Time> destroyed_at;
    // The idempotent request that ordered it (server/idempotency.h); empty: none.
    std::string request;
    // Ciphertext of a fixed text under this very key (kms/known_answer.h); empty while pending.
    hsm::Encrypted known_answer;
};

struct Key {
    base::Uuid id;
    KeyState state = KeyState::pending;
    hsm::KeyKind kind = hsm::KeyKind::aes_256;
    hsm::KeyProfile profile = hsm::KeyProfile::sealed;
    // From 1; every change that a caller can see but usage adds 1. For compare-and-set.
    std::uint64_t revision = 1;
    // The store's change count when it was last written: the newer of two copies has the higher.
    std::uint64_t change = 0;
    std::string description;
    std::map<std::string, std::string> tags;
    std::vector<std::string> aliases;  // sorted
    std::string wanted_alias;          // asked for at creation, given with `enabled`; else empty
    std::uint32_t primary_version = 1;
    base::Time created_at{};
    std::optional<int> rotation_period_days;  // 1 to max_rotation_period_days
    std::optional<base::Time> next_rotation_at;
    std::optional<base::Time> deletion_at;     // while pending_deletion, and afterwards
    std::string deletion_ordered_by;           // the caller who did; empty: before it was noted
    std::optional<base::Time> compromised_at;  // stays, whatever the state becomes
    std::optional<base::Time> destroyed_at;
    bool destruction_begun = false;  // its token objects are being destroyed: no way back
    ContextRule context_rule;
    std::vector<KeyVersion> versions;  // by number, from 1 without gaps

    // Null when there is no such version.
    const KeyVersion* find_version(std::uint32_t version) const;
    const KeyVersion& primary() const;
    KeyUse use() const noexcept { return use_of(kind); }
};

// One version of one key.
struct VersionName {
    base::Uuid key_id;
    std::uint32_t version = 0;
};

// Keys are shared between snapshots and never changed in place.
using KeyPointer = std::shared_ptr<const Key>;

// 1 to 64 characters, lower-case letters, digits, '-', '_' and '.', first a letter or a digit.
bool is_alias(std::string_view name) noexcept;

}  // namespace kms
