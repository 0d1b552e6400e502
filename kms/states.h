// The one table of what may be done with a key in which state. Whoever acts on a key asks it, right
// before the act; nobody compares states by himself. kms/README.md has the same table for people,
// and a test compares the two.
//
// Where there was a choice it is that of AWS KMS (developer guide, "Key states of AWS KMS keys"): a
// disabled key does nothing at all, verifying and handing out a public key included.
#pragma once

#include <array>
#include <string_view>

#include "kms/key.h"

namespace kms {

enum class KeyOperation {
    describe,
    wrap,         // make data keys
    unwrap,       // open data keys
    rewrap_from,  // open a data key, to wrap it anew elsewhere
    rewrap_to,    // wrap an opened data key
    encrypt,
    decrypt,
    sign,
    verify,
    public_key,
    mac,
    verify_mac,
    rotate,
    change,     // description, tags, rotation period, context rule
    add_alias,  // by which the key is found; taking one away is always permitted
    enable,     // enabling the enabled and disabling the disabled changes nothing
    disable,
    schedule_deletion,
    cancel_deletion,
    mark_compromised,
};

enum class Permission {
    no,
    yes,
    with_right,  // only for callers with the right use_compromised_key
};

inline constexpr std::array key_states = {KeyState::pending,   KeyState::enabled,
                                          KeyState::disabled,  KeyState::pending_deletion,
                                          KeyState::destroyed, KeyState::compromised};

inline constexpr std::array key_operations = {KeyOperation::describe,
                                              KeyOperation::wrap,
                                              KeyOperation::unwrap,
                                              KeyOperation::rewrap_from,
                                              KeyOperation::rewrap_to,
                                              KeyOperation::encrypt,
                                              KeyOperation::decrypt,
                                              KeyOperation::sign,
                                              KeyOperation::verify,
                                              KeyOperation::public_key,
                                              KeyOperation::mac,
                                              KeyOperation::verify_mac,
                                              KeyOperation::rotate,
                                              KeyOperation::change,
                                              KeyOperation::add_alias,
                                              KeyOperation::enable,
                                              KeyOperation::disable,
                                              KeyOperation::schedule_deletion,
                                              KeyOperation::cancel_deletion,
                                              KeyOperation::mark_compromised};

// The enumerator's name: the word of the table and of error messages.
std::string_view to_string(KeyOperation operation) noexcept;

Permission permission(KeyState state, KeyOperation operation) noexcept;

// Whether it is permitted to somebody who has, or has not, the right use_compromised_key.
bool permits(KeyState state, KeyOperation operation, bool may_use_compromised = false) noexcept;

// Throws failed_precondition, saying the state and in which it is permitted. Only a version that is
// enabled does work, too.
void require_permitted(const Key& key, KeyOperation operation, bool may_use_compromised = false);
void require_permitted(const Key& key, const KeyVersion& version, KeyOperation operation,
                       bool may_use_compromised = false);

}  // namespace kms
