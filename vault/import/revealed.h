// Many credentials revealed at once, over the vault's API: for comparing what is in the vault with
// what should be.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "kms/client/client.h"
#include "vault/import/decoder.h"

namespace vault {

struct RevealedCredential {
    base::JsonValue secret;
    base::JsonValue metadata;
    std::string expires_at;  // RFC 3339; empty: none
    std::uint64_t version = 0;
};
using RevealedResult = std::variant<RevealedCredential, base::Error>;

// How to reveal them.
struct RevealHow {
    std::size_t workers = 4;  // requests at the same time
    std::chrono::seconds patience{60};
    std::string reason{};  // where the vault asks for one (vault/reasons.h); empty: none
};

// The current version of each item's owner and name, in order: by up to 100 of an owner in one
// call. Throws as kms::Client::call() when a call failed whole for
// longer than its patience.
std::vector<RevealedResult> reveal_items(kms::Client& client,
                                         std::span<const ImportItem* const> items,
                                         const RevealHow& how);

// Why `found` is not what `item` says, of secret, metadata and expiry; null when it is. Metadata
// and expiry count only where the item has them.
const char* difference(const ImportItem& item, const RevealedCredential& found);

// Whether both are the same JSON: order of members and spelling of numbers included.
bool is_same_json(const base::JsonValue& left, const base::JsonValue& right);

}  // namespace vault
