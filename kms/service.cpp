#include "kms/service.h"

#include <algorithm>
#include <map>

#include "kms/actions.h"
#include "kms/context_rule.h"
#include "kms/grants.h"
#include "kms/known_answer.h"

namespace kms {

using base::Error;
using base::ErrorCode;

// What kind of opening a call is: the grant it needs, the row in the table of states, and what it
// opens.
struct KeyService::Work {
    server::Action action;
    KeyOperation operation;
    EnvelopeKind kind;
};

namespace {

// The primary version may do `operation` under that context. Throws as KeyService.
const KeyVersion& require_sealing(const Key& key, KeyOperation operation, const Context& context) {
    if (key.use() != KeyUse::encrypt) {
        base::refuse("a key of kind " + std::string(hsm::to_string(key.kind)) +
                     " does not encrypt");
    }
    const KeyVersion& version = key.primary();
    require_permitted(key, version, operation);
    require_context(key.context_rule, context.entries);
    return version;
}

void require_grants(server::Action action, const OpenJob& job) {
    const std::string key_id = job.envelope.key_id.to_string();
    require_grant(*job.grant, action, key_id);
    if (job.compromised != nullptr) require_grant(*job.compromised, use_compromised_key, key_id);
}

// Then they need no second look.
bool has_same_grants(const OpenJob& left, const OpenJob& right) {
    return left.grant == right.grant && left.compromised == right.compromised &&
           left.envelope.key_id == right.envelope.key_id;
}

KeyPointer require_known(const CatalogueSnapshot& snapshot, const base::Uuid& key_id) {
    KeyPointer key = snapshot.find(key_id);
    if (key == nullptr) throw Error(ErrorCode::not_found, "there is no such key");
    return key;
}

// The one answer of a call on one.
template <typename Value>
Value only(std::vector<std::variant<Value, Error>> answers) {
    auto& answer = answers.front();
    if (const auto* error = std::get_if<Error>(&answer)) throw Error(*error);
    return std::get<Value>(std::move(answer));
}

}  // namespace

KeyService::KeyService(Catalogue& catalogue, hsm::Token& token, UsageCounter& usage, base::Log& log,
                       std::vector<VersionName> unproven)
    : catalogue_(catalogue),
      token_(token),
      usage_(usage),
      opener_(token, log),
      sealer_(token, usage, log),
      unproven_(std::move(unproven)) {}

FreshDataKeys KeyService::create_data_keys(const server::Grant& grant, const base::Uuid& key_id,
                                           const Context& context, const NewDataKeys& wanted) {
    require_grant(grant, create_data_key, key_id.to_string());
    if (wanted.bytes < min_data_key_bytes || wanted.bytes > max_data_key_bytes ||
        wanted.count < 1 || wanted.count > max_batch) {
        throw Error(ErrorCode::invalid_argument, "size or count of the data keys is out of range");
    }
    const KeyPointer key = require_known(*catalogue_.snapshot(), key_id);
    const KeyVersion& version = require_sealing(*key, KeyOperation::wrap, context);

    base::SecretBytes plaintexts(wanted.bytes * wanted.count);
    token_.random(plaintexts.expose_mutable());
    const auto plaintext_of = [&](std::size_t i) {
        return plaintexts.expose().subspan(i * wanted.bytes, wanted.bytes);
    };
    std::vector<SealItem> items;
    items.reserve(wanted.count);
    for (std::size_t i = 0; i < wanted.count; ++i) {
        items.push_back({key.get(), &context, plaintext_of(i)});
    }
    const auto sealed = sealer_.seal(EnvelopeKind::data_key, items);

    FreshDataKeys fresh{key->id, version.version, {}};
    fresh.keys.reserve(wanted.count);
    for (std::size_t i = 0; i < wanted.count; ++i) {
        if (const auto* error = std::get_if<Error>(&sealed[i])) throw Error(*error);
        FreshDataKey data_key;
        if (wanted.with_plaintext) data_key.plaintext = base::SecretBytes(plaintext_of(i));
        data_key.wrapped = to_bytes(std::get<Envelope>(sealed[i]));
        fresh.keys.push_back(std::move(data_key));
    }
    return fresh;
}

// Jobs that must not or can't be opened are answered before the token is asked; the others go to it
// in one pass.
std::vector<OpenAnswer> KeyService::open_many(const Work& work, const CatalogueSnapshot& snapshot,
                                              std::span<const OpenJob* const> jobs) {
    std::vector<OpenAnswer> answers;
    answers.reserve(jobs.size());
    std::vector<KeyPointer> keys;  // kept while the items point at them
    std::vector<OpenItem> items;
    std::vector<std::size_t> places;
    keys.reserve(jobs.size());
    items.reserve(jobs.size());
    places.reserve(jobs.size());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const OpenJob& job = *jobs[i];
        if (i == 0 || !has_same_grants(*jobs[i - 1], job)) require_grants(work.action, job);
        answers.emplace_back(base::decryption_failed());
        KeyPointer key = snapshot.find(job.envelope.key_id);
        const KeyVersion* version =
            key == nullptr ? nullptr : key->find_version(job.envelope.key_version);
        if (version == nullptr || key->use() != KeyUse::encrypt || job.envelope.kind != work.kind) {
            continue;
        }
        try {
            require_permitted(*key, *version, work.operation, job.compromised != nullptr);
            require_context(key->context_rule, job.context->entries);
        } catch (const Error& error) {
            answers[i] = error;
            continue;
        }
        items.push_back({key.get(), version, &job.envelope, job.context});
        keys.push_back(std::move(key));
        places.push_back(i);
    }
    auto opened = opener_.open(items);
    const OpenItem* noted = nullptr;
    for (std::size_t k = 0; k < places.size(); ++k) {
        if (std::holds_alternative<base::SecretBytes>(opened[k]) &&
            (noted == nullptr || noted->version != items[k].version)) {
            noted = &items[k];
            usage_.note(noted->key->id, noted->version->version);
        }
        answers[places[k]] = std::move(opened[k]);
    }
    return answers;
}

