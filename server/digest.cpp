#include "server/digest.h"

#include <openssl/evp.h>

#include "base/encoding.h"
#include "base/error.h"

namespace server {
namespace {

struct Free {
    void operator()(EVP_MD* algorithm) const { EVP_MD_free(algorithm); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

// The algorithm is fetched once: an implicit fetch for each digest costs more than the digest.
struct Sha256::Context {
    std::unique_ptr<EVP_MD, Free> algorithm{EVP_MD_fetch(nullptr, "SHA256", nullptr)};
    std::unique_ptr<EVP_MD_CTX, Free> state{EVP_MD_CTX_new()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
    if (!context_->algorithm || !context_->state) {
        throw base::Error(base::ErrorCode::internal, "internal error", "OpenSSL offers no SHA-256");
    }
}

Sha256::~Sha256() = default;

Sha256::Digest Sha256::digest(std::string_view text) { return digest_parts({text}); }

Sha256::Digest Sha256::digest_parts(std::initializer_list<std::string_view> parts) {
    Digest result{};
    unsigned length = 0;
    EVP_MD_CTX* state = context_->state.get();
    bool good = EVP_DigestInit_ex2(state, context_->algorithm.get(), nullptr) == 1;
    for (const std::string_view part : parts) {
        good = good && EVP_DigestUpdate(state, part.data(), part.size()) == 1;
    }
    good = good && EVP_DigestFinal_ex(state, result.data(), &length) == 1;
    if (!good || length != result.size()) {
        throw base::Error(base::ErrorCode::internal, "internal error", "SHA-256 failed");
    }
    return result;
}

std::string Sha256::hex(std::string_view text) { return base::to_hex(digest(text)); }

}  // namespace server
