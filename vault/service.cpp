#include "vault/service.h"

#include "base/error.h"
#include "vault/actions.h"
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

KeyContext key_context(const CredentialId& id, std::uint64_t version) {
    return vault::key_context(SealBinding{id.owner, id.name, version});
}

void require_version(const Head& head, const std::optional<std::uint64_t>& wanted) {
    if (!wanted || *wanted == head.current) return;
    throw Error(ErrorCode::failed_precondition,
                head.current == 0 ? "\"if_version\" does not hold: there is no such credential"
                                  : "\"if_version\" does not hold: the current version is " +
                                        std::to_string(head.current));
}

// A row and the sealed credential in it.
struct Found {
    StoredVersion stored;
    SealedCredential sealed;
};

// Throws not_found; integrity_failure when the row contradicts itself.
Found find_sealed(Store& store, const CredentialId& id, std::optional<std::uint64_t> version) {
    auto stored = store.find_version(id, version);
    if (!stored) throw no_such_credential();
    SealedCredential sealed = parse_stored(stored->sealed);
    if (sealed.key_id != stored->version.key_id ||
        sealed.key_version != stored->version.key_version) {
        throw base::decryption_failed("the row's master key columns differ from its kid");
    }
    return {*std::move(stored), std::move(sealed)};
}

WrappedKey wrapped_key(const Found& found) {
    return {found.sealed.wrapped_data_key,
            key_context(found.stored.info.id, found.stored.version.version)};
}

Revealed open_found(Found found, const ReadKey& read) {
    const CredentialId& id = found.stored.info.id;
    auto secret = open(found.sealed, {id.owner, id.name, found.stored.version.version}, read.key);
    return {std::move(found.stored.info), found.stored.version, std::move(secret), read.from_cache};
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

std::optional<Tags> CredentialService::tags(const CredentialId& id) {
    auto info = store_.find(id);
    if (!info) return std::nullopt;
    return std::move(info->tags);
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

StoreResult CredentialService::store(const server::Grant& grant, const StoreRequest& request,
                                     const std::string& traceparent) {
    const bool refreshes = grant.action() == refresh_credential;
    const CredentialId id = credential_of(grant, refreshes ? refresh_credential : store_credential);
    for (int attempt = 0; attempt < max_lost_races; ++attempt) {
        const Head head = store_.head(id);
        require_version(head, request.if_version);
        // They are those of this head, or put() does nothing. What a provider gave is stored
        // whatever the tags: nobody gets it a second time.
        if (!refreshes && (decides_by_tags() || request.replaced_tags)) {
            const Tags there = store_.tags(id);
            require_same_tags(grant, there);
            if (request.replaced_tags && *request.replaced_tags != there) throw tags_changed();
        }
        NewVersion added{.id = id,
                         .version = {},
                         .sealed = {},
                         .metadata = request.metadata,
                         .tags = request.tags};
        added.version.version = head.last + 1;
        added.version.expires_at = request.expires_at;
        added.version.created_at = clock_.now();
        seal_into(added, request.secret, traceparent);
        auto info = store_.put(added, head);
        if (info) return {*std::move(info), head.current == 0, follow(id)};
    }
    throw too_many_at_once();
}

StoreResult CredentialService::restore(const server::Grant& grant, const RestoreRequest& request,
                                       const std::string& traceparent) {
    const CredentialId id = credential_of(grant, restore_credential);
    for (int attempt = 0; attempt < max_lost_races; ++attempt) {
        const Head head = store_.head(id);
        require_version(head, request.if_version);
        Found found = find_sealed(store_, id, request.version);
        require_same_tags(grant, found.stored.info.tags);
        const WrappedKey wrapped = wrapped_key(found);
        const ReadKey key{keys_.unwrap(wrapped.wrapped, wrapped.context, traceparent), false};
        const Revealed old = open_found(std::move(found), key);
        NewVersion added{.id = id,
                         .version = {},
                         .sealed = {},
                         .metadata = std::nullopt,
                         .restored_from = request.version};
        added.version.version = head.last + 1;
        added.version.expires_at = request.expires_at ? request.expires_at : old.version.expires_at;
        added.version.created_at = clock_.now();
        seal_into(added, old.secret, traceparent);
        auto info = store_.put(added, head);
        if (info) return {*std::move(info), false, follow(id)};
    }
    throw too_many_at_once();
}

// A sealed value must open before it may replace a secret that somebody relies on, and by the way
// that a reveal takes: text, unwrap, open.
void CredentialService::seal_into(NewVersion& added, const base::SecretBytes& secret,
                                  const std::string& traceparent) {
    const SealBinding binding{added.id.owner, added.id.name, added.version.version};
    const KeyContext context = key_context(added.id, added.version.version);
    {
        const DataKey key = keys_.create(context, traceparent);
        const SealedCredential sealed = seal(binding, key, secret.expose());
        added.sealed = to_text(sealed);
        added.version.key_id = sealed.key_id;
        added.version.key_version = sealed.key_version;
    }
    try {
        const SealedCredential sealed = parse_stored(added.sealed);
        const auto data_key = keys_.unwrap(sealed.wrapped_data_key, context, traceparent);
        if (open(sealed, binding, data_key).equals(secret.expose())) return;
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
    }
    throw Error(ErrorCode::internal, "the sealed credential does not open; nothing was stored");
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
    const ReadKey key = keys_.unwrap_to_read(wrapped_key(found), grant.caller().id, traceparent);
    return open_found(std::move(found), key);
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
    Found found{*std::move(stored), parse_stored(text)};
    found.stored.version.key_id = found.sealed.key_id;
    found.stored.version.key_version = found.sealed.key_version;
    const ReadKey key = keys_.unwrap_to_read(wrapped_key(found), grant.caller().id, traceparent);
    return open_found(std::move(found), key);
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
            wrapped.push_back(wrapped_key(found));
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
        const ReadOutcome& key = unwrapped.at(next++);
        if (const auto* error = std::get_if<Error>(&key)) {
            outcomes.emplace_back(*error);
            continue;
        }
        try {
            outcomes.emplace_back(
                open_found(std::get<Found>(std::move(row)), std::get<ReadKey>(key)));
        } catch (const Error& error) {
            if (!is_of_one_item(error)) throw;
            outcomes.emplace_back(error);
        }
    }
    return outcomes;
}

}  // namespace vault
