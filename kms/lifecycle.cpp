#include "kms/lifecycle.h"

#include "base/error.h"
#include "kms/actions.h"
#include "kms/grants.h"
#include "kms/known_answer.h"

namespace kms {

using base::Error;
using base::ErrorCode;

KeyLifecycle::KeyLifecycle(Catalogue& catalogue, Store& store, hsm::Token& token,
                           UsageCounter& usage, const base::Clock& clock)
    : catalogue_(catalogue), store_(store), token_(token), usage_(usage), clock_(clock) {}

KeyPointer KeyLifecycle::require_key(const base::Uuid& key_id) const {
    KeyPointer key = catalogue_.snapshot()->find(key_id);
    if (key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    return key;
}

KeyPointer KeyLifecycle::with_usage(const KeyPointer& key) const {
    auto shown = std::make_shared<Key>(*key);
    for (auto& version : shown->versions) {
        version.wraps_reserved = usage_.reserved(key->id, version);
    }
    return shown;
}

KeyDescription KeyLifecycle::create(const server::Grant& grant, const NewKey& wanted) {
    require_grant(grant, create_key, "*");
    if (!wanted.alias.empty() && !is_alias(wanted.alias)) {
        throw Error(ErrorCode::invalid_argument, "the alias is not well-formed");
    }
    const std::lock_guard lock(create_mutex_);
    if (!wanted.alias.empty() && catalogue_.snapshot()->find_alias(wanted.alias) != nullptr) {
        throw Error(ErrorCode::already_exists, "another key has this alias");
    }
    Key key;
    key.id = base::Uuid::random();
    key.profile = wanted.profile;
    key.description = wanted.description;
    key.tags = wanted.tags;
    key.wanted_alias = wanted.alias;
    key.created_at = clock_.now();
    key.versions.emplace_back();
    KeyVersion& version = key.versions.back();
    version.version = 1;
    version.token_key_id = base::Uuid::random();
    version.created_at = key.created_at;

    // From here on a failure leaves a pending record: start-up finishes or abandons it.
    store_.add_pending_key(key);
    const hsm::KeyAttributes attributes = token_.generate_aes_key(
        version.token_key_id, "strongroom/" + key.id.to_string() + "/1", key.profile);
    usage_.take(key.id, version.version, 1);
    version.known_answer = make_known_answer(token_, key, version);
    if (prove_key(token_, key, version) != KeyProof::proven) {
        throw Error(ErrorCode::unavailable, "the new key did not prove itself and is not used",
                    "key " + key.id.to_string());
    }
    store_.enable_key(key.id, version.known_answer, wanted.alias);
    key.state = version.state = KeyState::enabled;
    key.wanted_alias.clear();
    if (!wanted.alias.empty()) key.aliases = {wanted.alias};
    catalogue_.put(key);
    return {with_usage(require_key(key.id)), {attributes}};
}

KeyPage KeyLifecycle::list(const server::Grant& grant, const std::optional<base::Uuid>& after,
                           std::size_t limit) const {
    require_grant(grant, list_keys, "*");
    KeyPage page;
    page.keys = catalogue_.snapshot()->page(after, limit + 1);
    if (page.keys.size() > limit) {
        page.keys.pop_back();
        page.next = page.keys.back()->id;
    }
    for (auto& key : page.keys) key = with_usage(key);
    return page;
}

KeyDescription KeyLifecycle::describe(const server::Grant& grant, const base::Uuid& key_id) {
    require_grant(grant, describe_key, key_id.to_string());
    KeyDescription description{with_usage(require_key(key_id)), {}};
    for (const auto& version : description.key->versions) {
        description.attributes.push_back(token_.find_key(version.token_key_id));
    }
    return description;
}

}  // namespace kms
