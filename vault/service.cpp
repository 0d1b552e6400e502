#include "vault/service.h"

#include "base/error.h"
#include "vault/actions.h"
#include "vault/begin_anew.h"
#include "vault/opening.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

// How often a store without if_version starts anew because another one came first.
constexpr int max_lost_races = 16;

void require_action(const server::Grant& grant, server::Action action) {
    if (grant.action() != action || grant.resource().kind != credential_kind) {
        throw Error(ErrorCode::internal, "an operation was called with the grant of another");
    }
}

CredentialId credential_of(const server::Grant& grant, server::Action action) {
    require_action(grant, action);
    return {grant.resource().owner, grant.resource().id};
}

Error no_such_credential() { return {ErrorCode::not_found, "there is no such credential"}; }

Error reason_missing() {
    return {ErrorCode::invalid_argument,
            "\"reason\" is missing: who reveals this credential must say why"};
}

Error too_many_at_once() {
    return {ErrorCode::unavailable, "too many calls store this credential at once"};
}

Error tags_changed() {
    return {ErrorCode::unavailable, "the credential was given other tags meanwhile: try again"};
}

void require_version(const Head& head, const std::optional<std::uint64_t>& wanted) {
    if (!wanted || *wanted == head.current) return;
    throw Error(ErrorCode::failed_precondition,
                head.current == 0 ? "\"if_version\" does not hold: there is no such credential"
                                  : "\"if_version\" does not hold: the current version is " +
                                        std::to_string(head.current));
}

// Throws not_found; what read_found() throws.
Found find_sealed(Store& store, const CredentialId& id, std::optional<std::uint64_t> version) {
    auto stored = store.find_version(id, version);
    if (!stored) throw no_such_credential();
    return read_found(*std::move(stored));
}

// The current version; or why it can't be read; or nothing, when there is none.
using Current = std::variant<std::monostate, Found, Error>;
Current find_current(Store& store, const CredentialId& id) {
    try {
        auto stored = store.find_version(id, std::nullopt);
        if (!stored) return {};
        return read_found(*std::move(stored));
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        return error;
    }
}

// Why one of a credential's data keys is missing; null when none is.
template <typename Outcome>
const Error* error_in(std::span<const Outcome> outcomes) {
    for (const Outcome& outcome : outcomes) {
        if (const auto* error = std::get_if<Error>(&outcome)) return error;
    }
    return nullptr;
}

// `keys` are those of wrapped_keys(), none of them an error.
Revealed to_revealed(Found found, std::span<const ReadOutcome> keys) {
    const auto& own = std::get<ReadKey>(keys.front());
    auto secret =
        open_found(found, own.key, found.current ? &std::get<ReadKey>(keys[1]).key : nullptr);
    return {std::move(found.stored.info), found.stored.version, std::move(secret), own.from_cache};
}

Revealed open_to_read(DataKeys& keys, Found found, const std::string& reader,
                      const std::string& traceparent) {
    const auto wrapped = wrapped_keys(found);
    std::vector<ReadOutcome> unwrapped;
    if (wrapped.size() == 1) {
        unwrapped.emplace_back(keys.unwrap_to_read(wrapped.front(), reader, traceparent));
    } else {
        unwrapped = keys.unwrap_many_to_read(wrapped, reader, traceparent);
        if (const Error* error = error_in(std::span<const ReadOutcome>(unwrapped)))
            throw Error(*error);
    }
    return to_revealed(std::move(found), unwrapped);
}

// The same by the key service itself, for who seals anew what he reads.
base::SecretBytes open_proven(DataKeys& keys, const Found& found, const std::string& traceparent) {
    const auto wrapped = wrapped_keys(found);
    if (wrapped.size() == 1) {
        const auto& own = wrapped.front();
        return open_found(found, keys.unwrap(own.wrapped, own.context, traceparent), nullptr);
    }
    const auto unwrapped = keys.unwrap_many(wrapped, traceparent);
    if (const Error* error = error_in(std::span<const UnwrapOutcome>(unwrapped)))
        throw Error(*error);
    return open_found(found, std::get<base::SecretBytes>(unwrapped.at(0)),
                      &std::get<base::SecretBytes>(unwrapped.at(1)));
}

Head head_of(const Found& found) {
    const CredentialInfo& info = found.stored.info;
    return {.current = info.current().version,
            .last = info.current().version,
            .first = info.first_version};
}

