#include "vault/values.h"

#include "vault/actions.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

// Values of one call share the data keys' context, so that one call to the key service makes all of
// them; what tells them apart is bound by the seal.
KeyContext value_key_context(const std::string& owner) {
    return {{"owner", owner}, {"use", "sealed value"}};
}

// The owner of all of them.
std::string owner_of(std::span<const ValueJob> jobs, server::Action action) {
    for (const ValueJob& job : jobs) {
        const server::Resource& resource = job.grant->resource();
        if (job.grant->action() != action || resource.kind != value_kind ||
            resource.owner != jobs.front().grant->resource().owner) {
            throw Error(ErrorCode::internal, "an operation was called with the grant of another");
        }
    }
    return jobs.empty() ? std::string() : jobs.front().grant->resource().owner;
}

ValueBinding binding_of(const ValueJob& job) {
    return {job.grant->resource().owner, job.grant->resource().id};
}

// What a value is: plaintext (nothing), sealed, or marked as sealed and not to be opened.
using Seen = std::variant<std::monostate, SealedCredential, Error>;

Seen look_at(const base::JsonValue& value) {
    try {
        if (const auto sealed = sealed_in(value)) return parse_given(*sealed);
    } catch (const Error& error) {
        return error;
    }
    return std::monostate();
}

template <typename Outcome>
std::vector<Outcome> collect(std::vector<std::optional<Outcome>>&& outcomes) {
    std::vector<Outcome> all;
    all.reserve(outcomes.size());
    for (auto& outcome : outcomes) all.push_back(*std::move(outcome));
    return all;
}

// One value on its way to being sealed.
struct Sealing {
    std::optional<SealedCredential> sealed;
    SealedValue::State state = SealedValue::State::sealed;
    std::optional<base::SecretBytes> plaintext;  // of what is sealed now
    std::optional<Error> error;
};

void seal_new(DataKeys& keys, std::span<const ValueJob> jobs, std::vector<Sealing>& items,
              const std::string& owner, const std::string& traceparent) {
    std::vector<std::size_t> fresh;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].plaintext) fresh.push_back(i);
    }
    if (fresh.empty()) return;
    const auto made = keys.create_many(value_key_context(owner), fresh.size(), traceparent);
    for (std::size_t k = 0; k < fresh.size(); ++k) {
        Sealing& item = items[fresh[k]];
        item.sealed = seal(binding_of(jobs[fresh[k]]), made.at(k), item.plaintext->expose());
    }
}

void rewrap_old(DataKeys& keys, std::vector<Sealing>& items, const std::string& owner,
                const std::string& traceparent) {
    std::vector<WrappedKey> wrapped;
    std::vector<Sealing*> old;
    for (Sealing& item : items) {
        if (item.plaintext || !item.sealed) continue;
        wrapped.push_back({item.sealed->wrapped_data_key, value_key_context(owner)});
        old.push_back(&item);
    }
    auto outcomes = keys.rewrap_many(wrapped, traceparent);
    for (std::size_t k = 0; k < old.size(); ++k) {
        Sealing& item = *old[k];
        if (const auto* error = std::get_if<Error>(&outcomes.at(k))) {
            item.error = *error;
            item.sealed.reset();
            continue;
        }
        auto& anew = std::get<Rewrapped>(outcomes[k]);
        item.state = anew.wrapped == item.sealed->wrapped_data_key ? SealedValue::State::unchanged
                                                                   : SealedValue::State::rewrapped;
        item.sealed->wrapped_data_key = std::move(anew.wrapped);
        item.sealed->key_id = anew.master_key.key_id;
        item.sealed->key_version = anew.master_key.version;
    }
}

// Opens what `unwrapped` gave a key for; the same error for everything that does not open.
std::variant<base::SecretBytes, Error> try_open(const SealedCredential& sealed, const ValueJob& job,
                                                const base::SecretBytes& key) {
    try {
        return open(sealed, binding_of(job), key);
    } catch (const Error& error) {
        return error;
    }
}

std::variant<base::SecretBytes, Error> try_open(const SealedCredential& sealed, const ValueJob& job,
                                                const UnwrapOutcome& unwrapped) {
    if (const auto* error = std::get_if<Error>(&unwrapped)) return *error;
    return try_open(sealed, job, std::get<base::SecretBytes>(unwrapped));
}

OpenOutcome finish_open(const SealedCredential& sealed, const ValueJob& job,
                        const ReadOutcome& unwrapped,
                        const std::optional<MasterKeyVersion>& newest) {
    if (const auto* error = std::get_if<Error>(&unwrapped)) return *error;
    const auto& read = std::get<ReadKey>(unwrapped);
    auto opened = try_open(sealed, job, read.key);
    if (const auto* error = std::get_if<Error>(&opened)) return *error;
    const MasterKeyVersion master_key{sealed.key_id, sealed.key_version};
    return OpenedValue{std::move(std::get<base::SecretBytes>(opened)), master_key,
                       newest && *newest != master_key, read.from_cache};
}