base::SecretBytes KeyService::unwrap(const OpenJob& job) { return only(unwrap_many({&job, 1})); }

std::vector<OpenAnswer> KeyService::unwrap_many(std::span<const OpenJob> jobs) {
    std::vector<const OpenJob*> pointers;
    pointers.reserve(jobs.size());
    for (const auto& job : jobs) pointers.push_back(&job);
    return open_many({unwrap_data_key, KeyOperation::unwrap, EnvelopeKind::data_key},
                     *catalogue_.snapshot(), pointers);
}

base::SecretBytes KeyService::decrypt(const OpenJob& job) {
    const OpenJob* pointer = &job;
    return only(open_many({decrypt_action, KeyOperation::decrypt, EnvelopeKind::small_text},
                          *catalogue_.snapshot(), {&pointer, 1}));
}

Envelope KeyService::encrypt(const server::Grant& grant, const base::Uuid& key_id,
                             const Context& context, base::ByteView plaintext) {
    require_grant(grant, encrypt_action, key_id.to_string());
    if (plaintext.size() < min_text_bytes || plaintext.size() > max_text_bytes) {
        throw Error(ErrorCode::invalid_argument, "the size of the text is out of range");
    }
    const KeyPointer key = require_known(*catalogue_.snapshot(), key_id);
    static_cast<void>(require_sealing(*key, KeyOperation::encrypt, context));
    const SealItem item{key.get(), &context, plaintext};
    return only(sealer_.seal(EnvelopeKind::small_text, {&item, 1}));
}