// The credential once `added` is stored on `head`. What is not replaced is that of `there`; null:
// nothing stays but where it began.
CredentialInfo whole_with(const NewVersion& added, const Head& head, const Found* there) {
    CredentialInfo whole{.id = added.id,
                         .created_at = added.version.created_at,
                         .updated_at = added.version.created_at,
                         .metadata = "{}",
                         .versions = {}};
    if (there != nullptr) {
        whole.created_at = there->stored.info.created_at;
        whole.metadata = there->stored.info.metadata;
        whole.tags = there->stored.info.tags;
    }
    if (added.metadata) whole.metadata = *added.metadata;
    if (added.tags) whole.tags = *added.tags;
    whole.first_version = head.current == 0 ? added.version.version : head.first;
    return whole;
}

NewVersion new_version(const CredentialId& id, const StoreRequest& request, const Head& head,
                       base::Time now) {
    NewVersion added{
        .id = id, .version = {}, .sealed = {}, .metadata = request.metadata, .tags = request.tags};
    added.version.version = head.last + 1;
    added.version.expires_at = request.expires_at;
    added.version.created_at = now;
    return added;
}

// The data key in `fresh`, and by the same call that of `current`, unless it is null.
base::SecretBytes unwrap_with(DataKeys& keys, WrappedKey fresh, const Found* current,
                              std::optional<UnwrapOutcome>& currents_key,
                              const std::string& traceparent) {
    if (current == nullptr) return keys.unwrap(fresh.wrapped, fresh.context, traceparent);
    auto wanted = wrapped_keys(*current);
    wanted.push_back(std::move(fresh));
    auto outcomes = keys.unwrap_many(wanted, traceparent);
    if (outcomes.size() != 2) throw Error(ErrorCode::internal, "another number of data keys came");
    currents_key = std::move(outcomes.front());
    if (const auto* error = std::get_if<Error>(&outcomes.back())) throw Error(*error);
    return std::get<base::SecretBytes>(std::move(outcomes.back()));
}

// Why the current version does not open as it was stored.
std::optional<Error> whats_wrong(const Found& current, const UnwrapOutcome& key) {
    if (const auto* error = std::get_if<Error>(&key)) return *error;
    try {
        static_cast<void>(open_found(current, std::get<base::SecretBytes>(key), nullptr));
        return std::nullopt;
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        return error;
    }
}

Error does_not_open() {
    return {ErrorCode::internal, "the sealed credential does not open; nothing was stored"};
}

// What is wrong with one item of a call and not with all of them.
bool is_of_one_item(const Error& error) {
    return error.code() == ErrorCode::not_found || error.code() == ErrorCode::integrity_failure;
}

}  // namespace

server::Resource credential_resource(const CredentialId& id) {
    return {.kind = std::string(credential_kind),
            .id = id.name,
            .owner = id.owner,
            .aliases = {},
            .tags = {}};
}

server::Resource credentials_resource(const std::string& owner) {
    return credential_resource({owner, "*"});
}

server::Resource all_credentials() { return credential_resource({"", "*"}); }

CredentialService::CredentialService(Store& store, DataKeys& keys, const base::Clock& clock,
                                     ServiceOptions options)
    : store_(store), keys_(keys), clock_(clock), options_(std::move(options)) {}

server::Resource CredentialService::resource(const server::Authorizer& authorizer,
                                             const CredentialId& id) {
    server::Resource resource = credential_resource(id);
    resource.tags_left_out = !authorizer.asks_for_tags() && !options_.reasons.ask_for_tags();
    if (!resource.tags_left_out) resource.tags = store_.tags(id);
    return resource;
}

server::Resource CredentialService::resource_to_store(const server::Authorizer& authorizer,
                                                      const CredentialId& id) {
    try {
        return resource(authorizer, id);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        server::Resource of_any_tags = credential_resource(id);
        of_any_tags.of_many = true;
        return of_any_tags;
    }
}

std::optional<Tags> CredentialService::tags(const CredentialId& id) {
    auto stored = store_.find_version(id, std::nullopt);
    if (!stored) return std::nullopt;
    return std::move(stored->info.tags);
}

bool CredentialService::decides_by_tags() const {
    return options_.reasons.ask_for_tags() ||
           (options_.authorizer != nullptr && options_.authorizer->asks_for_tags());
}

// Tags are looked up before the question, so that another call may have changed them before the
// work.
bool CredentialService::has_other_tags(const server::Grant& grant, const Tags& tags) const {
    return grant.resource().tags != tags && decides_by_tags();
}

void CredentialService::require_same_tags(const server::Grant& grant, const Tags& tags) const {
    if (has_other_tags(grant, tags)) throw tags_changed();
}

bool CredentialService::lacks_reason(const server::Grant& grant, std::string_view reason) const {
    return reason.empty() && options_.reasons.ask(grant.caller(), grant.resource());
}

