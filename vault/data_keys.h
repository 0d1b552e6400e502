// Where the vault's data keys come from and where they are unwrapped: the seam to the key service.
// No HTTP and no client library type may appear here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/key_commitment.h"
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

// A master key and one of its versions.
struct MasterKeyVersion {
    base::Uuid key_id;
    std::uint32_t version = 0;
    bool operator==(const MasterKeyVersion&) const = default;
};

// One data key of a call on many.
struct WrappedKey {
    base::Bytes wrapped;
    KeyContext context;
    std::string traceparent{};  // of an item whose trace is not the call's
};

// A data key wrapped anew, and the master key that wraps it now.
struct Rewrapped {
    base::Bytes wrapped;
    MasterKeyVersion master_key;
    base::KeyCommitment commitment{};  // of the data key, as the key service says
};

// Of one item: what came of it, or why not.
using UnwrapOutcome = std::variant<base::SecretBytes, base::Error>;
using RewrapOutcome = std::variant<Rewrapped, base::Error>;

// A data key for reading what is stored.
struct ReadKey {
    base::SecretBytes key;
    bool from_cache = false;
};
using ReadOutcome = std::variant<ReadKey, base::Error>;

// unavailable: the key service answers, and refuses this vault; `detail` is what it said. Of one
// item of many its master key is disabled, destroyed or compromised. (One that this vault has no
// right to is an integrity_failure: the key service does not say that there is one.)
base::Error refused_by_key_service(std::string detail);
bool is_refusal(const base::Error& error);

// What one call on many takes at most.
inline constexpr std::size_t max_keys_at_once = 1000;

// Implementations are safe to share between threads, keep no plaintext (but for what the functions
// to read say) and answer within a deadline of their own. `traceparent` (W3C Trace Context) is
// passed on when it is not empty. Every function throws
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

    // `count` fresh data keys (1 to max_keys_at_once) bound to the same context, by one call.
    virtual std::vector<DataKey> create_many(const KeyContext& context, std::size_t count,
                                             const std::string& traceparent) = 0;

    // Up to max_keys_at_once by one call, each with its own outcome, in order: its errors are those
    // of unwrap(). No items, no call.
    virtual std::vector<UnwrapOutcome> unwrap_many(std::span<const WrappedKey> items,
                                                   const std::string& traceparent) = 0;

    // unwrap() and unwrap_many() for who reads what is stored and proves nothing by it: an
    // implementation may answer from a cache, and says so. `reader` is the id of the caller who was
    // allowed to: nobody is answered by what was kept for another. Here they ask the key service.
    virtual ReadKey unwrap_to_read(const WrappedKey& item, const std::string& reader,
                                   const std::string& traceparent);
    virtual std::vector<ReadOutcome> unwrap_many_to_read(std::span<const WrappedKey> items,
                                                         const std::string& reader,
                                                         const std::string& traceparent);

    // The same data keys wrapped under the newest version of the vault's master key, by one call;
    // what is so already comes back unchanged. Otherwise as unwrap_many().
    virtual std::vector<RewrapOutcome> rewrap_many(std::span<const WrappedKey> items,
                                                   const std::string& traceparent) = 0;

    // The version that new data keys are wrapped under, as of the last minute or so. Empty when the
    // key service does not say; throws nothing.
    virtual std::optional<MasterKeyVersion> newest(const std::string& traceparent) = 0;

    // The same, asked of the key service now. Needs the right to describe the master key there.
    virtual MasterKeyVersion newest_now(const std::string& traceparent) = 0;

    // Takes away what an implementation keeps of data keys whose context has all of `parts`. Throws
    // nothing. Here nothing is kept.
    virtual void forget(const KeyContext& parts) noexcept;

    // Throws unavailable when the key service is not ready.
    virtual void check() = 0;
};

}  // namespace vault