// The text that goes out must open before it may replace what somebody relies on, and by the way
// that an open takes.
SealOutcome finish(const Sealing& item, const ValueJob& job, const UnwrapOutcome& unwrapped) {
    SealedValue done{
        to_text(*item.sealed), {item.sealed->key_id, item.sealed->key_version}, item.state};
    const auto opened = try_open(parse_stored(done.text), job, unwrapped);
    const auto* error = std::get_if<Error>(&opened);
    if (!item.plaintext) {
        if (error != nullptr) return *error;
        return done;
    }
    if (error != nullptr && error->code() != ErrorCode::integrity_failure) return *error;
    if (error != nullptr || !std::get<base::SecretBytes>(opened).equals(item.plaintext->expose())) {
        return Error(ErrorCode::internal, "the sealed value does not open; it is not given back");
    }
    return done;
}

Sealing begin_sealing(const base::JsonValue& value) {
    Sealing item;
    Seen seen = look_at(value);
    if (auto* error = std::get_if<Error>(&seen)) {
        item.error = std::move(*error);
    } else if (auto* sealed = std::get_if<SealedCredential>(&seen)) {
        item.sealed = std::move(*sealed);
    } else {
        const base::WipedString text = base::to_json(value);
        if (text.size() > max_plaintext_bytes) {
            item.error = Error(ErrorCode::invalid_argument,
                               "\"value\" must have at most " +
                                   std::to_string(max_plaintext_bytes) + " bytes as compact JSON");
        } else {
            item.plaintext = base::SecretBytes(base::as_bytes(text));
        }
    }
    return item;
}

}  // namespace

std::string_view to_string(SealedValue::State state) noexcept {
    switch (state) {
        case SealedValue::State::sealed:
            return "sealed";
        case SealedValue::State::unchanged:
            return "unchanged";
        case SealedValue::State::rewrapped:
            break;
    }
    return "rewrapped";
}

server::Resource value_resource(const std::string& owner, const std::string& context) {
    return {.kind = std::string(value_kind),
            .id = context,
            .owner = owner,
            .aliases = {},
            .tags = {},
            .owner_from_caller = true};
}

ValueService::ValueService(DataKeys& keys, const base::Clock& clock, Passthrough passthrough)
    : keys_(keys), clock_(clock), passthrough_(passthrough) {}

std::vector<SealOutcome> ValueService::seal(std::span<const ValueJob> jobs,
                                            const std::string& traceparent) {
    const std::string owner = owner_of(jobs, seal_value);
    std::vector<Sealing> items;
    items.reserve(jobs.size());
    for (const ValueJob& job : jobs) items.push_back(begin_sealing(*job.value));
    seal_new(keys_, jobs, items, owner, traceparent);
    rewrap_old(keys_, items, owner, traceparent);

    std::vector<WrappedKey> wrapped;
    for (const Sealing& item : items) {
        if (item.sealed)
            wrapped.push_back({item.sealed->wrapped_data_key, value_key_context(owner)});
    }
    const auto unwrapped = keys_.unwrap_many(wrapped, traceparent);
    std::vector<SealOutcome> outcomes;
    outcomes.reserve(items.size());
    std::size_t next = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].error) {
            outcomes.emplace_back(*items[i].error);
        } else {
            outcomes.push_back(finish(items[i], jobs[i], unwrapped.at(next++)));
        }
    }
    return outcomes;
}

std::vector<OpenOutcome> ValueService::open(std::span<const ValueJob> jobs,
                                            const std::string& traceparent) {
    const std::string owner = owner_of(jobs, open_value);
    std::vector<std::optional<OpenOutcome>> outcomes(jobs.size());
    std::vector<WrappedKey> wrapped;
    std::vector<std::pair<std::size_t, SealedCredential>> sealed;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        Seen seen = look_at(*jobs[i].value);
        if (auto* error = std::get_if<Error>(&seen)) {
            outcomes[i] = std::move(*error);
        } else if (auto* found = std::get_if<SealedCredential>(&seen)) {
            wrapped.push_back({found->wrapped_data_key, value_key_context(owner)});
            sealed.emplace_back(i, std::move(*found));
        } else if (passes_plaintext()) {
            const base::WipedString text = base::to_json(*jobs[i].value);
            outcomes[i] =
                OpenedValue{base::SecretBytes(base::as_bytes(text)), std::nullopt, true, false};
        } else {
            outcomes[i] = not_sealed();
        }
    }
    const std::string reader = jobs.empty() ? std::string() : jobs.front().grant->caller().id;
    const auto unwrapped = keys_.unwrap_many_to_read(wrapped, reader, traceparent);
    std::optional<MasterKeyVersion> newest;
    if (!sealed.empty()) newest = keys_.newest(traceparent);
    for (std::size_t k = 0; k < sealed.size(); ++k) {
        const auto& [i, value] = sealed[k];
        outcomes[i] = finish_open(value, jobs[i], unwrapped.at(k), newest);
    }
    return collect(std::move(outcomes));
}

bool ValueService::passes_plaintext() const {
    return passthrough_.on && (!passthrough_.until || clock_.now() < *passthrough_.until);
}

Error ValueService::not_sealed() const {
    std::string message = "\"value\" is not sealed";
    if (passthrough_.on && passthrough_.until) {
        message += "; such values are refused since " + base::to_rfc3339(*passthrough_.until);
    }
    return {ErrorCode::invalid_argument, std::move(message)};
}

}  // namespace vault