// The change stands, so what fails here is told beside it.
CopyOutcome CredentialService::follow(const CredentialId& id) {
    if (options_.copies == nullptr || options_.copies->of(id.owner) != id) return {};
    try {
        options_.copies->follow(id, [&] { return store_.find_version(id, std::nullopt); });
        return {CopyOutcome::State::written};
    } catch (const Error& error) {
        return {CopyOutcome::State::failed, error.what()};
    }
}

// They are those of the head that is read, or put() does nothing. What a provider gave is stored
// whatever the tags: nobody gets it a second time.
void CredentialService::require_tags_to_store(const server::Grant& grant,
                                              const StoreRequest& request, const Tags& tags) const {
    if (grant.action() == refresh_credential) return;
    require_same_tags(grant, tags);
    if (request.replaced_tags && *request.replaced_tags != tags) throw tags_changed();
}

StoreResult CredentialService::store(const server::Grant& grant, const StoreRequest& request,
                                     const std::string& traceparent) {
    const bool refreshes = grant.action() == refresh_credential;
    const CredentialId id = credential_of(grant, refreshes ? refresh_credential : store_credential);
    Doubt doubt(request);
    for (int attempt = 0; attempt < max_lost_races; ++attempt) {
        const Current there = find_current(store_, id);
        const auto* found = std::get_if<Found>(&there);
        const auto* unreadable = std::get_if<Error>(&there);
        const Head head = found != nullptr ? head_of(*found) : store_.head(id);
        require_version(head, request.if_version);
        if (unreadable != nullptr) {
            doubt.replace(head, *unreadable);
        } else if (found == nullptr && head.current != 0) {
            continue;  // another call came between
        } else {
            require_tags_to_store(grant, request,
                                  found != nullptr ? found->stored.info.tags : Tags{});
        }
        const Found* kept = doubt.replaces(head) ? nullptr : found;
        NewVersion added = new_version(id, request, head, clock_.now());
        added.begins_anew = doubt.replaces(head);
        const auto whole = whole_with(added, head, kept);
        if (const auto error = seal_into(added, whole, request.secret, kept, traceparent)) {
            doubt.look_again_or_replace(head, *error, refreshes);
            continue;
        }
        auto info = store_.put(added, head);
        if (!info) continue;
        return {.info = *std::move(info),
                .created = head.current == 0,
                .copy = follow(id),
                .replaced_damaged = added.begins_anew && doubt.is_damage(),
                .replaced_unopened = added.begins_anew && !doubt.is_damage()};
    }
    throw too_many_at_once();
}

StoreResult CredentialService::restore(const server::Grant& grant, const RestoreRequest& request,
                                       const std::string& traceparent) {
    const CredentialId id = credential_of(grant, restore_credential);
    for (int attempt = 0; attempt < max_lost_races; ++attempt) {
        const Head head = store_.head(id);
        require_version(head, request.if_version);
        const Found found = find_sealed(store_, id, request.version);
        require_same_tags(grant, found.stored.info.tags);
        const base::SecretBytes secret = open_proven(keys_, found, traceparent);
        const auto& old = found.stored.version;
        NewVersion added{.id = id,
                         .version = {},
                         .sealed = {},
                         .metadata = std::nullopt,
                         .restored_from = request.version};
        added.version.version = head.last + 1;
        added.version.expires_at = request.expires_at ? request.expires_at : old.expires_at;
        added.version.created_at = clock_.now();
        // What stays was proven with the old secret.
        seal_into(added, whole_with(added, head, &found), secret, nullptr, traceparent);
        auto info = store_.put(added, head);
        if (info) return {*std::move(info), false, follow(id)};
    }
    throw too_many_at_once();
}

// A sealed value must open before it may replace a secret that somebody relies on, and by the way
// that a reveal takes: text, unwrap, open.
std::optional<Error> CredentialService::seal_into(NewVersion& added, const CredentialInfo& whole,
                                                  const base::SecretBytes& secret,
                                                  const Found* current,
                                                  const std::string& traceparent) {
    const SealBinding binding{.owner = added.id.owner,
                              .name = added.id.name,
                              .version = added.version.version,
                              .created_at = added.version.created_at,
                              .expires_at = added.version.expires_at,
                              .restored_from = added.restored_from};
    const KeyContext context = key_context(binding);
    {
        const DataKey key = keys_.create(context, traceparent);
        const SealedCredential sealed = seal(binding, attributes_of(whole), key, secret.expose());
        added.sealed = to_text(sealed);
        added.version.key_id = sealed.key_id;
        added.version.key_version = sealed.key_version;
    }
    std::optional<UnwrapOutcome> currents_key;
    try {
        const SealedCredential sealed = parse_stored(added.sealed);
        const auto data_key = unwrap_with(keys_, {sealed.wrapped_data_key, context}, current,
                                          currents_key, traceparent);
        if (!open(sealed, binding, data_key).equals(secret.expose())) throw does_not_open();
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        throw does_not_open();
    }
    return current == nullptr ? std::nullopt : whats_wrong(*current, *currents_key);
}

