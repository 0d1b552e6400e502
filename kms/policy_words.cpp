#include "kms/policy_words.h"

#include "kms/actions.h"
#include "server/api_token_routes.h"

namespace kms {

// The vault's are written down once more, since nothing here may include the vault; a test
// compares.
server::PolicyWords policy_words(std::string_view daemon) {
    if (daemon == "kmsd") return known_actions();
    server::PolicyWords words;
    if (daemon != "vaultd") return words;
    words.add("credential",
              {"store_credential", "tag_credential", "describe_credential", "list_credentials",
               "reveal_credential", "restore_credential", "refresh_credential", "delete_credential",
               "erase_owner", "list_destructions"});
    words.add_owned_and_tagged("credential");
    words.add_part("erase_owner", "delete_credential");
    words.add("value", {"seal", "open"});
    words.add("rewrap_job", {"start_rewrap_job", "describe_rewrap_job", "cancel_rewrap_job"});
    words.add("audit", {"witness_audit"});
    words.add("budget", {"describe_budget", "lift_suspension"});
    words.add("service", {"observe", "back_up"});
    return server::with_api_token_actions(std::move(words));
}

}  // namespace kms
