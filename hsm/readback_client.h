// Has a second process prove that a new key is on disk: it opens the token anew and decrypts what
// this process encrypted, makes the same MAC, or signs what the same public key verifies. The PIN
// goes over a socket pair, never through arguments or the environment.
#pragma once

#include <chrono>

#include "base/secret_bytes.h"
#include "hsm/token_config.h"

namespace hsm {

struct ReadbackQuestion {
    KeyId key;
    KeyKind kind = KeyKind::aes_256;
    Iv iv{};               // AES only
    base::Bytes input;     // AES: what to decrypt, with the AAD empty; else what to sign or MAC
    base::Bytes expected;  // AES: the plaintext; HMAC: the MAC; of a pair the public key
};

// Runs config.readback_program. Throws not_found when it opened the token and has no such key, and
// integrity_failure when its key is another one; unavailable for all that says nothing of the key:
// it can't be started, does not answer within `patience` (it is killed then), can't open the token.
void read_back(const TokenConfig& config, const base::SecretBytes& pin,
               const ReadbackQuestion& question,
               std::chrono::milliseconds patience = std::chrono::seconds(10));

}  // namespace hsm
