#include "server/shared_secret.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/error.h"
#include "base/random.h"
#include "server/digest.h"
#include "server/identity_words.h"

namespace server {
namespace {

constexpr std::size_t made_secret_bytes = 32;
constexpr std::size_t secret_hash_bytes = 32;
constexpr std::string_view hash_prefix = "sha256:";

[[noreturn]] void refuse_hash() {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "holds no hash of a shared secret (\"sha256:\" and 64 hex digits)");
}

bool is_long_enough(std::string_view secret) {
    return secret.size() >= min_shared_secret_bytes && secret.size() <= max_shared_secret_bytes;
}

}  // namespace

base::SecretBytes make_shared_secret() {
    const base::SecretBytes random = base::random_secret(made_secret_bytes);
    base::WipedString text;
    base::append_base64(text, random.expose());
    text.erase(text.find('='));
    std::replace(text.begin(), text.end(), '+', '-');
    std::replace(text.begin(), text.end(), '/', '_');
    return base::SecretBytes(base::as_bytes(text));
}

std::string shared_secret_hash(std::string_view secret) {
    if (!is_long_enough(secret)) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "a shared secret has 32 to 1,024 characters");
    }
    if (!std::all_of(secret.begin(), secret.end(), [](char c) { return c > ' ' && c < 0x7F; })) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "a shared secret is of visible ASCII characters, without blanks");
    }
    return std::string(hash_prefix) + Sha256().hex(secret);
}

base::Bytes parse_shared_secret_hash(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
        text.remove_suffix(1);
    }
    if (!text.starts_with(hash_prefix)) refuse_hash();
    auto hash = base::parse_hex(text.substr(hash_prefix.size()));
    if (!hash || hash->size() != secret_hash_bytes) refuse_hash();
    return std::move(*hash);
}

Caller SharedSecrets::verify(std::string_view credential) {
    // A hash of something short in a file does not make it a good secret.
    if (!is_long_enough(credential)) refuse_credential("shared_secret");
    const auto hash = Sha256().digest(credential);
    const std::lock_guard lock(mutex_);
    const SharedSecretCaller* found = nullptr;
    for (const SharedSecretCaller& caller : callers_) {
        for (const base::Bytes& known : caller.hashes) {
            if (base::equal_constant_time(hash, known)) found = &caller;
        }
    }
    if (found == nullptr) refuse_credential("shared_secret");
    Caller caller;
    caller.id = std::string(shared_secret_prefix) + found->name;
    caller.method = AuthenticationMethod::shared_secret;
    return caller;
}

void SharedSecrets::replace(std::vector<SharedSecretCaller> callers) {
    const std::lock_guard lock(mutex_);
    callers_ = std::move(callers);
}

}  // namespace server
