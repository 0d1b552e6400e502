// The PIN as a process keeps it for logging in again: never as it is, but as two random parts, so
// that neither a search through memory nor a page of it that gets out shows the PIN. It stops
// nobody who reads all of the process's memory with care: that one could use the token as well.
#pragma once

#include "base/error.h"
#include "base/random.h"
#include "base/secret_bytes.h"

namespace hsm {

// Immutable, so safe to share between threads.
class KeptPin {
public:
    // Throws unavailable when there is no randomness.
    explicit KeptPin(const base::SecretBytes& pin)
        : mask_(base::random_secret(pin.size())), masked_(combine(pin, mask_)) {}

    // The PIN, for the time of one use.
    base::SecretBytes reveal() const { return combine(masked_, mask_); }

private:
    static base::SecretBytes combine(const base::SecretBytes& left,
                                     const base::SecretBytes& right) {
        base::SecretBytes combined = left.clone();
        const auto bytes = combined.expose_mutable();
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] ^= right.expose()[i];
        return combined;
    }

    base::SecretBytes mask_;
    base::SecretBytes masked_;
};

// Whether a token's error is that it refused the PIN: it must not be shown to it again. The code of
// the standard that says so is in the detail, whoever translated it (pkcs11_error.h).
inline bool says_pin_refused(const base::Error& error) {
    return error.detail().find("CKR_PIN_") != std::string::npos;
}

}  // namespace hsm
