// What the service destroys, and the records of it.
#include "base/error.h"
#include "vault/actions.h"
#include "vault/sealed.h"
#include "vault/service.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

// How often a destruction starts anew because what it destroys has changed meanwhile.
constexpr int max_restarts = 16;

const std::string& owner_of(const server::Grant& grant, server::Action action) {
    if (grant.action() != action || grant.resource().kind != credential_kind) {
        throw Error(ErrorCode::internal, "an operation was called with the grant of another");
    }
    return grant.resource().owner;
}

}  // namespace

DestructionRecord CredentialService::sign(const Destruction& destruction,
                                          const std::string& traceparent) {
    DestructionRecord record{
        .id = destruction.id, .text = destruction_text(destruction), .signature = std::nullopt};
    if (options_.signer != nullptr) {
        record.signature = options_.signer->sign(record.text, traceparent);
    }
    return record;
}

// Of what was destroyed no data key stays behind on this node.
void CredentialService::forget_keys(const Destruction& made) {
    for (const DoomedCredential& one : made.credentials)
        keys_.forget(context_of_all_versions({made.owner, one.name}));
}

// That of a credential which was never here is somebody else's.
CopyOutcome CredentialService::follow_if_destroyed(const std::string& owner) {
    if (options_.copies == nullptr) return {};
    const auto id = options_.copies->of(owner);
    if (!id) return {};
    const Head head = store_.head(*id);
    return head.last > 0 && head.current == 0 ? follow(*id) : CopyOutcome{};
}

// Before it is said that there is nothing: a destruction whose copy could not be taken away is
// repeated.
void CredentialService::require_no_copy(const std::string& owner) {
    const CopyOutcome copy = follow_if_destroyed(owner);
    if (copy.state != CopyOutcome::State::failed) return;
    throw Error(ErrorCode::unavailable,
                "it is destroyed in the vault and its copy elsewhere is not: try again",
                copy.detail);
}

Destroyed CredentialService::destroy(const server::Grant& grant, const std::string& traceparent) {
    const CredentialId id{owner_of(grant, delete_credential), grant.resource().id};
    for (int attempt = 0; attempt < max_restarts; ++attempt) {
        auto doomed = store_.doomed(id);
        if (!doomed) {
            if (options_.copies != nullptr && options_.copies->of(id.owner) == id)
                require_no_copy(id.owner);
            throw Error(ErrorCode::not_found, "there is no such credential");
        }
        Destruction wanted{.id = base::Uuid::random(),
                           .owner = id.owner,
                           .credentials = {*std::move(doomed)},
                           .ordered_by = grant.caller().id,
                           .at = clock_.now(),
                           .erasure = std::nullopt};
        DestructionRecord record = sign(wanted, traceparent);
        if (!store_.destroy(wanted, record)) continue;
        forget_keys(wanted);
        return {std::move(wanted), std::move(record), follow(id)};
    }
    throw Error(ErrorCode::unavailable, "too many calls store this credential at once");
}

// An owner who is busy changes some of many credentials all the time: the next attempt takes fewer.
Destroyed CredentialService::erase_owner(const server::Grant& grant,
                                         const std::string& traceparent) {
    const std::string& owner = owner_of(grant, vault::erase_owner);
    std::size_t limit = max_part_credentials;
    for (int attempt = 0; attempt < max_restarts; ++attempt) {
        OwnerPart part = store_.next_part(owner, limit, max_part_versions);
        if (part.credentials.empty() && !part.begun) {
            require_no_copy(owner);
            throw Error(ErrorCode::not_found, "this owner has no credentials");
        }
        Destruction wanted{.id = base::Uuid::random(),
                           .owner = owner,
                           .credentials = std::move(part.credentials),
                           .ordered_by = grant.caller().id,
                           .at = clock_.now(),
                           .erasure = std::nullopt};
        Erasure erasure = part.begun.value_or(
            Erasure{.id = wanted.id, .part = 0, .credentials = 0, .versions = 0});
        ++erasure.part;
        erasure.credentials += wanted.credentials.size();
        erasure.versions += wanted.versions();
        erasure.complete = part.last;
        wanted.erasure = erasure;
        DestructionRecord record = sign(wanted, traceparent);
        if (store_.destroy(wanted, record)) {
            forget_keys(wanted);
            return {std::move(wanted), std::move(record), follow_if_destroyed(owner)};
        }
        limit = std::max<std::size_t>(1, limit / 2);
    }
    throw Error(ErrorCode::unavailable, "too many calls store this owner's credentials at once");
}

DestructionPage CredentialService::destructions(const server::Grant& grant, const std::string& name,
                                                std::uint64_t after, std::size_t limit) {
    return store_.destructions(owner_of(grant, list_destructions), name, after, limit);
}

}  // namespace vault
