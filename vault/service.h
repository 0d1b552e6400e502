// What the vault does: stores, shows, reveals and destroys credentials. Every method takes the
// Grant of its action and works on the credential that the grant names, so nothing else than what
// was authorised can be touched. No HTTP in here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/secret_bytes.h"
#include "server/authorizer.h"
#include "vault/copies.h"
#include "vault/data_keys.h"
#include "vault/destruction.h"
#include "vault/reasons.h"
#include "vault/record.h"
#include "vault/store.h"

namespace vault {

struct Found;  // vault/opening.h

// The resource of one credential but for its tags: see CredentialService::resource.
server::Resource credential_resource(const CredentialId& id);
// Of all credentials of an owner: listing.
server::Resource credentials_resource(const std::string& owner);
// Of all owners: it has no owner, so that no pattern with one fits.
server::Resource all_credentials();

struct StoreRequest {
    base::SecretBytes secret;  // compact JSON, at most max_secret_bytes
    std::optional<std::string>
        metadata;  // compact JSON object, at most max_metadata_bytes; empty: stays as it is
    std::optional<Tags> tags{};  // are_tags(); empty: they stay as they are
    // The tags that the policy allowed to be replaced: if the credential has others by now, nothing
    // is stored. Empty: not compared.
    std::optional<Tags> replaced_tags{};
    // Asked where the current version does not open: whether the credential may begin anew, with
    // nothing but what is given here. The caller needs the right to give it these tags whatever it
    // has (vault/begin_anew.h). Empty: it may not.
    std::function<bool()> may_begin_anew{};
    std::optional<base::Time> expires_at;
    std::optional<std::uint64_t>
        if_version;  // store only if this is the current version; 0: only if there is none
};

struct StoreResult {
    CredentialInfo info;
    bool created = false;  // there was none before
    CopyOutcome copy{};
    // It began anew, since what was there could not be believed, or the key service refuses its
    // data key.
    bool replaced_damaged = false;
    bool replaced_unopened = false;
};

struct RestoreRequest {
    std::uint64_t version = 0;             // what is made the current one again
    std::optional<base::Time> expires_at;  // empty: that version's own
    std::optional<std::uint64_t> if_version;
};

struct Revealed {
    CredentialInfo info;
    VersionInfo version;          // of the secret
    base::SecretBytes secret;     // the JSON that was stored
    bool key_from_cache = false;  // its data key was not unwrapped for this
};

// One of several reveals. What it refers to must outlive the call.
struct RevealJob {
    const server::Grant* grant = nullptr;
    std::optional<std::uint64_t> version;  // empty: the current one
    std::string_view reason{};             // is_reason(), or empty
};
using RevealOutcome = std::variant<Revealed, base::Error>;
inline constexpr std::size_t max_reveals = 100;  // of one call

// What was destroyed, and the record of it.
struct Destroyed {
    Destruction destruction;
    DestructionRecord record;
    CopyOutcome copy{};
};

// What a vault is configured to ask for and to do beyond the rest.
struct ServiceOptions {
    ReasonRules reasons{};                // who must say why he reveals
    DestructionSigner* signer = nullptr;  // null: destructions are recorded without a signature
    // Who is asked for the grants: tells whether they go by tags. Null: they do not.
    const server::Authorizer* authorizer = nullptr;
    // Where credentials are kept beside the store: every change of one is followed there, whatever
    // way it came. Null: nowhere.
    const Copies* copies = nullptr;
};

// Thread-safe. `store`, `keys`, `clock` and what the options point to must outlive it. It keeps no
// secret and no key between calls: each store and each reveal asks `keys`, and what a reveal gets
// from there may have been kept (DataKeys::unwrap_to_read). Every method may throw unavailable
// (store or key service) and throws internal for a grant of another action. Where something decides
// by tags, describe, reveal, store and restore throw unavailable if the credential has other tags
// by now than the grant's resource: the question must be asked again.
class CredentialService {
public:
    CredentialService(Store& store, DataKeys& keys, const base::Clock& clock,
                      ServiceOptions options = {});

    // Takes the grant of refresh_credential, too. Seals the secret under a fresh data key, opens it
    // again by way of the key service, and stores it as the next version. What was stored stays
    // when its copy fails, which the result says (as restore() and the destructions do). Throws
    // failed_precondition when `if_version` does not hold; invalid_argument when the secret is too
    // large; integrity_failure when the current version does not open as it was stored, and
    // failed_precondition when the key service refuses its data key (unavailable by the grant of
    // refresh_credential): what stays of it would be sealed as true. Only a request that may begin
    // the credential anew does so then. `traceparent`, here and below, is passed on to the key
    // service.
    StoreResult store(const server::Grant& grant, const StoreRequest& request,
                      const std::string& traceparent);

