#include "kms/policy_words.h"

#include "kms/actions.h"
#include "server/api_token_routes.h"

namespace kms {

// The vault's are written down once more, since nothing here may include the vault; a test
// compares.
std::vector<std::string_view> policy_words(std::string_view daemon) {
    if (daemon == "kmsd") return known_actions();
    if (daemon != "vaultd") return {};
    return server::with_api_token_actions({"store_credential",
                                           "tag_credential",
                                           "describe_credential",
                                           "list_credentials",
                                           "reveal_credential",
                                           "restore_credential",
                                           "refresh_credential",
                                           "delete_credential",
                                           "erase_owner",
                                           "list_destructions",
                                           "seal",
                                           "open",
                                           "start_rewrap_job",
                                           "describe_rewrap_job",
                                           "cancel_rewrap_job",
                                           "witness_audit",
                                           "describe_budget",
                                           "lift_suspension",
                                           "observe",
                                           "back_up"});
}

}  // namespace kms