namespace {

// Of what was opened wherever there is an answer.
void commit_to(const std::vector<OpenAnswer>& opened, const std::vector<SealAnswer>& answers,
               std::vector<base::KeyCommitment>& commitments) {
    commitments.assign(answers.size(), {});
    for (std::size_t i = 0; i < answers.size(); ++i) {
        if (std::holds_alternative<Envelope>(answers[i]))
            commitments[i] = base::commitment_of(std::get<base::SecretBytes>(opened[i]));
    }
}

}  // namespace

Envelope KeyService::rewrap(const RewrapJob& job, std::vector<base::KeyCommitment>* commitments) {
    return only(rewrap_many({&job, 1}, commitments));
}

std::vector<SealAnswer> KeyService::rewrap_many(std::span<const RewrapJob> jobs,
                                                std::vector<base::KeyCommitment>* commitments) {
    const auto snapshot = catalogue_.snapshot();
    std::vector<const OpenJob*> pointers;
    pointers.reserve(jobs.size());
    for (const auto& job : jobs) {
        require_grant(*job.target, rewrap_data_key, job.to_key.to_string());
        pointers.push_back(&job.from);
    }
    // The old context is proven before anything is said of the target.
    const auto opened = open_many(
        {rewrap_data_key, KeyOperation::rewrap_from, EnvelopeKind::data_key}, *snapshot, pointers);
    std::vector<SealAnswer> answers;
    answers.reserve(jobs.size());
    std::vector<KeyPointer> targets;  // kept while the items point at them
    std::vector<SealItem> items;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        const RewrapJob& job = jobs[i];
        answers.emplace_back(job.from.envelope);
        if (const auto* error = std::get_if<Error>(&opened[i])) {
            answers[i] = *error;
            continue;
        }
        try {
            KeyPointer target = require_known(*snapshot, job.to_key);
            const KeyVersion& version =
                require_sealing(*target, KeyOperation::rewrap_to, *job.to_context);
            const Envelope& old = job.from.envelope;
            const bool is_so_already = old.key_id == target->id &&
                                       old.key_version == version.version &&
                                       job.from.context->canonical == job.to_context->canonical;
            if (is_so_already) continue;
            items.push_back(
                {target.get(), job.to_context, std::get<base::SecretBytes>(opened[i]).expose()});
            targets.push_back(std::move(target));
            places.push_back(i);
        } catch (const Error& error) {
            answers[i] = error;
        }
    }
    auto sealed = sealer_.seal(EnvelopeKind::data_key, items);
    std::map<std::pair<base::Uuid, std::uint32_t>, std::uint64_t> away;
    for (std::size_t k = 0; k < places.size(); ++k) {
        const Envelope& old = jobs[places[k]].from.envelope;
        if (std::holds_alternative<Envelope>(sealed[k])) ++away[{old.key_id, old.key_version}];
        answers[places[k]] = std::move(sealed[k]);
    }
    for (const auto& [name, count] : away) usage_.note(name.first, name.second, {0, count});
    if (commitments != nullptr) commit_to(opened, answers, *commitments);
    return answers;
}

void KeyService::check_token() {
    token_.check();
    const std::lock_guard lock(unproven_mutex_);
    const auto snapshot = catalogue_.snapshot();
    const auto is_fine = [&](const VersionName& name) {
        const KeyPointer key = snapshot->find(name.key_id);
        const KeyVersion* version = key == nullptr ? nullptr : key->find_version(name.version);
        const bool is_in_service = version != nullptr && version->state == KeyState::enabled &&
                                   key->state != KeyState::destroyed && !key->destruction_begun;
        return !is_in_service || hold_to_known_answer(token_, *key, *version) == KeyProof::proven;
    };
    unproven_.erase(std::remove_if(unproven_.begin(), unproven_.end(), is_fine), unproven_.end());
    if (unproven_.empty()) return;
    throw Error(ErrorCode::unavailable,
                "master keys that are missing from the token or not the ones they were: " +
                    std::to_string(unproven_.size()));
}

}  // namespace kms