    // Stores the secret of an older version as the next one, sealed anew under a fresh data key;
    // the metadata stays. The caller does not get to see it. Throws not_found; integrity_failure as
    // reveal(); otherwise what store() throws.
    StoreResult restore(const server::Grant& grant, const RestoreRequest& request,
                        const std::string& traceparent);

    // Metadata, versions and expiry; never touches the key service. Throws not_found;
    // integrity_failure when the rows contradict each other.
    CredentialInfo describe(const server::Grant& grant);

    // Up to `limit` versions with numbers below `before` (0: all), newest first, erased ones among
    // them: also of a credential that was destroyed. For who may describe it. Throws not_found when
    // there never was one; integrity_failure when a version was taken away.
    VersionPage history(const server::Grant& grant, std::uint64_t before, std::size_t limit);

    // A page of the owner's credentials: see Store::list.
    CredentialPage list(const server::Grant& grant, const std::string& after, std::size_t limit);

    // A page of what expires before a time: of the owner that the grant of list_credentials names,
    // or of all owners. Throws internal when the question is about another.
    CredentialPage expiring(const server::Grant& grant, const ExpiryQuestion& question);

    // The secret of the current version, or of the one given. Throws not_found; integrity_failure
    // when what is stored is not what was stored for this owner, name and version, or the
    // credential's metadata, tags or times are not those that its current version was stored with;
    // invalid_argument naming "reason" when the configuration asks for one and it is empty.
    Revealed reveal(const server::Grant& grant, std::optional<std::uint64_t> version,
                    const std::string& traceparent, std::string_view reason = {});

    // reveal() of the current version, out of a sealed text that was kept elsewhere as that
    // version. Throws unavailable when the current version is another one; otherwise what reveal()
    // throws.
    Revealed reveal_kept(const server::Grant& grant, std::string_view text, std::uint64_t version,
                         const std::string& traceparent, std::string_view reason = {});

    // Each with an outcome of its own, in order, by one call to the key service: its errors are
    // those of reveal(). Without the key service or the store there is none at all (unavailable).
    std::vector<RevealOutcome> reveal_many(std::span<const RevealJob> jobs,
                                           const std::string& traceparent);

    // Crypto-erasure: destroys the wrapped data keys of all versions and keeps a record of it,
    // signed by the key service where a signer is configured; without the signature nothing is
    // destroyed. Throws not_found, and then the copy of one that was destroyed before is gone, too
    // (unavailable when that is not known).
    Destroyed destroy(const server::Grant& grant, const std::string& traceparent);

    // The same for a part of an owner's credentials, by the grant of erase_owner: at most
    // max_part_credentials, to be called until the erasure is complete. One that was begun goes on,
    // whoever calls; each call is one transaction, and takes away the copy of what it, or a call
    // before it, destroyed. Throws not_found when the owner has none, as destroy().
    Destroyed erase_owner(const server::Grant& grant, const std::string& traceparent);

    // The records of the owner's destructions: see Store::destructions.
    DestructionPage destructions(const server::Grant& grant, const std::string& name,
                                 std::uint64_t after, std::size_t limit);

    // The resource of one credential, for the Authorizer: with the credential's tags, which are
    // looked up only where something decides by tags. Throws integrity_failure when they can't be
    // read.
    server::Resource resource(const server::Authorizer& authorizer, const CredentialId& id);

    // The same for a store, which may replace tags that can't be read: the resource has any then.
    server::Resource resource_to_store(const server::Authorizer& authorizer,
                                       const CredentialId& id);

    // The tags of a credential, for the question of who may give it others; empty when it is not
    // there. Throws what Store::find_version throws.
    std::optional<Tags> tags(const CredentialId& id);

    base::Time now() const { return clock_.now(); }

private:
    // Fills `sealed` and the master key of `added`. `whole` is the credential as it will be.
    // `current`, if it is given, is what is there: why it does not open as it was stored, or
    // nothing. Whatever it says, `added` is good.
    std::optional<base::Error> seal_into(NewVersion& added, const CredentialInfo& whole,
                                         const base::SecretBytes& secret, const Found* current,
                                         const std::string& traceparent);

    CopyOutcome follow(const CredentialId& id);
    CopyOutcome follow_if_destroyed(const std::string& owner);
    void require_no_copy(const std::string& owner);
    void forget_keys(const Destruction& made);
    DestructionRecord sign(const Destruction& destruction, const std::string& traceparent);
    bool decides_by_tags() const;
    // Whether the credential, with `tags`, is not any more as the grant was given for.
    bool has_other_tags(const server::Grant& grant, const Tags& tags) const;
    void require_same_tags(const server::Grant& grant, const Tags& tags) const;
    void require_tags_to_store(const server::Grant& grant, const StoreRequest& request,
                               const Tags& tags) const;
    bool lacks_reason(const server::Grant& grant, std::string_view reason) const;

    Store& store_;
    DataKeys& keys_;
    const base::Clock& clock_;
    const ServiceOptions options_;
};

}  // namespace vault