CredentialInfo CredentialService::describe(const server::Grant& grant) {
    auto info = store_.find(credential_of(grant, describe_credential));
    if (!info) throw no_such_credential();
    require_same_tags(grant, info->tags);
    return *std::move(info);
}

VersionPage CredentialService::history(const server::Grant& grant, std::uint64_t before,
                                       std::size_t limit) {
    auto page = store_.history(credential_of(grant, describe_credential), before, limit);
    if (!page) throw no_such_credential();
    return *std::move(page);
}

CredentialPage CredentialService::list(const server::Grant& grant, const std::string& after,
                                       std::size_t limit) {
    return store_.list(credential_of(grant, list_credentials).owner, after, limit);
}

CredentialPage CredentialService::expiring(const server::Grant& grant,
                                           const ExpiryQuestion& question) {
    if (credential_of(grant, list_credentials).owner != question.owner) {
        throw Error(ErrorCode::internal, "the grant is for another owner");
    }
    return store_.expiring(question);
}

Revealed CredentialService::reveal(const server::Grant& grant, std::optional<std::uint64_t> version,
                                   const std::string& traceparent, std::string_view reason) {
    const CredentialId id = credential_of(grant, reveal_credential);
    if (lacks_reason(grant, reason)) throw reason_missing();
    Found found = find_sealed(store_, id, version);
    require_same_tags(grant, found.stored.info.tags);
    return open_to_read(keys_, std::move(found), grant.caller().id, traceparent);
}

// Another master key version than the row's is none of its faults: a rewrap job changes rows only.
Revealed CredentialService::reveal_kept(const server::Grant& grant, std::string_view text,
                                        std::uint64_t version, const std::string& traceparent,
                                        std::string_view reason) {
    const CredentialId id = credential_of(grant, reveal_credential);
    if (lacks_reason(grant, reason)) throw reason_missing();
    auto stored = store_.find_version(id, std::nullopt);
    if (!stored) throw no_such_credential();
    require_same_tags(grant, stored->info.tags);
    if (stored->version.version != version) {
        throw Error(ErrorCode::unavailable,
                    "what is kept elsewhere is not the current version: store it again");
    }
    Found found{*std::move(stored), parse_stored(text), std::nullopt};
    found.stored.version.key_id = found.sealed.key_id;
    found.stored.version.key_version = found.sealed.key_version;
    return open_to_read(keys_, std::move(found), grant.caller().id, traceparent);
}

std::vector<RevealOutcome> CredentialService::reveal_many(std::span<const RevealJob> jobs,
                                                          const std::string& traceparent) {
    std::vector<std::variant<Found, Error>> rows;
    std::vector<WrappedKey> wrapped;
    for (const RevealJob& job : jobs) {
        const CredentialId id = credential_of(*job.grant, reveal_credential);
        if (lacks_reason(*job.grant, job.reason)) {
            rows.emplace_back(reason_missing());
            continue;
        }
        try {
            Found found = find_sealed(store_, id, job.version);
            if (has_other_tags(*job.grant, found.stored.info.tags)) {
                rows.emplace_back(tags_changed());
                continue;
            }
            for (WrappedKey& key : wrapped_keys(found)) wrapped.push_back(std::move(key));
            rows.emplace_back(std::move(found));
        } catch (const Error& error) {
            if (!is_of_one_item(error)) throw;
            rows.emplace_back(error);
        }
    }
    const std::string reader = jobs.empty() ? std::string() : jobs.front().grant->caller().id;
    const auto unwrapped = keys_.unwrap_many_to_read(wrapped, reader, traceparent);
    std::vector<RevealOutcome> outcomes;
    outcomes.reserve(rows.size());
    std::size_t next = 0;
    for (auto& row : rows) {
        if (const auto* error = std::get_if<Error>(&row)) {
            outcomes.emplace_back(*error);
            continue;
        }
        Found& found = std::get<Found>(row);
        const auto keys = std::span(unwrapped).subspan(next, count_of_keys(found));
        next += keys.size();
        if (const Error* error = error_in(keys)) {
            outcomes.emplace_back(*error);
            continue;
        }
        try {
            outcomes.emplace_back(to_revealed(std::move(found), keys));
        } catch (const Error& error) {
            if (!is_of_one_item(error)) throw;
            outcomes.emplace_back(error);
        }
    }
    return outcomes;
}

}  // namespace vault
