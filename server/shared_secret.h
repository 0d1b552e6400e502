// Callers by a secret in a header, for servers that can't do better. What is kept of a secret is
// its hash. Secrets are long and random, made by make_shared_secret or as long at least, so a fast
// hash does: there is nothing to guess.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret_bytes.h"
#include "server/credential_verifier.h"

namespace server {

inline constexpr std::size_t min_shared_secret_bytes = 32;
inline constexpr std::size_t max_shared_secret_bytes = 1024;
// Before the name of a caller who is known by such a secret.
inline constexpr std::string_view shared_secret_prefix = "secret:";

// 32 random bytes as 43 characters of base64url. Throws unavailable.
base::SecretBytes make_shared_secret();

// What goes into a hash file: "sha256:<hex>". Throws invalid_argument when the secret is shorter
// than 32 bytes, longer than 1,024, or holds what a header can't: anything but visible ASCII.
std::string shared_secret_hash(std::string_view secret);

// Reads a hash file's text back, white space at its end aside. Throws invalid_argument.
base::Bytes parse_shared_secret_hash(std::string_view text);

struct SharedSecretCaller {
    std::string name;                 // the caller is "secret:<name>"
    std::vector<base::Bytes> hashes;  // several while a secret is changed
};

class SharedSecrets final : public CredentialVerifier {
public:
    explicit SharedSecrets(std::vector<SharedSecretCaller> callers)
        : callers_(std::move(callers)) {}

    AuthenticationMethod method() const noexcept override {
        return AuthenticationMethod::shared_secret;
    }
    // Never: it comes in a header of its own, not as a bearer.
    bool recognizes(std::string_view /*credential*/) const override { return false; }
    // Compares the hash with everybody's, in constant time.
    Caller verify(std::string_view credential) override;

    // Puts other callers in force.
    void replace(std::vector<SharedSecretCaller> callers);

private:
    std::mutex mutex_;
    std::vector<SharedSecretCaller> callers_;
};

}  // namespace server
