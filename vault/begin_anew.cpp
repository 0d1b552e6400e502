#include "vault/begin_anew.h"

#include "vault/actions.h"
#include "vault/data_keys.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

// One wording for all that can be wrong with it.
Error not_kept(const Error& why) {
    const bool is_damage = why.code() == ErrorCode::integrity_failure;
    return {is_damage ? ErrorCode::integrity_failure : ErrorCode::failed_precondition,
            "the current version can't be opened, so its metadata and tags can't be kept: store "
            "with both and with the right tag_credential, or delete the credential",
            why.what()};
}

}  // namespace

bool may_begin_anew(const server::Authorizer& authorizer, server::Operation& operation,
                    const CredentialId& id) {
    server::Resource of_any_tags = credential_resource(id);
    of_any_tags.of_many = true;
    return authorizer.would_allow(operation, tag_credential, of_any_tags) &&
           (!authorizer.asks_for_tags() ||
            authorizer.would_allow(operation, store_credential, of_any_tags));
}

void Doubt::replace(const Head& head, const Error& why) {
    if (!request_.may_begin_anew || !request_.may_begin_anew()) throw not_kept(why);
    replaced_ = head;
    is_damage_ = why.code() == ErrorCode::integrity_failure;
}

void Doubt::look_again_or_replace(const Head& head, const Error& why, bool refreshes) {
    const bool is_refused = is_refusal(why);
    if (is_refused && refused_ != head) {
        refused_ = head;
        return;
    }
    if (why.code() != ErrorCode::integrity_failure && (!is_refused || refreshes)) throw Error(why);
    replace(head, why);
}

}  // namespace vault
