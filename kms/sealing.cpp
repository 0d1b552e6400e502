#include "kms/sealing.h"

#include <map>

#include "kms/each_key.h"
#include "kms/known_answer.h"
#include "kms/opening.h"

namespace kms {

using base::Error;
using base::ErrorCode;

struct Sealer::Pass {
    EnvelopeKind kind;
    std::span<const SealItem> items;
    std::vector<std::size_t> places;          // of the items that are still to be done
    std::vector<base::Bytes> aads{};          // each once
    std::vector<base::ByteView> aad_views{};  // of each place
    std::vector<std::optional<hsm::Encrypted>> made{};
    std::vector<std::optional<SealAnswer>>& answers;  // one for each of all items
};

namespace {

// One encryption in `uses` each; most often all are under one key.
template <typename Use>
void for_each_key(std::span<const SealItem> items, const std::vector<std::size_t>& places,
                  Use use) {
    std::map<const Key*, std::uint64_t> counts;
    for (const std::size_t place : places) ++counts[items[place].key];
    for (const auto& [key, times] : counts) use(*key, times);
}

}  // namespace

// Who is asked again is counted again: nobody knows what was encrypted before the token failed.
std::vector<SealAnswer> Sealer::seal(EnvelopeKind kind, std::span<const SealItem> items) {
    return answer_each_key(
        items, [](const SealItem& item) { return item.key->primary().token_key_id; },
        [&](std::span<const SealItem> some) { return seal_together(kind, some); });
}

std::vector<SealAnswer> Sealer::seal_together(EnvelopeKind kind, std::span<const SealItem> items) {
    std::vector<std::optional<SealAnswer>> answers(items.size());
    Pass pass{kind, items, {}, {}, {}, {}, answers};
    // The second pass is for what a flipped bit, or a token with another key, spoilt in the first.
    for (int passes = 0; passes < 2; ++passes) {
        pass.places.clear();
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (!answers[i]) pass.places.push_back(i);
        }
        if (pass.places.empty()) break;
        count(pass);
        encrypt(pass);
        compare(pass);
    }
    std::vector<SealAnswer> out;
    out.reserve(items.size());
    for (auto& answer : answers) {
        out.push_back(answer ? std::move(*answer)
                             : Error(ErrorCode::unavailable,
                                     "what was encrypted did not open again, please try again"));
    }
    return out;
}

// Numbers first: an encryption that is not counted must not be made. Items of a key that has none
// left are answered here.
void Sealer::count(Pass& pass) {
    std::map<const Key*, Error> refused;
    for_each_key(pass.items, pass.places, [&](const Key& key, std::uint64_t times) {
        try {
            usage_.take(key.id, key.primary_version, times);
        } catch (const Error& error) {
            refused.emplace(&key, error);
        }
    });
    if (refused.empty()) return;
    std::vector<std::size_t> left;
    for (const std::size_t place : pass.places) {
        const auto refusal = refused.find(pass.items[place].key);
        if (refusal == refused.end()) {
            left.push_back(place);
        } else {
            pass.answers[place] = refusal->second;
        }
    }
    pass.places = std::move(left);
}

void Sealer::encrypt(Pass& pass) {
    pass.aads.clear();
    pass.aads.reserve(pass.places.size());  // views of them must stay good
    pass.aad_views.clear();
    std::vector<hsm::EncryptItem> work;
    work.reserve(pass.places.size());
    const SealItem* before = nullptr;
    for (const std::size_t place : pass.places) {
        const SealItem& item = pass.items[place];
        if (before == nullptr || before->key != item.key || before->context != item.context) {
            pass.aads.push_back(envelope_aad(pass.kind, item.key->id, item.key->primary_version,
                                             item.context->canonical));
        }
        pass.aad_views.push_back(pass.aads.back());
        work.push_back({item.key->primary().token_key_id, pass.aads.back(), item.plaintext});
        before = &item;
    }
    pass.made = token_.encrypt_many(work);
}

// One pass over one session opens the known answer of each key and everything that was made: the
// key that encrypted is then the key that we mean.
void Sealer::compare(Pass& pass) {
    std::vector<const Key*> keys;
    std::vector<base::Bytes> known_aads;
    for_each_key(pass.items, pass.places, [&](const Key& key, std::uint64_t /*times*/) {
        keys.push_back(&key);
        known_aads.push_back(known_answer_aad(key.id, key.primary_version));
    });
    std::vector<hsm::DecryptItem> work;
    work.reserve(keys.size() + pass.places.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const KeyVersion& version = keys[i]->primary();
        work.push_back({version.token_key_id, version.known_answer.iv, known_aads[i],
                        version.known_answer.ciphertext});
    }
    for (std::size_t i = 0; i < pass.places.size(); ++i) {
        if (!pass.made[i]) continue;
        work.push_back({pass.items[pass.places[i]].key->primary().token_key_id, pass.made[i]->iv,
                        pass.aad_views[i], pass.made[i]->ciphertext});
    }
    const auto opened = token_.decrypt_many(work);
    Unproven unproven;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!opened[i] || !opened[i]->equals(known_plaintext()))
            unproven.emplace(keys[i], hold(*keys[i]));
    }
    judge(pass, unproven, std::span(opened).subspan(keys.size()));
}

// Of several tokens one may have the right key: the next pass uses that.
std::optional<Error> Sealer::hold(const Key& key) {
    try {
        const KeyProof proof = hold_to_known_answer(token_, key, key.primary());
        if (proof == KeyProof::proven) return std::nullopt;
        return key_not_at_hand(key, to_string(proof));
    } catch (const Error& error) {
        return error;
    }
}

// `opened` has what came of each item that was made, in order.
void Sealer::judge(Pass& pass, const Unproven& unproven,
                   std::span<const std::optional<base::SecretBytes>> opened) {
    std::map<const Key*, std::uint64_t> good;
    std::uint64_t spoilt = 0;
    auto next = opened.begin();
    for (std::size_t i = 0; i < pass.places.size(); ++i) {
        const SealItem& item = pass.items[pass.places[i]];
        auto& answer = pass.answers[pass.places[i]];
        if (!pass.made[i]) {
            answer = key_not_at_hand(*item.key, "missing");
            continue;
        }
        const auto& plaintext = *next++;
        if (const auto found = unproven.find(item.key); found != unproven.end()) {
            if (found->second) answer = *found->second;
        } else if (plaintext && plaintext->equals(item.plaintext)) {
            answer = Envelope{item.key->id, item.key->primary_version, pass.made[i]->iv,
                              std::move(pass.made[i]->ciphertext), pass.kind};
            ++good[item.key];
        } else {
            ++spoilt;
        }
    }
    if (spoilt != 0) {
        log_.error("what was just encrypted did not open again and is thrown away",
                   {{"items", static_cast<std::int64_t>(spoilt)}});
    }
    for (const auto& [key, times] : good) {
        usage_.note(key->id, key->primary_version, {times, 0});
    }
}

}  // namespace kms
