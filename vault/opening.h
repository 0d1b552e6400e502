// Opening what the store holds: every secret of a credential that is shown, or sealed anew, is
// opened here. A version's own seal says whose it is and what stands beside it. What stands beside
// all versions, metadata and tags above all, the seal of the current one says: so an older version
// opens only with it, or whoever can edit tags would get around them by the older secrets. No
// authorisation, no key service and no SQL may appear here: the caller has the data keys unwrapped.
#pragma once

#include <optional>
#include <vector>

#include "base/secret_bytes.h"
#include "vault/data_keys.h"
#include "vault/record.h"
#include "vault/sealed.h"

namespace vault {

// A version and the sealed credential in it.
struct Found {
    StoredVersion stored;
    SealedCredential sealed;
    std::optional<SealedCredential> current;  // of an older version: the current one's
};

// Reads the sealed texts of what a store found. Throws integrity_failure when one is none, or names
// another master key than its row.
Found read_found(StoredVersion stored);

// The data keys that open_found() takes, in order: the version's, and of an older one the current
// one's.
std::vector<WrappedKey> wrapped_keys(const Found& found);
inline std::size_t count_of_keys(const Found& found) { return found.current ? 2 : 1; }

// The secret of the version. `current` is the current version's data key, null unless it is another
// version. Throws integrity_failure when anything does not match: what either seal binds, or the
// credential's metadata, tags or times, or when the version is of before it was last destroyed;
// internal without `current` for an older version. Of a credential whose current version is of
// format 2 none of what the credential has is bound.
base::SecretBytes open_found(const Found& found, const base::SecretBytes& key,
                             const base::SecretBytes* current);

}  // namespace vault
