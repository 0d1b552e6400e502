// The words of what callers do to credentials and values: in policies, audit records and metrics
// alike.
#pragma once

#include <string_view>
#include <utility>

#include "server/api_token_routes.h"
#include "server/audit.h"
#include "server/budget_words.h"
#include "server/operation.h"

namespace vault {

inline constexpr server::Action store_credential{"store_credential"};
// Beside store_credential, for other tags than the credential has: policies go by tags.
inline constexpr server::Action tag_credential{"tag_credential"};
inline constexpr server::Action describe_credential{"describe_credential"};
inline constexpr server::Action list_credentials{"list_credentials"};
inline constexpr server::Action reveal_credential{"reveal_credential"};
inline constexpr server::Action restore_credential{"restore_credential"};
// To have an expired token replaced by asking its provider: vault/compat.
inline constexpr server::Action refresh_credential{"refresh_credential"};
inline constexpr server::Action delete_credential{"delete_credential"};
inline constexpr server::Action erase_owner{"erase_owner"};
inline constexpr server::Action list_destructions{"list_destructions"};
inline constexpr server::Action seal_value{"seal"};
inline constexpr server::Action open_value{"open"};
inline constexpr server::Action start_rewrap_job{"start_rewrap_job"};
inline constexpr server::Action describe_rewrap_job{"describe_rewrap_job"};
inline constexpr server::Action cancel_rewrap_job{"cancel_rewrap_job"};
inline constexpr server::Action observe{"observe"};
inline constexpr server::Action back_up{"back_up"};

// The kinds of resource that vaultd asks about, beside the gate's own.
inline constexpr std::string_view credential_kind = "credential";
inline constexpr std::string_view value_kind = "value";  // of an application's own rows
inline constexpr std::string_view rewrap_job_kind = "rewrap_job";

// Every word that a policy for vaultd may use.
inline server::PolicyWords known_actions() {
    server::PolicyWords words;
    words.add(credential_kind,
              {store_credential.word, tag_credential.word, describe_credential.word,
               list_credentials.word, reveal_credential.word, restore_credential.word,
               refresh_credential.word, delete_credential.word, erase_owner.word,
               list_destructions.word});
    words.add_owned_and_tagged(credential_kind);
    words.add_part(erase_owner.word, delete_credential.word);
    words.add(value_kind, {seal_value.word, open_value.word});
    words.add(rewrap_job_kind,
              {start_rewrap_job.word, describe_rewrap_job.word, cancel_rewrap_job.word});
    words.add(server::audit_kind, {server::witness_audit.word});
    words.add(server::budget_kind, {server::describe_budget.word, server::lift_suspension.word});
    words.add(server::service_kind, {observe.word, back_up.word});
    return server::with_api_token_actions(std::move(words));
}

}  // namespace vault
