#include "vault/caching_data_keys.h"

#include <algorithm>
#include <utility>

#include "base/encoding.h"
#include "server/digest.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::chrono::seconds sweep_interval{1};

void append_part(std::string& out, std::string_view part) {
    out += std::to_string(part.size());
    out += ':';
    out += part;
}

// One text for one reader, wrapped form and context, and no secret in it.
std::string cache_name(const WrappedKey& item, const std::string& reader) {
    std::string text;
    append_part(text, reader);
    append_part(text, base::as_text(item.wrapped));
    for (const auto& [name, value] : item.context) {
        append_part(text, name);
        append_part(text, value);
    }
    server::Sha256 digest;
    const auto hash = digest.digest(text);
    return std::string(base::as_text(hash));
}

std::pair<std::string, std::uint32_t> proof_name(const MasterKeyVersion& master_key) {
    return {master_key.key_id.to_string(), master_key.version};
}

}  // namespace

CachingDataKeys::CachingDataKeys(DataKeys& keys, KeyCacheLimits limits, Clock clock)
    : keys_(keys), limits_(limits), clock_(std::move(clock)), sweeper_([this] { run(); }) {}

CachingDataKeys::~CachingDataKeys() {
    {
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    changed_.notify_all();
    sweeper_.join();
}

ReadKey CachingDataKeys::unwrap_to_read(const WrappedKey& item, const std::string& reader,
                                        const std::string& traceparent) {
    const std::string name = cache_name(item, reader);
    if (auto known = take(name)) return {*std::move(known), true};
    const Asking asking = begin();
    try {
        base::SecretBytes key = keys_.unwrap(item.wrapped, item.context, traceparent);
        keep(name, item, key, asking);
        return {std::move(key), false};
    } catch (const Error& error) {
        note_failure(item, error);
        throw;
    }
}

std::vector<ReadOutcome> CachingDataKeys::unwrap_many_to_read(std::span<const WrappedKey> items,
                                                              const std::string& reader,
                                                              const std::string& traceparent) {
    std::vector<std::optional<ReadOutcome>> outcomes(items.size());
    std::vector<std::string> names;
    std::vector<std::size_t> places;
    std::vector<WrappedKey> asked;
    for (std::size_t i = 0; i < items.size(); ++i) {
        std::string name = cache_name(items[i], reader);
        if (auto known = take(name)) {
            outcomes[i] = ReadKey{*std::move(known), true};
            continue;
        }
        names.push_back(std::move(name));
        places.push_back(i);
        asked.push_back(items[i]);
    }
    const Asking asking = begin();
    std::vector<UnwrapOutcome> answers;
    try {
        answers = keys_.unwrap_many(asked, traceparent);
    } catch (const Error& error) {
        for (const WrappedKey& item : asked) note_failure(item, error);
        throw;
    }
    for (std::size_t k = 0; k < asked.size(); ++k) {
        if (const auto* error = std::get_if<Error>(&answers.at(k))) {
            note_failure(asked[k], *error);
            outcomes[places[k]] = *error;
            continue;
        }
        auto& key = std::get<base::SecretBytes>(answers[k]);
        keep(names[k], asked[k], key, asking);
        outcomes[places[k]] = ReadKey{std::move(key), false};
    }
    std::vector<ReadOutcome> all;
    all.reserve(outcomes.size());
    for (auto& outcome : outcomes) all.push_back(*std::move(outcome));
    return all;
}

CachingDataKeys::Asking CachingDataKeys::begin() const {
    const std::lock_guard lock(mutex_);
    return {clock_(), losses_};
}

std::optional<base::SecretBytes> CachingDataKeys::take(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found == entries_.end()) return std::nullopt;
    const TimePoint now = clock_();
    Entry& entry = found->second;
    if (now >= entry.until) {
        erase(found);
        return std::nullopt;
    }
    const auto proof = proofs_.find(proof_name(entry.master_key));
    if (proof == proofs_.end() || now - proof->second >= key_cache_proof) return std::nullopt;
    base::SecretBytes key = entry.key.clone();
    by_use_.splice(by_use_.end(), by_use_, entry.place);
    if (--entry.uses_left == 0) erase(found);
    return key;
}

