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

namespace kms {

// pending → enabled ⇄ disabled → pending_deletion → destroyed; compromised opens old data only with
// an explicit right. The enumerators are the words on the wire and in the store.
enum class KeyState { pending, enabled, disabled, pending_deletion, destroyed, compromised };
std::string_view to_string(KeyState state) noexcept;
std::optional<KeyState> parse_key_state(std::string_view text) noexcept;

// AES-256-GCM with random 96-bit IVs is safe for 2^32 encryptions under one key (NIST SP
// 800-38D 8.3).
inline constexpr std::uint64_t max_wraps_per_version = 1ULL << 32U;

struct KeyVersion {
    std::uint32_t version = 0;  // from 1
    KeyState state = KeyState::pending;
    hsm::KeyId token_key_id;
    base::Time created_at{};
    std::uint64_t wraps_reserved =
        0;  // encryptions that may have been made, see Store::reserve_wraps
    // Ciphertext of a fixed text under this very key (kms/known_answer.h); empty while pending.
    hsm::Encrypted known_answer;
};

struct Key {
    base::Uuid id;
    KeyState state = KeyState::pending;
    hsm::KeyProfile profile = hsm::KeyProfile::sealed;
    std::string description;
    std::map<std::string, std::string> tags;
    std::vector<std::string> aliases;  // sorted
    std::string wanted_alias;          // asked for at creation, given with `enabled`; else empty
    std::uint32_t primary_version = 1;
    base::Time created_at{};
    std::vector<KeyVersion> versions;  // by number, from 1 without gaps

    // Null when there is no such version.
    const KeyVersion* find_version(std::uint32_t version) const;
    const KeyVersion& primary() const;
};

// Keys are shared between snapshots and never changed in place.
using KeyPointer = std::shared_ptr<const Key>;

// 1 to 64 characters, lower-case letters, digits, '-', '_' and '.', first a letter or a digit.
bool is_alias(std::string_view name) noexcept;

}  // namespace kms
