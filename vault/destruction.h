// The evidence of a crypto-erasure: a text that names what was destroyed, and the key service's
// signature of exactly its bytes. One line of JSON, members in this order, no line end:
//
//   {"strongroom":"destruction","version":1,
//    "id":"<uuid>",
//    "owner":"acme",
//    "credentials":[{"name":"instagram","versions":2},…],   wrapped data keys of each that were
//                                                           destroyed
//    "ordered_by":"<caller's id>",
//    "at":"2027-01-15T08:00:00.000Z",
//    "erasure":{"id":"<uuid>","part":2,                     of a whole owner only: which one, which
//               "credentials":143,"versions":201,           part of it, how much with this part,
//               "complete":true}}                           and whether the owner has none left
//
// It verifies with the public key alone. A key that signs checkpoints may sign it, too: a
// checkpoint has several lines, and none of them begins with '{'. Its signature is made before the
// erasure is committed: a text without its row was never true.
//
// It speaks of the vault's own database, and not of copies elsewhere, each with its wrapped data
// key: backups, exports, or a Directus that stores are written through to (which is emptied after
// it, vault/copies.h).
//
// Text and values only: no store, no HTTP.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "vault/data_keys.h"
#include "vault/record.h"

namespace vault {

// One part of an owner's erasure takes at most so much, though never less than one credential.
inline constexpr std::size_t max_part_credentials = 100;
inline constexpr std::uint64_t max_part_versions = 1000;

// A credential that is to be destroyed, as it stands.
struct DoomedCredential {
    std::string name;
    Head head;
    std::uint64_t versions = 0;  // that have not been destroyed
};

// How far the erasure of an owner is with a part.
struct Erasure {
    base::Uuid id;
    std::uint64_t part = 0;         // from 1
    std::uint64_t credentials = 0;  // of this part and those before
    std::uint64_t versions = 0;
    bool complete = false;  // the owner has no credential left
};

// What an owner's erasure does next.
struct OwnerPart {
    std::vector<DoomedCredential> credentials;  // by name
    bool last = false;                          // the owner has no others
    std::optional<Erasure> begun;               // the last part of one that is not complete
};

struct Destruction {
    base::Uuid id;
    std::string owner;
    std::vector<DoomedCredential> credentials;
    std::string ordered_by;  // a caller's id
    base::Time at;
    std::optional<Erasure> erasure;  // empty: of one credential

    std::uint64_t versions() const;  // of all of them
};

// The text drawn above.
std::string destruction_text(const Destruction& destruction);

struct DestructionSignature {
    base::Bytes bytes;      // as the algorithm has it
    std::string algorithm;  // the key service's word, "ed25519" or "ecdsa_p256"
    MasterKeyVersion key;
};

// A destruction's text with its signature.
struct DestructionRecord {
    base::Uuid id;
    std::string text;
    std::optional<DestructionSignature> signature;  // empty: this vault signs none
};

struct DestructionPage {
    std::vector<DestructionRecord> records;  // oldest first
    std::uint64_t last = 0;                  // the place of the last one
    bool more = false;
};

// Who signs: the key service. Thread-safe.
class DestructionSigner {
public:
    virtual ~DestructionSigner() = default;
    // The signature of exactly these bytes. Throws unavailable when there can be none now.
    virtual DestructionSignature sign(std::string_view text, const std::string& traceparent) = 0;
};

}  // namespace vault