// What was asked before a failure proves nothing behind it.
void CachingDataKeys::keep(const std::string& name, const WrappedKey& item,
                           const base::SecretBytes& key, const Asking& asking) {
    const auto master_key = master_key_of(item.wrapped);
    if (!master_key) return;
    const std::lock_guard lock(mutex_);
    if (asking.losses != losses_) return;
    TimePoint& proof = proofs_[proof_name(*master_key)];
    proof = std::max(proof, asking.begun);
    if (const auto found = entries_.find(name); found != entries_.end()) erase(found);
    while (entries_.size() >= limits_.max_entries) erase(entries_.find(by_use_.front()));
    const auto place = by_use_.insert(by_use_.end(), name);
    const bool was_empty = entries_.empty();
    entries_.emplace(name, Entry{key.clone(), item.context, *master_key,
                                 asking.begun + limits_.max_age, limits_.max_uses, place});
    if (was_empty) changed_.notify_all();
}

// A data key that does not open says nothing of others, but its master key version has to prove
// itself again, since a key that is gone fails in the same words. An outage or a refusal ends all
// that is kept: what is asked next goes to the key service.
void CachingDataKeys::note_failure(const WrappedKey& item, const Error& error) {
    if (error.code() == ErrorCode::resource_exhausted) return;
    const std::lock_guard lock(mutex_);
    if (error.code() == ErrorCode::integrity_failure) {
        if (const auto master_key = master_key_of(item.wrapped))
            proofs_.erase(proof_name(*master_key));
        return;
    }
    ++losses_;
    proofs_.clear();
    entries_.clear();
    by_use_.clear();
}

// What was asked before is not kept either. The proofs stay: nothing failed.
void CachingDataKeys::forget(const KeyContext& parts) noexcept {
    const auto has_all = [&parts](const KeyContext& context) {
        return std::all_of(parts.begin(), parts.end(), [&context](const auto& part) {
            const auto found = context.find(part.first);
            return found != context.end() && found->second == part.second;
        });
    };
    const std::lock_guard lock(mutex_);
    ++losses_;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        const auto here = entry++;
        if (has_all(here->second.context)) erase(here);
    }
}

void CachingDataKeys::erase(Entries::iterator entry) {
    by_use_.erase(entry->second.place);
    entries_.erase(entry);
}

void CachingDataKeys::erase_old(TimePoint now) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        const auto here = entry++;
        if (now >= here->second.until) erase(here);
    }
    std::erase_if(proofs_, [&](const auto& one) { return now - one.second >= key_cache_proof; });
}

void CachingDataKeys::sweep() {
    const std::lock_guard lock(mutex_);
    erase_old(clock_());
}

std::size_t CachingDataKeys::size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

void CachingDataKeys::run() {
    std::unique_lock lock(mutex_);
    while (!is_stopping_) {
        if (entries_.empty()) {
            changed_.wait(lock);
        } else {
            changed_.wait_for(lock, sweep_interval, [this] { return is_stopping_; });
            erase_old(clock_());
        }
    }
}

DataKey CachingDataKeys::create(const KeyContext& context, const std::string& traceparent) {
    return keys_.create(context, traceparent);
}

base::SecretBytes CachingDataKeys::unwrap(base::ByteView wrapped, const KeyContext& context,
                                          const std::string& traceparent) {
    return keys_.unwrap(wrapped, context, traceparent);
}

std::vector<DataKey> CachingDataKeys::create_many(const KeyContext& context, std::size_t count,
                                                  const std::string& traceparent) {
    return keys_.create_many(context, count, traceparent);
}

std::vector<UnwrapOutcome> CachingDataKeys::unwrap_many(std::span<const WrappedKey> items,
                                                        const std::string& traceparent) {
    return keys_.unwrap_many(items, traceparent);
}

std::vector<RewrapOutcome> CachingDataKeys::rewrap_many(std::span<const WrappedKey> items,
                                                        const std::string& traceparent) {
    return keys_.rewrap_many(items, traceparent);
}

std::optional<MasterKeyVersion> CachingDataKeys::newest(const std::string& traceparent) {
    return keys_.newest(traceparent);
}

MasterKeyVersion CachingDataKeys::newest_now(const std::string& traceparent) {
    return keys_.newest_now(traceparent);
}

void CachingDataKeys::check() { keys_.check(); }

}  // namespace vault
