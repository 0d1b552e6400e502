// Where the vault's data keys come from and where they are unwrapped: the seam to the key service.
// No HTTP and no client library type may appear here.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/bytes.h"
#include "base/secret_bytes.h"
#include "base/uuid.h"

namespace vault {

// What a data key is bound to; the same context must be given to unwrap it.
using KeyContext = std::map<std::string, std::string>;

struct DataKey {
    base::SecretBytes plaintext;  // 32 bytes
    base::Bytes wrapped;          // wrapped data key, format version 1 of the key service
    base::Uuid key_id;            // the master key that wraps it, and its version
    std::uint32_t key_version = 0;
};

// Implementations are safe to share between threads, keep no plaintext and answer within a deadline
// of their own. `traceparent` (W3C Trace Context) is passed on when it is not empty. Every function
// throws
//   unavailable         the key service can't be reached, is not ready or refuses this vault
//   resource_exhausted  it limits this vault; later will do
class DataKeys {
public:
    virtual ~DataKeys() = default;

    // A fresh data key of 32 bytes, bound to `context`.
    virtual DataKey create(const KeyContext& context, const std::string& traceparent) = 0;

    // The data key inside `wrapped`. Throws integrity_failure when it does not open: tampered,
    // truncated, another context or another key.
    virtual base::SecretBytes unwrap(base::ByteView wrapped, const KeyContext& context,
                                     const std::string& traceparent) = 0;

    // Throws unavailable when the key service is not ready.
    virtual void check() = 0;
};

}  // namespace vault
