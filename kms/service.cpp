#include "kms/service.h"

#include <algorithm>

#include "kms/actions.h"
#include "kms/known_answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

// A grant for something else is a mistake of ours: refuse rather than work on it.
void require_grant(const server::Grant& grant, server::Action action, const std::string& id) {
    const server::Resource& resource = grant.resource();
    if (grant.action() == action && resource.kind == key_kind && resource.id == id) return;
    throw Error(ErrorCode::internal, "internal error",
                "grant for " + std::string(grant.action().word) + " on " + resource.id +
                    " used for " + std::string(action.word) + " on " + id);
}

// Wrapping and unwrapping need an enabled key and an enabled version.
void require_usable(const Key& key, const KeyVersion& version) {
    const KeyState state = key.state == KeyState::enabled ? version.state : key.state;
    if (state == KeyState::enabled) return;
    throw Error(ErrorCode::failed_precondition,
                "the key is in state " + std::string(to_string(state)) + ", which forbids this");
}

Error key_not_at_hand(const base::Uuid& key_id, std::string_view why) {
    return {ErrorCode::unavailable, "the master key can't be used at the moment",
            "key " + key_id.to_string() + ": the token's key is " + std::string(why)};
}

}  // namespace

KeyService::KeyService(Catalogue& catalogue, Store& store, hsm::Token& token, UsageCounter& usage,
                       const base::Clock& clock, base::Log& log, std::vector<VersionName> unproven)
    : catalogue_(catalogue),
      store_(store),
      token_(token),
      usage_(usage),
      clock_(clock),
      log_(log),
      unproven_(std::move(unproven)) {}

