#include "kms/opening.h"

#include <map>

#include "kms/each_key.h"
#include "kms/known_answer.h"

namespace kms {

using base::Error;
using base::ErrorCode;

Error key_not_at_hand(const Key& key, std::string_view why) {
    return {ErrorCode::unavailable, "the master key can't be used at the moment",
            "key " + key.id.to_string() + ": the token's key is " + std::string(why)};
}

std::vector<OpenAnswer> Opener::open(std::span<const OpenItem> items) {
    return answer_each_key(
        items, [](const OpenItem& item) { return item.version->token_key_id; },
        [this](std::span<const OpenItem> some) { return open_together(some); });
}

std::vector<OpenAnswer> Opener::open_together(std::span<const OpenItem> items) {
    std::vector<base::Bytes> aads;
    aads.reserve(items.size());  // the token's items hold views of them
    std::vector<hsm::DecryptItem> work;
    work.reserve(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        const OpenItem& item = items[i];
        const bool as_before =
            i > 0 && items[i - 1].version == item.version && items[i - 1].context == item.context;
        if (!as_before) {
            aads.push_back(envelope_aad(item.envelope->kind, item.key->id, item.version->version,
                                        item.context->canonical));
        }
        work.push_back({item.version->token_key_id, item.envelope->iv, aads.back(),
                        item.envelope->ciphertext});
    }
    std::vector<OpenAnswer> answers;
    answers.reserve(items.size());
    if (items.empty()) return answers;
    auto opened = token_.decrypt_many(work);
    std::map<hsm::KeyId, Error> reasons;  // asked once for each master key
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (opened[i]) {
            answers.emplace_back(std::move(*opened[i]));
            continue;
        }
        const hsm::KeyId& token_key = items[i].version->token_key_id;
        auto reason = reasons.find(token_key);
        if (reason == reasons.end()) {
            reason = reasons.emplace(token_key, explain(*items[i].key, *items[i].version)).first;
        }
        answers.emplace_back(reason->second);
    }
    return answers;
}

// That nobody can say is an answer, too: the other items have theirs.
Error Opener::explain(const Key& key, const KeyVersion& version) {
    try {
        return explain_failure(key, version);
    } catch (const Error& error) {
        return error;
    }
}

Error Opener::explain_failure(const Key& key, const KeyVersion& version) {
    const KeyProof proof = prove_key(token_, key, version);
    if (proof == KeyProof::proven) return base::decryption_failed();
    log_.error("a master key can't be used",
               {{"key_id", key.id.to_string()},
                {"key_version", static_cast<std::int64_t>(version.version)},
                {"proof", std::string(to_string(proof))}});
    return key_not_at_hand(key, to_string(proof));
}

}  // namespace kms
