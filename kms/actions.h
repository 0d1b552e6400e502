// The words of what callers do to keys: in policies, audit records and metrics alike.
#pragma once

#include <string_view>
#include <utility>

#include "server/api_token_routes.h"
#include "server/audit.h"
#include "server/budget_words.h"
#include "server/operation.h"
#include "server/policy_words.h"

namespace kms {

inline constexpr server::Action create_key{"create_key"};
inline constexpr server::Action list_keys{"list_keys"};
inline constexpr server::Action describe_key{"describe_key"};
inline constexpr server::Action change_key{"change_key"};
inline constexpr server::Action rotate_key{"rotate_key"};
inline constexpr server::Action enable_key{"enable_key"};
inline constexpr server::Action disable_key{"disable_key"};
inline constexpr server::Action schedule_key_deletion{"schedule_key_deletion"};
inline constexpr server::Action cancel_key_deletion{"cancel_key_deletion"};
inline constexpr server::Action mark_key_compromised{"mark_key_compromised"};
inline constexpr server::Action change_alias{"change_alias"};
// Beside create_key and change_key: policies go by tags as they go by names.
inline constexpr server::Action tag_key{"tag_key"};
inline constexpr server::Action create_data_key{"create_data_key"};
inline constexpr server::Action unwrap_data_key{"unwrap_data_key"};
inline constexpr server::Action rewrap_data_key{"rewrap_data_key"};
inline constexpr server::Action encrypt_action{"encrypt"};
inline constexpr server::Action decrypt_action{"decrypt"};
inline constexpr server::Action sign_action{"sign"};
inline constexpr server::Action verify_action{"verify"};
inline constexpr server::Action get_public_key{"get_public_key"};
inline constexpr server::Action mac_action{"mac"};
inline constexpr server::Action verify_mac_action{"verify_mac"};
// Beside the action itself: opening what was made under a key before it was compromised.
inline constexpr server::Action use_compromised_key{"use_compromised_key"};
inline constexpr server::Action observe{"observe"};
inline constexpr server::Action back_up{"back_up"};
// What the schedule does by itself: in audit records only, nobody can be given it.
inline constexpr server::Action destroy_key{"destroy_key"};

// The kind of resource that master keys are.
inline constexpr std::string_view key_kind = "key";

// Every word that a policy for kmsd may use.
inline server::PolicyWords known_actions() {
    server::PolicyWords words;
    words.add(key_kind, {create_key.word,          list_keys.word,
                         describe_key.word,        change_key.word,
                         rotate_key.word,          enable_key.word,
                         disable_key.word,         schedule_key_deletion.word,
                         cancel_key_deletion.word, mark_key_compromised.word,
                         change_alias.word,        tag_key.word,
                         create_data_key.word,     unwrap_data_key.word,
                         rewrap_data_key.word,     encrypt_action.word,
                         decrypt_action.word,      sign_action.word,
                         verify_action.word,       get_public_key.word,
                         mac_action.word,          verify_mac_action.word,
                         use_compromised_key.word});
    words.add(server::audit_kind, {server::witness_audit.word});
    words.add(server::budget_kind, {server::describe_budget.word, server::lift_suspension.word});
    words.add(server::service_kind, {observe.word, back_up.word});
    return server::with_api_token_actions(std::move(words));
}

}  // namespace kms
