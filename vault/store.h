// Where sealed credentials are kept. One interface, several databases, one suite of contract tests
// (tests/vault/store_*contract.h). It takes and gives ciphertext only. No SQL and no library type
// may appear here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vault/destruction.h"
#include "vault/record.h"

namespace vault {

// Every change is durable and whole when its function returns. Implementations are safe to share
// between threads. Every function may throw unavailable.
class Store {
public:
    virtual ~Store() = default;

    // Where a credential's numbering stands; all zero when it was never stored.
    virtual Head head(const CredentialId& id) = 0;

    // Adds a version and makes it the current one, if the head is still `expected`
    // (compare-and-set), and returns the credential as it then is; empty, changing nothing, when it
    // is not. `added.version.version` must be expected.last + 1 (internal). A credential that did
    // not exist, was destroyed, or begins anew, begins with `added.metadata` or an empty object,
    // with `added.tags` or none, and is created then; it is updated by each version. The first
    // version of one that did not exist or was destroyed is first_version from then on. Empty, too,
    // when a rewrap job declared the master key version of `added` to be needed no more: the caller
    // takes a new data key. Throws integrity_failure when the credential is destroyed and versions
    // of it are not. Of older versions that can't be read the answer has none.
    virtual std::optional<CredentialInfo> put(const NewVersion& added, const Head& expected) = 0;

    // The credential's tags; none when it is not there. For the question of who may do what with
    // it, so of one select. Throws integrity_failure when they can't be read.
    virtual Tags tags(const CredentialId& id) = 0;

    // Empty when there is no such credential, or it was destroyed. Throws integrity_failure when
    // the rows contradict each other, which only a hand in the database can cause.
    virtual std::optional<CredentialInfo> find(const CredentialId& id) = 0;

    // The same with one version's sealed text: the current version, or the one of that number, and
    // then the current one's beside it. Empty, too, when there is no such version. Other older
    // versions that can't be read are left out of what the credential shows, so that they hold up
    // nothing. This is the hot path of a reveal.
    virtual std::optional<StoredVersion> find_version(const CredentialId& id,
                                                      std::optional<std::uint64_t> version) = 0;

    // Every version that there ever was, erased ones and those of before a destruction among them:
    // up to `limit` with numbers below `before` (0: all), newest first. Empty when there never was
    // such a credential. Throws integrity_failure when a row was taken away.
    virtual std::optional<VersionPage> history(const CredentialId& id, std::uint64_t before,
                                               std::size_t limit) = 0;

    // Up to `limit` credentials of `owner` whose names come after `after`, by name. An empty
    // `after` starts; otherwise it is the name of CredentialPage::last. Throws invalid_argument
    // when it is a row that is not there. Here and in expiring() a credential whose rows can't be
    // believed hides no other: it takes its place among the unsound.
    virtual CredentialPage list(const std::string& owner, const std::string& after,
                                std::size_t limit) = 0;

    // Up to `limit` of the credentials that the question is about, in its order. Those whose expiry
    // is no time at all have no place in the order: up to as many again are among the unsound of
    // the first page.
    virtual CredentialPage expiring(const ExpiryQuestion& question) = 0;

    // What a destruction of a credential would destroy; empty when there is none.
    virtual std::optional<DoomedCredential> doomed(const CredentialId& id) = 0;

    // The same of up to `max_credentials` of an owner, by name, which have up to `max_versions`
    // together; one at least, however many versions it has.
    virtual OwnerPart next_part(const std::string& owner, std::size_t max_credentials,
                                std::uint64_t max_versions) = 0;

    // Destroys what `wanted` names: the sealed texts of all versions, with the wrapped data keys in
    // them, and the metadata; keeps numbering, history and the record. False, changing nothing,
    // when any of it is not any more as `wanted` has it: a credential, the part that an erasure is
    // at, or that the owner has no others.
    virtual bool destroy(const Destruction& wanted, const DestructionRecord& record) = 0;

    // The records of an owner's destructions, or of those of one credential unless `name` is empty:
    // up to `limit` behind the place `after` (0: from the beginning), oldest first. Throws
    // integrity_failure for one that can't be read.
    virtual DestructionPage destructions(const std::string& owner, const std::string& name,
                                         std::uint64_t after, std::size_t limit) = 0;

    // Throws unavailable when the store does not answer.
    virtual void check() = 0;
};

}  // namespace vault