KeyPointer KeyService::require_key(const base::Uuid& key_id) const {
    KeyPointer key = catalogue_.snapshot()->find(key_id);
    if (key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    return key;
}

KeyPointer KeyService::with_usage(const KeyPointer& key) const {
    auto shown = std::make_shared<Key>(*key);
    for (auto& version : shown->versions) {
        version.wraps_reserved = usage_.reserved(key->id, version);
    }
    return shown;
}

KeyDescription KeyService::create(const server::Grant& grant, const NewKey& wanted) {
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
    version.known_answer = make_known_answer(token_, key.id, version);
    if (prove_key(token_, key.id, version) != KeyProof::proven) {
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

KeyPage KeyService::list(const server::Grant& grant, const std::optional<base::Uuid>& after,
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

KeyDescription KeyService::describe(const server::Grant& grant, const base::Uuid& key_id) {
    require_grant(grant, describe_key, key_id.to_string());
    KeyDescription description{with_usage(require_key(key_id)), {}};
    for (const auto& version : description.key->versions) {
        description.attributes.push_back(token_.find_key(version.token_key_id));
    }
    return description;
}

FreshDataKeys KeyService::create_data_keys(const server::Grant& grant, const base::Uuid& key_id,
                                           const EncryptionContext& context,
                                           const NewDataKeys& wanted) {
    require_grant(grant, create_data_key, key_id.to_string());
    if (wanted.bytes < min_data_key_bytes || wanted.bytes > max_data_key_bytes ||
        wanted.count < 1 || wanted.count > max_batch) {
        throw Error(ErrorCode::invalid_argument, "size or count of the data keys is out of range");
    }
    const KeyPointer key = require_key(key_id);
    const KeyVersion& version = key->primary();
    require_usable(*key, version);
    const base::Bytes aad = wrapping_aad(key->id, version.version, canonical_context(context));

    usage_.take(key->id, version.version, wanted.count);
    base::SecretBytes plaintexts(wanted.bytes * wanted.count);
    token_.random(plaintexts.expose_mutable());
    std::vector<hsm::Encrypted> wrapped;
    wrapped.reserve(wanted.count);
    try {
        for (std::size_t i = 0; i < wanted.count; ++i) {
            wrapped.push_back(
                token_.encrypt(version.token_key_id, aad,
                               plaintexts.expose().subspan(i * wanted.bytes, wanted.bytes)));
        }
    } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
        throw key_not_at_hand(key->id, "missing");
    }
    verify_fresh(key, aad, plaintexts.expose(), wrapped);

    FreshDataKeys fresh{key->id, version.version, {}};
    fresh.keys.reserve(wanted.count);
    for (std::size_t i = 0; i < wanted.count; ++i) {
        FreshDataKey data_key;
        if (wanted.with_plaintext) {
            data_key.plaintext =
                base::SecretBytes(plaintexts.expose().subspan(i * wanted.bytes, wanted.bytes));
        }
        data_key.wrapped = to_bytes(WrappedDataKey{key->id, version.version, wrapped[i].iv,
                                                   std::move(wrapped[i].ciphertext)});
        fresh.keys.push_back(std::move(data_key));
    }
    return fresh;
}

// One pass over one session opens the known answer and every new data key: the key that wrapped is
// then the key that we mean, and no bit was flipped on the way.
void KeyService::verify_fresh(const KeyPointer& key, const base::Bytes& aad,
                              base::ByteView plaintexts, std::span<const hsm::Encrypted> wrapped) {
    const KeyVersion& version = key->primary();
    const base::Bytes known_aad = known_answer_aad(key->id, version.version);
    std::vector<hsm::DecryptItem> items;
    items.reserve(wrapped.size() + 1);
    items.push_back({version.token_key_id, version.known_answer.iv, known_aad,
                     version.known_answer.ciphertext});
    for (const auto& one : wrapped) {
        items.push_back({version.token_key_id, one.iv, aad, one.ciphertext});
    }
    const auto opened = token_.decrypt_many(items);
    if (!opened.front() || !opened.front()->equals(known_plaintext())) {
        throw key_not_at_hand(key->id, "missing or different");
    }
    const std::size_t bytes = plaintexts.size() / wrapped.size();
    for (std::size_t i = 0; i < wrapped.size(); ++i) {
        const auto& one = opened[i + 1];
        if (one && one->equals(plaintexts.subspan(i * bytes, bytes))) continue;
        log_.error("a new data key did not open again and is thrown away",
                   {{"key_id", key->id.to_string()}});
        throw Error(ErrorCode::unavailable, "the data key could not be made, please try again");
    }
}

Error KeyService::explain_failure(const base::Uuid& key_id, const KeyVersion& version) {
    const KeyProof proof = prove_key(token_, key_id, version);
    if (proof == KeyProof::proven) return base::decryption_failed();
    log_.error("a master key can't be used",
               {{"key_id", key_id.to_string()},
                {"key_version", static_cast<std::int64_t>(version.version)},
                {"proof", std::string(to_string(proof))}});
    return key_not_at_hand(key_id, to_string(proof));
}

base::SecretBytes KeyService::unwrap(const UnwrapJob& job) {
    require_grant(*job.grant, unwrap_data_key, job.wrapped.key_id.to_string());
    const KeyPointer key = require_key(job.wrapped.key_id);
    const KeyVersion* version = key->find_version(job.wrapped.key_version);
    if (version == nullptr) throw base::decryption_failed("no such key version");
    require_usable(*key, *version);
    const base::Bytes aad = wrapping_aad(key->id, version->version, job.context);
    try {
        return token_.decrypt(version->token_key_id, job.wrapped.iv, aad, job.wrapped.ciphertext);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure && error.code() != ErrorCode::not_found) {
            throw;
        }
    }
    throw explain_failure(key->id, *version);
}

std::vector<UnwrapAnswer> KeyService::unwrap_many(std::span<const UnwrapJob> jobs) {
    struct Place {
        std::size_t job;
        KeyPointer key;
        const KeyVersion* version;
    };
    std::vector<UnwrapAnswer> answers;
    answers.reserve(jobs.size());
    std::vector<Place> places;
    std::vector<base::Bytes> aads;
    aads.reserve(jobs.size());  // the items hold views of them
    std::vector<hsm::DecryptItem> items;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const UnwrapJob& job = jobs[i];
        require_grant(*job.grant, unwrap_data_key, job.wrapped.key_id.to_string());
        answers.emplace_back(base::decryption_failed());
        try {
            const KeyPointer key = require_key(job.wrapped.key_id);
            const KeyVersion* version = key->find_version(job.wrapped.key_version);
            if (version == nullptr) continue;
            require_usable(*key, *version);
            aads.push_back(wrapping_aad(key->id, version->version, job.context));
            items.push_back(
                {version->token_key_id, job.wrapped.iv, aads.back(), job.wrapped.ciphertext});
            places.push_back({i, key, version});
        } catch (const Error& error) {
            answers[i] = error;
        }
    }
    if (items.empty()) return answers;
    auto opened = token_.decrypt_many(items);
    std::map<hsm::KeyId, Error> reasons;  // asked once for each master key
    for (std::size_t k = 0; k < places.size(); ++k) {
        const Place& place = places[k];
        if (opened[k]) {
            answers[place.job] = std::move(*opened[k]);
            continue;
        }
        const hsm::KeyId& token_key = place.version->token_key_id;
        auto reason = reasons.find(token_key);
        if (reason == reasons.end()) {
            reason =
                reasons.emplace(token_key, explain_failure(place.key->id, *place.version)).first;
        }
        answers[place.job] = reason->second;
    }
    return answers;
}

void KeyService::check_token() {
    token_.check();
    const std::lock_guard lock(unproven_mutex_);
    const auto snapshot = catalogue_.snapshot();
    const auto is_fine = [&](const VersionName& name) {
        const KeyPointer key = snapshot->find(name.key_id);
        const KeyVersion* version = key == nullptr ? nullptr : key->find_version(name.version);
        return version == nullptr || prove_key(token_, name.key_id, *version) == KeyProof::proven;
    };
    unproven_.erase(std::remove_if(unproven_.begin(), unproven_.end(), is_fine), unproven_.end());
    if (unproven_.empty()) return;
    throw Error(ErrorCode::unavailable,
                "master keys that are missing from the token or not the ones they were: " +
                    std::to_string(unproven_.size()));
}

}  // namespace kms
