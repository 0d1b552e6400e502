#include "kms/service.h"

#include <algorithm>

#include "kms/actions.h"
#include "kms/grants.h"
#include "kms/known_answer.h"
#include "kms/states.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

Error key_not_at_hand(const base::Uuid& key_id, std::string_view why) {
    return {ErrorCode::unavailable, "the master key can't be used at the moment",
            "key " + key_id.to_string() + ": the token's key is " + std::string(why)};
}

}  // namespace

KeyService::KeyService(Catalogue& catalogue, hsm::Token& token, UsageCounter& usage, base::Log& log,
                       std::vector<VersionName> unproven)
    : catalogue_(catalogue),
      token_(token),
      usage_(usage),
      log_(log),
      unproven_(std::move(unproven)) {}

KeyPointer KeyService::require_key(const base::Uuid& key_id) const {
    KeyPointer key = catalogue_.snapshot()->find(key_id);
    if (key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    return key;
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
    require_permitted(*key, version, KeyOperation::wrap);
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

Error KeyService::explain_failure(const Key& key, const KeyVersion& version) {
    const KeyProof proof = prove_key(token_, key, version);
    if (proof == KeyProof::proven) return base::decryption_failed();
    log_.error("a master key can't be used",
               {{"key_id", key.id.to_string()},
                {"key_version", static_cast<std::int64_t>(version.version)},
                {"proof", std::string(to_string(proof))}});
    return key_not_at_hand(key.id, to_string(proof));
}

base::SecretBytes KeyService::unwrap(const UnwrapJob& job) {
    require_grant(*job.grant, unwrap_data_key, job.wrapped.key_id.to_string());
    const KeyPointer key = require_key(job.wrapped.key_id);
    const KeyVersion* version = key->find_version(job.wrapped.key_version);
    if (version == nullptr) throw base::decryption_failed("no such key version");
    require_permitted(*key, *version, KeyOperation::unwrap);
    const base::Bytes aad = wrapping_aad(key->id, version->version, job.context);
    try {
        return token_.decrypt(version->token_key_id, job.wrapped.iv, aad, job.wrapped.ciphertext);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure && error.code() != ErrorCode::not_found) {
            throw;
        }
    }
    throw explain_failure(*key, *version);
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
            require_permitted(*key, *version, KeyOperation::unwrap);
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
            reason = reasons.emplace(token_key, explain_failure(*place.key, *place.version)).first;
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
        return version == nullptr || prove_key(token_, *key, *version) == KeyProof::proven;
    };
    unproven_.erase(std::remove_if(unproven_.begin(), unproven_.end(), is_fine), unproven_.end());
    if (unproven_.empty()) return;
    throw Error(ErrorCode::unavailable,
                "master keys that are missing from the token or not the ones they were: " +
                    std::to_string(unproven_.size()));
}

}  // namespace kms
