// Opens many envelopes in one pass over the token, and says of each that does not open whose fault
// it is. Asks nobody whether it may: that is the service's part.
#pragma once

#include <span>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/secret_bytes.h"
#include "hsm/token.h"
#include "kms/envelope.h"
#include "kms/key.h"

namespace kms {

// Nothing is owned.
struct OpenItem {
    const Key* key = nullptr;
    const KeyVersion* version = nullptr;  // of that key
    const Envelope* envelope = nullptr;   // naming both
    const Context* context = nullptr;
};

// What was in it, or why not: integrity_failure, or unavailable when the master key is missing in
// the token or not the one it was.
using OpenAnswer = std::variant<base::SecretBytes, base::Error>;

// Thread-safe. Everything passed by reference must outlive it.
class Opener {
public:
    Opener(hsm::Token& token, base::Log& log) : token_(token), log_(log) {}

    // In order. Throws only when the token answers for none of the keys.
    std::vector<OpenAnswer> open(std::span<const OpenItem> items);

private:
    std::vector<OpenAnswer> open_together(std::span<const OpenItem> items);
    base::Error explain(const Key& key, const KeyVersion& version);
    base::Error explain_failure(const Key& key, const KeyVersion& version);

    hsm::Token& token_;
    base::Log& log_;
};

// Unavailable: the master key's version is, in one word, `why` in the token.
base::Error key_not_at_hand(const Key& key, std::string_view why);

}  // namespace kms
