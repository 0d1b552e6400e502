// Where sealed credentials are kept. One interface, several databases, one suite of contract tests
// (tests/vault/store_contract.h). It takes and gives ciphertext only. No SQL and no library type
// may appear here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
    // not exist, or was destroyed, begins with `added.metadata` or an empty object.
    virtual std::optional<CredentialInfo> put(const NewVersion& added, const Head& expected) = 0;

    // Empty when there is no such credential, or it was destroyed. Throws integrity_failure when
    // the rows contradict each other, which only a hand in the database can cause.
    virtual std::optional<CredentialInfo> find(const CredentialId& id) = 0;

    // The same with one version's sealed text: the current version, or the one of that number.
    // Empty, too, when there is no such version. This is the hot path of a reveal.
    virtual std::optional<StoredVersion> find_version(const CredentialId& id,
                                                      std::optional<std::uint64_t> version) = 0;

    // Every version that there ever was, erased ones and those of before a destruction among them:
    // up to `limit` with numbers below `before` (0: all), newest first. Empty when there never was
    // such a credential. Throws integrity_failure when a row was taken away.
    virtual std::optional<VersionPage> history(const CredentialId& id, std::uint64_t before,
                                               std::size_t limit) = 0;

    // Up to `limit` credentials of `owner` whose names come after `after`, by name. An empty
    // `after` starts.
    virtual CredentialPage list(const std::string& owner, const std::string& after,
                                std::size_t limit) = 0;

    // Up to `limit` of the credentials that the question is about, in its order.
    virtual CredentialPage expiring(const ExpiryQuestion& question) = 0;

    // Destroys the sealed texts of all versions, with the wrapped data keys in them, and the
    // metadata; keeps the numbering and a record. Empty when there is no such credential.
    virtual std::optional<Destruction> destroy(const CredentialId& id,
                                               const std::string& destroyed_by, base::Time now) = 0;

    // The records of a credential's destructions, oldest first.
    virtual std::vector<Destruction> destructions(const CredentialId& id) = 0;

    // Throws unavailable when the store does not answer.
    virtual void check() = 0;
};

}  // namespace vault
